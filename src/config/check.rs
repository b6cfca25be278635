//! Checks of single texts. Each answers with what is wrong.

use std::net::SocketAddr;

use crate::telemetry;

/// Something must stand there.
pub(super) fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
}

/// An address with its port, or nothing.
pub(super) fn address_or_nothing(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.parse::<SocketAddr>().map(drop).map_err(|_| "is no address with a port".to_owned())
}

/// The name of an environment variable; a key that was put in its place is not one.
pub(super) fn variable_name(text: &str) -> Result<(), String> {
    let is_part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if !text.is_empty() && text.bytes().all(is_part) {
        return Ok(());
    }
    Err("is no name of an environment variable; the key itself does not belong here".to_owned())
}

/// A SHA-256 in hexadecimal.
pub(super) fn sha256(text: &str) -> Result<(), String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(format!("is no SHA-256: it has {} characters; put the hash there, not the key", text.chars().count()))
}

/// A filter of log lines.
pub(super) fn log_filter(text: &str) -> Result<(), String> {
    telemetry::check_filter(text).map_err(|error| error.to_string())
}

/// The model has to be told which language.
pub(super) fn names_language(text: &str) -> Result<(), String> {
    let names = text.contains("{language}") || text.contains("{code}");
    names.then_some(()).ok_or_else(|| "names no language".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_pass_as_hashes() {
        assert!(sha256(&"0aF".repeat(22)[..64]).is_ok());
        assert!(sha256("sk-my-secret").is_err_and(|what| what.contains("12 characters")));
        assert!(sha256(&"g".repeat(64)).is_err());
        assert!(not_empty("  ").is_err());
        assert!(address_or_nothing("").is_ok() && address_or_nothing("[::1]:8743").is_ok());
        assert!(address_or_nothing("localhost:8743").is_err() && address_or_nothing("127.0.0.1").is_err());
        assert!(log_filter("warn").is_ok());
    }
}
