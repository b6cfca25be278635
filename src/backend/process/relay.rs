//! Passes the log of an engine's process on: lines of our own in JSON, and whatever native code prints.

use std::io::{BufRead, BufReader, Read};
use std::process::ChildStderr;

use serde_json::{Map, Value};
use tracing::Level;

/// The most of a line that is passed on.
const MAX_LINE_BYTES: u64 = 4096;

/// Passes lines on until the pipe ends.
pub(super) fn pass_on(engine: &str, stderr: ChildStderr) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    while stderr.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            tell(engine, read(text));
        }
        line.clear();
    }
}

fn tell(engine: &str, (level, line): (Level, String)) {
    match level {
        Level::ERROR => tracing::error!(engine, "{line}"),
        Level::WARN => tracing::warn!(engine, "{line}"),
        Level::INFO => tracing::info!(engine, "{line}"),
        _ => tracing::debug!(engine, "{line}"),
    }
}

/// A line's level and what it says. What is not in our form was printed by native code, or by a panic.
fn read(line: &str) -> (Level, String) {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return (Level::WARN, line.to_owned());
    };
    let mut take = |name: &str| fields.remove(name).as_ref().and_then(Value::as_str).map(str::to_owned);
    let level = take("level").and_then(|level| level.parse().ok()).unwrap_or(Level::INFO);
    let message = take("message").unwrap_or_default();
    take("timestamp");
    let target = take("target").map(|target| format!(" ({target})")).unwrap_or_default();
    (level, format!("{message}{}{target}", rest(&fields)))
}

fn rest(fields: &Map<String, Value>) -> String {
    fields.iter().map(|(name, value)| format!(" {name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_level_and_what_native_code_prints_is_a_warning() {
        let line = r#"{"timestamp":"2026","level":"ERROR","message":"it broke","slot":3,"target":"a::b"}"#;
        assert_eq!(read(line), (Level::ERROR, "it broke slot=3 (a::b)".to_owned()));
        assert_eq!(read("GGML_ASSERT: x"), (Level::WARN, "GGML_ASSERT: x".to_owned()));
        assert_eq!(read("[1, 2]"), (Level::WARN, "[1, 2]".to_owned()));
    }
}
