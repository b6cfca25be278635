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

/// Compares the part of operations.md between `<!-- NAME:begin -->` and `<!-- NAME:end -->` with `expected`.
fn assert_table(name: &str, expected: &str) {
    let path = root().join("docs/operations.md");
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
        "the table `{name}` of docs/operations.md is not what the code says. Missing or changed:\n{}\n\
         ANTIPHON_TEST_WRITE=1 cargo test --release --test docs writes it anew.",
        missing.join("\n")
    );
}

#[test]
fn the_manual_lists_every_key() {
    assert_table("config", &Config::reference_markdown());
}

#[test]
fn the_manual_lists_every_metric() {
    let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in metrics::ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        writeln!(table, "| `{}` | {kind} | {} | {} |", metric.name, metric.labels, metric.help)
            .expect("a String takes all");
    }
    assert_table("metrics", &table);
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
