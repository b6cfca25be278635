//! What a turn is worth: word errors, right answers, and words that belong to another user. Pure.

use std::collections::HashMap;

use serde::Serialize;

use crate::words::{holds, normalise};

/// Word errors of one transcript.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct WordErrors {
    /// Words to insert, delete or replace.
    pub(crate) edits: usize,
    /// Words that were said.
    pub(crate) words: usize,
}

impl WordErrors {
    /// Errors a word said.
    pub(crate) fn rate(self) -> f64 {
        self.edits as f64 / self.words.max(1) as f64
    }
}

/// How far `heard` is from `said`.
pub(crate) fn word_errors(said: &str, heard: &str) -> WordErrors {
    let (said, heard) = (normalise(said), normalise(heard));
    WordErrors { edits: strsim::generic_levenshtein(&said, &heard), words: said.len() }
}

/// Whether an answer holds all expected words (each may be a phrase); `None` if nothing was expected.
pub(crate) fn is_right(expected: &[String], answer: &str) -> Option<bool> {
    let words = normalise(answer);
    (!expected.is_empty()).then(|| expected.iter().all(|phrase| holds(&words, &normalise(phrase))))
}

/// Whether `seconds` of audio can hold `text`. Generous: it finds cut, doubled and foreign audio, not fast voices.
pub(crate) fn is_plausible(text: &str, seconds: f64) -> bool {
    let words = normalise(text).len() as f64;
    seconds >= words * 0.1 - 0.3 && seconds <= words * 1.2 + 2.0
}

/// Which user alone says which value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners {
    /// Phrases by their first word, so that a text is searched in one pass.
    by_first: HashMap<String, Vec<(Vec<String>, usize)>>,
}

/// A word in a session that only another user says.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Foreign {
    pub(crate) value: String,
    pub(crate) owner: usize,
}

impl Owners {
    /// Notes that only `user` says `phrase`.
    pub(crate) fn insert(&mut self, phrase: Vec<String>, user: usize) {
        if let Some(first) = phrase.first().cloned() {
            self.by_first.entry(first).or_default().push((phrase, user));
        }
    }

    /// Values in `text` that belong to somebody other than `user`.
    pub(crate) fn foreign(&self, text: &str, user: usize) -> Vec<Foreign> {
        let words = normalise(text);
        let at = |start: usize| {
            let known = self.by_first.get(&words[start]).into_iter().flatten();
            let here = known.filter(|(phrase, _)| words[start..].starts_with(phrase)).collect::<Vec<_>>();
            // Past the last disjoint value, several users share one.
            let own = here.iter().any(|(_, owner)| *owner == user);
            here.into_iter()
                .filter(move |_| !own)
                .take(1)
                .map(|(phrase, owner)| Foreign { value: phrase.join(" "), owner: *owner })
                .collect::<Vec<_>>()
        };
        (0..words.len()).flat_map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn errors_are_counted_in_words() {
        for (said, heard, edits) in [
            ("My name is Anna.", "my name is anna", 0),
            ("My name is Anna.", "my name is hannah", 1),
            ("My name is Anna.", "", 4),
            ("I have 2 dogs", "i have two dogs", 0),
            ("Hello.", "hello hello there", 2),
        ] {
            assert_eq!(word_errors(said, heard).edits, edits, "{said} / {heard}");
        }
        assert!((word_errors("a b c d", "a b x d").rate() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn right_answers_hold_every_expected_word() {
        assert_eq!(is_right(&[], "anything"), None);
        assert_eq!(is_right(&strings(&["Oslo"]), "You live in Oslo."), Some(true));
        assert_eq!(is_right(&strings(&["Oslo"]), "You live in Osloville."), Some(false));
        assert_eq!(is_right(&strings(&["fine", "thank"]), "I am fine."), Some(false));
    }

    #[test]
    fn plausible_lengths() {
        assert!(is_plausible("one two three four five six", 2.5));
        assert!(!is_plausible("one two three four five six seven eight nine ten", 0.2), "cut");
        assert!(!is_plausible("Hello.", 8.0), "somebody else's audio");
    }

    #[test]
    fn words_of_others_are_found() {
        let mut owners = Owners::default();
        owners.insert(strings(&["oslo"]), 0);
        owners.insert(strings(&["new", "york"]), 1);
        owners.insert(strings(&["new", "delhi"]), 2);
        let found = owners.foreign("You live in New York.", 0);
        assert_eq!(found, [Foreign { value: "new york".into(), owner: 1 }]);
        assert!(owners.foreign("You live in Oslo, not in Newport.", 0).is_empty());
        assert_eq!(owners.foreign("oslo new delhi", 1).len(), 2);
        owners.insert(strings(&["oslo"]), 1);
        assert!(owners.foreign("oslo", 1).is_empty(), "a shared value is nobody's secret");
    }
}
