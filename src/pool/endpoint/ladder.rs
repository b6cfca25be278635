//! Several calls at once, or one after the other: the first thing to do without where an endpoint fails. After it
//! come the breaker and the next engine. Pure: it is told the time.

use serde::Serialize;
use tokio::time::Instant;

/// Failed calls in a row after which an endpoint is called one at a time: one may be chance.
const FAILURES: u32 = 2;
/// Calls that succeed in a row, one at a time, before it is called several times at once again.
const SUCCESSES: u32 = 5;

/// How many calls an endpoint gets at once.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As many as it has slots.
    #[default]
    Concurrent,
    /// One.
    Sequential,
}

/// Where an endpoint stands.
#[derive(Clone, Debug, Default)]
pub(in crate::pool) struct Ladder {
    mode: Mode,
    since: Option<Instant>,
    failures: u32,
    successes: u32,
}

impl Ladder {
    /// How it is called now.
    pub(in crate::pool) fn mode(&self) -> Mode {
        self.mode
    }

    /// A call succeeded; the new mode, if that changed it.
    pub(in crate::pool) fn on_success(&mut self, now: Instant) -> Option<Mode> {
        self.failures = 0;
        self.successes += 1;
        let recovers = self.mode == Mode::Sequential && self.successes >= SUCCESSES;
        recovers.then(|| self.enter(Mode::Concurrent, now))
    }

    /// A call failed; the new mode, if that changed it.
    pub(in crate::pool) fn on_failure(&mut self, now: Instant) -> Option<Mode> {
        self.successes = 0;
        self.failures += 1;
        let steps = self.mode == Mode::Concurrent && self.failures >= FAILURES;
        steps.then(|| self.enter(Mode::Sequential, now))
    }

    /// Whether a call that began then and failed counts for the breaker: only once one call at a time does not help
    /// either. Those of the burst that led to it do not count.
    pub(in crate::pool) fn is_last_step(&self, began: Instant) -> bool {
        self.mode == Mode::Sequential && self.since.is_some_and(|since| began >= since)
    }

    fn enter(&mut self, mode: Mode, now: Instant) -> Mode {
        *self = Self { mode, since: Some(now), failures: 0, successes: 0 };
        mode
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn failures_in_a_row_lead_to_one_call_at_a_time_and_successes_back() {
        let (mut ladder, now) = (Ladder::default(), Instant::now());
        assert_eq!(ladder.on_failure(now), None);
        assert_eq!(ladder.on_success(now), None);
        assert_eq!(ladder.on_failure(now), None, "not in a row");
        assert_eq!(ladder.on_failure(now), Some(Mode::Sequential));
        for _ in 1..SUCCESSES {
            assert_eq!(ladder.on_success(now), None);
        }
        assert_eq!(ladder.on_success(now), Some(Mode::Concurrent));
    }

    #[test]
    fn calls_of_the_burst_that_failed_do_not_open_the_breaker() {
        let (mut ladder, began) = (Ladder::default(), Instant::now());
        let later = began + Duration::from_secs(1);
        assert!(!ladder.is_last_step(began));
        ladder.on_failure(later);
        ladder.on_failure(later);
        assert!(!ladder.is_last_step(began), "it began before");
        assert!(ladder.is_last_step(later));
    }
}
