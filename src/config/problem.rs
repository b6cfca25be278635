//! What is wrong with a configuration, told so that the reader knows what to change where.

use std::fmt;

use super::tree::{Node, Origin};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted key; empty where no key is concerned (a file that cannot be read).
    pub key: String,
    /// The value as written; `None` where there is none or where it is secret.
    pub found: Option<String>,
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong with it.
    pub what: String,
    /// What to write instead: the allowed range, the nearest key or value, the next step.
    pub advice: String,
}

impl Problem {
    /// A problem with the value at `node`.
    pub(super) fn at(node: &Node, what: impl Into<String>, advice: impl Into<String>) -> Self {
        let found = (!may_hold_secret(&node.key)).then(|| node.value.to_string());
        Self {
            key: node.key.clone(),
            found,
            origin: node.origin.clone(),
            what: what.into(),
            advice: advice.into(),
        }
    }

    /// A problem with a whole source: a file, a variable, a flag.
    pub(super) fn with_source(origin: Origin, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { key: String::new(), found: None, origin, what: what.into(), advice: advice.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "`{}`", self.key)?;
            if let Some(found) = &self.found {
                write!(f, " = {found}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.what)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the configuration has {count} problem{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

/// Whether values of this key must not be shown. Hashes count: people paste the key itself there by mistake.
pub(super) fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    name == "sha256" || ["_key", "_secret", "_token", "password"].iter().any(|end| name.ends_with(end))
}

/// Whether a wrong value of this key must not be shown: a URL that is refused may hold a password, and what is no name
/// of a variable may be the key itself.
pub(super) fn may_hold_secret(key: &str) -> bool {
    is_secret(key) || key.ends_with(".url") || key.ends_with(".api_key_env")
}

/// The candidate that `word` was most likely meant to be, if one is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        let keys = ["bind", "max_sessions", "max_frame_bytes"];
        assert_eq!(nearest("max_sesions", keys), Some("max_sessions"));
        assert_eq!(nearest("bnid", keys), Some("bind"));
        assert_eq!(nearest("colour", keys), None);
    }

    #[test]
    fn secrets_are_known_by_their_name() {
        for key in ["server.auth.keys[0].sha256", "engines.llm[0].api_key", "a.password"] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["engines.llm[0].url", "engines.llm[0].api_key_env"] {
            assert!(may_hold_secret(key) && !is_secret(key), "{key}");
        }
        for key in ["server.auth.keys", "session.max_tokens", "server.bind"] {
            assert!(!may_hold_secret(key), "{key}");
        }
    }
}
