//! Whether an instance may be given calls: closed while it works, open after failures in a row, half-open for
//! one probe. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// The longest pause between two probes.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Failed probes after which the instance is built anew; and again after as many more.
const PROBES_BEFORE_RESTART: u32 = 2;

/// What to do with an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Give it one probe, and say how that went.
    Probe,
    /// Build it anew, and say how that went.
    Restart,
}

/// State of a breaker, for status.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// No calls.
    Open,
    /// No calls but one probe, which is under way.
    HalfOpen,
}

/// A breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    failures: u32,
    failed_probes: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Instant, backoff: Duration },
    Trying { backoff: Duration },
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed, failures: 0, failed_probes: 0 }
    }
}

impl Breaker {
    /// A call succeeded.
    pub fn on_success(&mut self) {
        if matches!(self.state, State::Closed) {
            self.failures = 0;
        }
    }

    /// A call failed; true if that opened the breaker. `limit`: failures in a row; `backoff`: the first pause.
    pub fn on_failure(&mut self, limit: u32, backoff: Duration, now: Instant) -> bool {
        if !matches!(self.state, State::Closed) {
            return false; // calls that had begun before
        }
        self.failures += 1;
        let opens = self.failures >= limit;
        if opens {
            self.open(backoff, now);
        }
        opens
    }

    /// Opens at once: the instance does not let go of a call, and only a new one helps.
    pub fn condemn(&mut self, backoff: Duration, now: Instant) {
        self.failed_probes = PROBES_BEFORE_RESTART;
        self.state = State::Open { until: now, backoff };
    }

    /// What is due now; `None` while there is nothing to do. Each step is given once.
    pub fn due(&mut self, now: Instant) -> Option<Step> {
        let State::Open { until, backoff } = self.state else { return None };
        if now < until {
            return None;
        }
        self.state = State::Trying { backoff };
        let restart = self.failed_probes > 0 && self.failed_probes.is_multiple_of(PROBES_BEFORE_RESTART);
        Some(if restart { Step::Restart } else { Step::Probe })
    }

    /// How the step ended; true if the instance serves again.
    pub fn on_step(&mut self, succeeded: bool, now: Instant) -> bool {
        let State::Trying { backoff } = self.state else { return false };
        if succeeded {
            *self = Self::default();
        } else {
            self.failed_probes += 1;
            self.open((backoff * 2).min(MAX_BACKOFF), now);
        }
        succeeded
    }

    /// Whether calls go through.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// For status.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Trying { .. } => BreakerState::HalfOpen,
        }
    }

    fn open(&mut self, backoff: Duration, now: Instant) {
        self.state = State::Open { until: now + backoff, backoff };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        assert!(!breaker.on_failure(2, SECOND, now));
        assert!(breaker.on_failure(2, SECOND, now));
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..5 {
            assert!(!breaker.on_failure(2, SECOND, now));
            breaker.on_success();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(opened(now).state(), BreakerState::Open);
    }

    #[test]
    fn one_probe_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.due(now), None);
        assert_eq!(breaker.due(now + SECOND), Some(Step::Probe));
        assert_eq!(breaker.due(now + SECOND), None, "one probe, not two");
        assert!(!breaker.on_failure(1, SECOND, now), "late failures of old calls change nothing");
        assert!(breaker.on_step(true, now + SECOND));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn pauses_double_and_restarts_follow_failed_probes() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut steps = Vec::new();
        for expected_s in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = Duration::from_secs(expected_s);
            assert_eq!(breaker.due(now + pause - Duration::from_millis(1)), None, "{expected_s}");
            now += pause;
            steps.extend(breaker.due(now));
            breaker.on_step(false, now);
        }
        use Step::{Probe, Restart};
        assert_eq!(steps, [Probe, Probe, Restart, Probe, Restart, Probe, Restart, Probe]);
    }

    #[test]
    fn a_condemned_instance_is_built_anew_at_once() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.condemn(SECOND, now);
        assert_eq!(breaker.due(now), Some(Step::Restart));
        assert!(breaker.on_step(true, now));
    }
}
