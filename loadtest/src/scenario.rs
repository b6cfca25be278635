//! What users talk about: `scenario.json`, which `models/starter/domain.py --export` writes. Pure.

use serde::Deserialize;

use crate::words::normalise;

/// The talk that the starter models know.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Scenario {
    /// A word of every honest answer to a question about a fact that was never told.
    pub(crate) untold: String,
    pub(crate) facts: Vec<FactKind>,
    pub(crate) neutral: Vec<Neutral>,
}

/// Something a user tells about itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FactKind {
    /// Sentences with `{value}`.
    pub(crate) statements: Vec<String>,
    /// Sentences that ask the value back.
    pub(crate) questions: Vec<String>,
    pub(crate) values: Vec<String>,
}

/// Small talk that holds nothing of one user.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Neutral {
    pub(crate) kind: String,
    pub(crate) user: String,
    /// Words that a right answer holds.
    pub(crate) expect: Vec<String>,
    /// Whether the answer is long enough to be interrupted.
    pub(crate) long: bool,
}

impl Scenario {
    /// The scenario in this binary.
    pub(crate) fn embedded() -> anyhow::Result<Self> {
        Ok(serde_json::from_str(include_str!("../scenario.json"))?)
    }

    /// Every value of every fact, as `(kind, value)` indices.
    pub(crate) fn values(&self) -> impl Iterator<Item = (usize, usize)> {
        let lengths = self.facts.iter().map(|fact| fact.values.len()).enumerate();
        lengths.flat_map(|(kind, length)| (0..length).map(move |value| (kind, value)))
    }

    /// Words of a value.
    pub(crate) fn value_words(&self, (kind, value): (usize, usize)) -> Vec<String> {
        normalise(&self.facts[kind].values[value])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_embedded_scenario_can_tell_users_apart() {
        let scenario = Scenario::embedded().unwrap();
        let mut seen = HashSet::new();
        for fact in &scenario.facts {
            assert!(fact.statements.iter().all(|text| text.contains("{value}")), "{fact:?}");
            assert!(!fact.questions.is_empty() && !fact.values.is_empty(), "{fact:?}");
        }
        for index in scenario.values() {
            assert!(seen.insert(scenario.value_words(index)), "{index:?} stands twice");
        }
        assert!(scenario.neutral.iter().any(|neutral| neutral.long), "no answer to interrupt");
        let greeting = scenario.neutral.iter().find(|neutral| neutral.kind == "hello").unwrap();
        assert!(!greeting.user.is_empty() && !greeting.expect.is_empty());
    }
}
