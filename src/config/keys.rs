//! Every key: what it means and which values it takes. Validation, the example file and the manual read these
//! tables, one of what serves people and one of what computes. A key's default and type stand in the struct of the module that reads it.

mod alerts;
mod endpoints;
mod engines;
mod service;

use super::change::Change;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted; `[*]` stands for any place in a list: `server.auth.keys[*].name`.
    pub(super) name: &'static str,
    /// What it means, for the person who sets it.
    pub(super) meaning: &'static str,
    pub(super) allowed: Allowed,
    /// When a change of it takes effect.
    pub(super) change: Change,
}

/// Which values a key takes, beyond its type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// Whatever the type takes, in words.
    Any(&'static str),
    /// Numbers from the first to the second.
    Between(f64, f64),
    /// These words; the type checks it.
    OneOf(&'static [&'static str]),
    /// Text that the function takes, in words; it answers with what is wrong.
    Text(&'static str, fn(&str) -> Result<(), String>),
}

const MINUTE_MS: f64 = 60_000.0;
const DAY_S: f64 = 86_400.0;

/// Every key, in the order in which people read them.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    let endpoints = endpoints::STT.iter().chain(endpoints::LLM).chain(endpoints::TTS);
    service::KEYS.iter().chain(engines::KEYS).chain(endpoints).chain(alerts::KEYS)
}

/// A key that is read once, when the server starts.
const fn key(name: &'static str, meaning: &'static str, allowed: Allowed) -> Key {
    Key { name, meaning, allowed, change: Change::Restart }
}

/// A key that may change while the server runs, for sessions that begin then.
const fn next(name: &'static str, meaning: &'static str, allowed: Allowed) -> Key {
    Key { change: Change::NewSessions, ..key(name, meaning, allowed) }
}

/// A key that may change while the server runs, for sessions that run too.
const fn now(name: &'static str, meaning: &'static str, allowed: Allowed) -> Key {
    Key { change: Change::Now, ..key(name, meaning, allowed) }
}

/// The row of a key; indices are any place: `a[3].b` has the row `a[*].b`.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.is_row_of(name))
}

impl Key {
    /// Whether this row is about the key `name`.
    pub(super) fn is_row_of(&self, name: &str) -> bool {
        self.name == any_place(name)
    }
}

/// The key with its indices replaced by `*`.
fn any_place(name: &str) -> String {
    let mut parts = name.split('[');
    let mut pattern = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        pattern.push_str("[*]");
        pattern.push_str(part.split_once(']').map_or("", |(_, rest)| rest));
    }
    pattern
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any(words) | Self::Text(words, _) => f.write_str(words),
            Self::Between(least, most) => write!(f, "{least} to {most}"),
            Self::OneOf(words) => f.write_str(&words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_list_finds_its_row() {
        assert_eq!(find("server.auth.keys[12].name").map(|key| key.name), Some("server.auth.keys[*].name"));
        assert_eq!(find("server.bind").map(|key| key.name), Some("server.bind"));
        assert!(find("server").is_none());
    }

    #[test]
    fn ranges_read_like_numbers() {
        assert_eq!(Allowed::Between(0.5, 60_000.0).to_string(), "0.5 to 60000");
    }
}
