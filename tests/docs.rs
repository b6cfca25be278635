//! Keeps the manual true: its tables are made from the code, and every named bound has a row.
//!
//! `ANTIPHON_TEST_WRITE=1 cargo test --release --test docs` writes the tables anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use antiphon::config::Config;
use antiphon::telemetry::metrics;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares the part of a page between `<!-- NAME:begin -->` and `<!-- NAME:end -->` with `expected`.
fn assert_table(page: &str, name: &str, expected: &str) {
    let path = root().join("docs").join(page);
    let manual = fs::read_to_string(&path).expect("the manual is there");
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let (before, rest) = manual.split_once(&begin).expect("its begin is marked");
    let (table, after) = rest.split_once(&end).expect("its end is marked");
    if table == expected {
        return;
    }
    if std::env::vars_os().any(|(variable, _)| variable == "ANTIPHON_TEST_WRITE") {
        fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).expect("writable");
        return;
    }
    let missing: Vec<&str> = expected.lines().filter(|line| !table.contains(line)).collect();
    panic!(
        "the table `{name}` of docs/{page} is not what the code says. Missing or changed:\n{}\n\
         ANTIPHON_TEST_WRITE=1 cargo test --release --test docs writes it anew.",
        missing.join("\n")
    );
}

#[test]
fn the_manual_lists_every_key() {
    assert_table("operations.md", "config", &Config::reference_markdown());
}

#[test]
fn the_manual_lists_every_metric() {
    let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in metrics::ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        writeln!(table, "| `{}` | {kind} | {} | {} |", metric.name, metric.labels, metric.help)
            .expect("a String takes all");
    }
    assert_table("operations.md", "metrics", &table);
}

/// A client of others that `tests/conformance` runs against the server.
struct Client {
    /// Its package.
    name: &'static str,
    /// What it is called in the list of pins, which tells the version.
    pin: Pin,
    /// The one thing that changes in a program of OpenAI.
    address: &'static str,
    /// What is tested with it.
    tested: &'static str,
}

enum Pin {
    Python,
    Node,
}

const CLIENTS: [Client; 6] = [
    Client {
        name: "openai",
        pin: Pin::Python,
        address: "`base_url=\"http://HOST/v1\"`",
        tested: "asynchronous and blocking: written, spoken and push-to-talk turns, G.711, cancel, interruption, \
                 truncate, retrieve, delete, places of items, tools, out-of-band responses, client secrets, \
                 transcription sessions, errors; `/v1/audio/*`, `/v1/models`",
    },
    Client {
        name: "openai",
        pin: Pin::Node,
        address: "`baseURL: \"https://HOST/v1\"`; it speaks TLS only",
        tested: "`OpenAIRealtimeWS` and `OpenAIRealtimeWebSocket`: written and spoken turns, a tool, interruption \
                 with truncate, errors, transcription sessions",
    },
    Client {
        name: "@openai/agents-realtime",
        pin: Pin::Node,
        address: "`connect({ url: \"ws://HOST/v1/realtime?model=NAME\" })`",
        tested: "`RealtimeSession` over WebSocket: written and spoken turns, a tool, interruption with truncate, \
                 `interrupt()`, `updateHistory()`; none of its schemas refuses an event",
    },
    Client {
        name: "openai-agents",
        pin: Pin::Python,
        address: "`model_config={\"url\": \"ws://HOST/v1/realtime?model=NAME\"}`",
        tested: "`RealtimeRunner`: written and spoken turns, a tool, interruption with truncate, `interrupt()`; no \
                 event fails its validation",
    },
    Client {
        name: "livekit-plugins-openai",
        pin: Pin::Python,
        address: "`RealtimeModel(base_url=\"http://HOST/v1\")`",
        tested: "its session, without LiveKit's server: written and spoken turns, a tool, interruption with \
                 truncate, `interrupt()`, changes of the chat context, a renewed connection",
    },
    Client {
        name: "pipecat-ai",
        pin: Pin::Python,
        address: "`OpenAIRealtimeLLMService(base_url=\"ws://HOST/v1/realtime\")`",
        tested: "in a pipeline: written and spoken turns, a tool, interruption with truncate, turns found by the \
                 pipeline",
    },
];

#[test]
fn the_manual_lists_the_clients_that_are_tested() {
    let folder = root().join("tests/conformance");
    let python = fs::read_to_string(folder.join("requirements.txt")).expect("the list is there");
    let node = fs::read_to_string(folder.join("node/package-lock.json")).expect("the list is there");
    let node: serde_json::Value = serde_json::from_str(&node).expect("JSON");
    let mut table = String::from("| client | version | its address | tested |\n|---|---|---|---|\n");
    for Client { name, pin, address, tested } in &CLIENTS {
        let (language, version) = match pin {
            Pin::Python => {
                let begin = format!("{name}==");
                ("Python", python.lines().find_map(|line| line.strip_prefix(&begin)))
            }
            Pin::Node => ("Node", node["packages"][format!("node_modules/{name}")]["version"].as_str()),
        };
        let version = version.expect("every client is pinned");
        writeln!(table, "| `{name}` for {language} | {version} | {address} | {tested} |")
            .expect("a String takes all");
    }
    assert_table("protocol.md", "clients", &table);
}

#[test]
fn every_capacity_has_a_row_under_backpressure() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("the page is there");
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        for line in text.lines().map(str::trim).filter(|line| line.contains("const ")) {
            let Some((name, value)) = capacity(line) else { continue };
            assert!(
                page.contains(&format!("`{name}` = {value} ")),
                "{}: `{name}` = {value} has no row in docs/architecture.md, Backpressure",
                file.display()
            );
        }
    }
}

/// `pub const EVENTS_CAPACITY: usize = 256;` → (`EVENTS_CAPACITY`, `256`).
fn capacity(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once("const ")?.1.split_once(':')?;
    let value = rest.split_once('=')?.1.trim().trim_end_matches(';');
    name.ends_with("_CAPACITY").then_some((name, value))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
