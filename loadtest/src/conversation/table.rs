//! All scenes together, as a table and as JSON. Pure.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};

use serde::Serialize;

use crate::conversation::verdict::{Outcome, Verdict};
use crate::stats::Summary;

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct ConversationReport {
    /// Whether every scene went right, hard ones and lateness aside: that is for people to judge, on a machine of
    /// their own.
    pub(crate) passed: bool,
    pub(crate) groups: BTreeMap<&'static str, Group>,
    pub(crate) outcomes: Vec<Outcome>,
}

/// The scenes of one kind.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Group {
    pub(crate) too_early: usize,
    pub(crate) too_late: usize,
    pub(crate) wrong: usize,
    pub(crate) right: usize,
    pub(crate) latency_ms: Option<Summary>,
    pub(crate) stop_ms: Option<Summary>,
    pub(crate) believed_ms: Option<Summary>,
    pub(crate) gap_ms: Option<Summary>,
}

impl Group {
    fn of(outcomes: &[&Outcome]) -> Self {
        let count = |verdict| outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
        let all = |pick: fn(&Outcome) -> Option<f64>| Summary::of(outcomes.iter().filter_map(|o| pick(o)));
        Self {
            too_early: count(Verdict::TooEarly),
            too_late: count(Verdict::TooLate),
            wrong: count(Verdict::Wrong),
            right: count(Verdict::Right),
            latency_ms: all(|outcome| outcome.latency_ms),
            stop_ms: all(|outcome| outcome.stop_ms),
            believed_ms: all(|outcome| outcome.believed_ms),
            gap_ms: all(|outcome| outcome.gap_ms),
        }
    }
}

impl ConversationReport {
    /// Adds everything up.
    pub(crate) fn of(outcomes: Vec<Outcome>) -> Self {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for outcome in &outcomes {
            groups.entry(outcome.group).or_default().push(outcome);
        }
        let groups = groups.into_iter().map(|(name, outcomes)| (name, Group::of(&outcomes))).collect();
        let fine =
            |outcome: &Outcome| outcome.hard || matches!(outcome.verdict, Verdict::Right | Verdict::TooLate);
        Self { passed: !outcomes.is_empty() && outcomes.iter().all(fine), groups, outcomes }
    }
}

impl Display for ConversationReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "{:19} {:>5} {:>5} {:>5} {:>5}  {:>13}  {:>13}  {:>13}  {:>13}",
            "", "right", "early", "late", "wrong", "answer ms", "stopped ms", "believed ms", "silent ms"
        )?;
        for (name, group) in &self.groups {
            let Group { right, too_early, too_late, wrong, .. } = group;
            write!(f, "{name:19} {right:5} {too_early:5} {too_late:5} {wrong:5}")?;
            for summary in [&group.latency_ms, &group.stop_ms, &group.believed_ms, &group.gap_ms] {
                let range = summary.map(|s| format!("{:.0} / {:.0}", s.p50, s.p95)).unwrap_or_default();
                write!(f, "  {range:>13}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "Figures are the median and the 95th percentile.")?;
        for outcome in self.outcomes.iter().filter(|outcome| outcome.verdict != Verdict::Right) {
            writeln!(f, "- {outcome}")?;
        }
        write!(f, "{}", if self.passed { "PASSED" } else { "FAILED" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(verdict: Verdict, latency: f64) -> Outcome {
        Outcome {
            group: "question",
            case: "joke",
            voice: 0,
            verdict,
            hard: false,
            why: String::new(),
            latency_ms: Some(latency),
            stop_ms: None,
            believed_ms: None,
            gap_ms: None,
            heard: Vec::new(),
            answers: Vec::new(),
        }
    }

    #[test]
    fn a_late_answer_is_told_and_an_early_one_fails_the_run() {
        let late =
            ConversationReport::of(vec![outcome(Verdict::Right, 300.0), outcome(Verdict::TooLate, 1_700.0)]);
        assert!(late.passed && late.to_string().contains("300 / 1700"), "{late}");
        assert!(late.to_string().contains("joke (voice 0): TooLate"), "{late}");
        assert!(!ConversationReport::of(vec![outcome(Verdict::TooEarly, 1.0)]).passed);
        assert!(!ConversationReport::of(Vec::new()).passed, "nothing was shown");
    }
}
