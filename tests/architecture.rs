//! Keeps docs/architecture.md true: reads the sources and fails where they break its rules. Test code
//! (`#[cfg(test)]`) is exempt: it may know more than the code it tests.

#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use rules::{Finding, PROCESS_WIDE};
use source::Source;

type Rule = fn(&Source) -> Vec<Finding>;

fn sources() -> Vec<Source> {
    let sources = Source::all(&["src", "audio/src", "loadtest/src"]);
    assert!(sources.len() > 10, "the sources are where this test looks for them");
    sources
}

fn hold(rule: Rule) {
    let findings: Vec<String> =
        sources().iter().flat_map(rule).map(|finding: Finding| finding.to_string()).collect();
    assert!(findings.is_empty(), "{} broken:\n\n{}\n", findings.len(), findings.join("\n"));
}

fn problems(rule: Rule, path: &str, text: &str) -> Vec<String> {
    rule(&Source::parse(path, text)).into_iter().map(|finding| finding.problem).collect()
}

#[test]
fn imports_go_down_only() {
    hold(rules::layers);
}

#[test]
fn only_the_runtime_spawns() {
    hold(rules::spawning);
}

#[test]
fn every_queue_is_bounded() {
    hold(rules::queues);
}

#[test]
fn every_file_says_what_it_is() {
    hold(rules::header);
}

#[test]
fn files_are_short() {
    hold(rules::file_length);
}

#[test]
fn functions_are_short() {
    hold(rules::functions);
}

#[test]
fn nothing_global_changes() {
    hold(rules::globals);
}

#[test]
fn allowed_globals_still_exist() {
    let sources = sources();
    for (path, name, reason) in PROCESS_WIDE {
        let exists = sources.iter().any(|s| s.path == *path && s.text.contains(&format!("static {name}")));
        assert!(exists, "{path} has no `static {name}` any more: remove it from PROCESS_WIDE");
        assert!(!reason.is_empty(), "{name}: say why it is process-wide");
    }
}

/// Reports, so that a drift is seen in the log of every run: aim for a median under 10, a p90 under 25.
#[test]
#[expect(clippy::print_stdout, reason = "the figures are what this test is for; --nocapture shows them")]
fn function_length_is_reported() {
    let mut lines: Vec<usize> =
        sources().iter().flat_map(rules::measure).map(|function| function.lines).collect();
    lines.sort_unstable();
    assert!(!lines.is_empty());
    let at = |part: f64| lines[((lines.len() - 1) as f64 * part).round() as usize];
    println!(
        "{} functions: median {} lines, p90 {}, longest {}",
        lines.len(),
        at(0.5),
        at(0.9),
        lines[lines.len() - 1]
    );
}

#[test]
fn a_path_upwards_is_found_however_it_is_written() {
    let cases = [
        "use crate::server::Router;",
        "use crate::{engine::SttEngine, server};",
        "use crate::server as edge;",
        "use crate::server::*;",
        "fn f() { crate::server::start(); }",
        "fn f() -> Option<crate::server::Router> { None }",
        "fn f() { tracing::info!(state = crate::server::state()); }",
        "use super::super::server::Router;",
        "mod inner { use super::super::super::server::Router; }",
    ];
    for text in cases {
        let found = problems(rules::layers, "src/pool/lease.rs", text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains("`pool` must not know `server`"), "{text}: {found:?}");
    }
}

#[test]
fn paths_that_stay_or_go_down_pass() {
    let cases = [
        "use crate::engine::SttEngine;",
        "use super::queue::Order;",
        "use self::server::Thing;",
        "use tower::server::Thing;",
        "fn f() { server::start(); }",
        "#[cfg(test)] mod tests { use crate::server::Router; }",
    ];
    for text in cases {
        assert_eq!(problems(rules::layers, "src/pool/lease.rs", text), [""; 0], "{text}");
    }
}

#[test]
fn the_programs_have_layers_too() {
    assert_eq!(problems(rules::layers, "loadtest/src/main.rs", "use antiphon::protocol::Event;"), [""; 0]);
    assert_eq!(problems(rules::layers, "loadtest/src/user.rs", "use antiphon::session::X;").len(), 1);
    assert_eq!(problems(rules::layers, "src/main.rs", "fn main() { antiphon::cli::run(); }"), [""; 0]);
    assert_eq!(problems(rules::layers, "src/main.rs", "fn main() { antiphon::app::serve(); }").len(), 1);
    assert_eq!(problems(rules::layers, "src/misc.rs", ""), ["module `misc` has no layer"]);
}

#[test]
fn stray_tasks_and_queues_are_found() {
    for text in
        ["fn f() { tokio::spawn(g()); }", "use tokio::task::JoinSet;", "use tokio::task::spawn_local;"]
    {
        assert_eq!(problems(rules::spawning, "src/pool/pool.rs", text).len(), 1, "{text}");
        assert_eq!(problems(rules::spawning, "src/runtime.rs", text), [""; 0], "{text}");
    }
    for text in ["fn f() { crossbeam_channel::unbounded(); }", "use tokio::sync::mpsc::unbounded_channel;"] {
        assert_eq!(problems(rules::queues, "src/pool/pool.rs", text).len(), 1, "{text}");
    }
    assert_eq!(problems(rules::queues, "src/pool/pool.rs", "fn f() { mpsc::channel(8); }"), [""; 0]);
}

#[test]
fn long_functions_and_files_are_found() {
    let body = "    step();\n".repeat(59);
    let long = format!("impl X {{\nfn f() {{\n{body}}}\n}}");
    assert_eq!(problems(rules::functions, "src/pool/pool.rs", &long), ["`f` has 61 lines, at most 60"]);
    let wide = "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}";
    assert_eq!(problems(rules::functions, "src/pool/pool.rs", wide), ["`f` takes 6 arguments, at most 5"]);
    let lines = "const X: u8 = 1;\n".repeat(400);
    let tested = format!("{lines}#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn f() {}\n".repeat(50));
    assert_eq!(problems(rules::file_length, "src/pool/pool.rs", &tested), [""; 0]);
    assert_eq!(problems(rules::file_length, "src/pool/pool.rs", &format!("{lines}//\n")).len(), 1);
}

#[test]
fn globals_that_change_are_found() {
    let cases = [
        "static mut COUNT: u32 = 0;",
        "static SESSIONS: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(Vec::new);",
        "fn f() { static NEXT: AtomicU64 = AtomicU64::new(0); }",
        "thread_local! { static X: u8 = 1; }",
    ];
    for text in cases {
        assert_eq!(problems(rules::globals, "src/pool/pool.rs", text).len(), 1, "{text}");
    }
    assert_eq!(problems(rules::globals, "src/pool/pool.rs", "static NAME: &str = \"x\";"), [""; 0]);
    let installed = "static INSTALLED: Mutex<u8> = Mutex::new(0);";
    assert_eq!(problems(rules::globals, "src/telemetry/exporter.rs", installed), [""; 0]);
    assert_eq!(problems(rules::header, "src/pool/pool.rs", "// no\n").len(), 1);
}
