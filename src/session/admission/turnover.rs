//! How fast places come free, for an honest guess of a wait. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Departures that are looked at.
const WINDOW: usize = 32;
/// Age at which a departure says nothing any more.
const WINDOW_AGE: Duration = Duration::from_secs(600);
/// Fewer than this are chance.
const FEWEST: usize = 3;
/// A refused client should not come back sooner: it could not be told anything new.
const SOONEST_RETRY: Duration = Duration::from_secs(5);
/// Nor need it stay away longer: by then the figures are others.
const LATEST_RETRY: Duration = Duration::from_secs(60);

/// When the latest places came free.
#[derive(Clone, Debug, Default)]
pub struct Turnover {
    freed: VecDeque<Instant>,
}

impl Turnover {
    /// A place came free.
    pub fn record(&mut self, now: Instant) {
        if self.freed.len() >= WINDOW {
            self.freed.pop_front();
        }
        self.freed.push_back(now);
    }

    /// How long the one at `position` (1 is next) will wait if places go on coming free as they did; `None`
    /// where too few did to tell.
    pub fn estimate(&self, position: usize, now: Instant) -> Option<Duration> {
        let recent = self.freed.iter().filter(|at| now.saturating_duration_since(**at) <= WINDOW_AGE);
        let count = recent.clone().count();
        let first = recent.min().filter(|_| count >= FEWEST)?;
        // The time until now counts, so that the guess grows when places stop coming free.
        let each = now.saturating_duration_since(*first) / u32::try_from(count).unwrap_or(u32::MAX);
        Some(each.saturating_mul(u32::try_from(position).unwrap_or(u32::MAX)))
    }

    /// When a client that is refused should come back: when the next place is likely to come free.
    pub fn retry_after(&self, now: Instant) -> Duration {
        let next = self.estimate(1, now).unwrap_or(SOONEST_RETRY);
        Duration::from_secs(next.as_secs_f64().ceil() as u64).clamp(SOONEST_RETRY, LATEST_RETRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_guess_follows_the_rate_and_is_none_where_it_would_be_invented() {
        let (start, mut turnover) = (Instant::now(), Turnover::default());
        assert_eq!((turnover.estimate(1, start), turnover.retry_after(start)), (None, s(5)));
        for minute in 0..3 {
            turnover.record(start + s(minute * 60));
        }
        let now = start + s(150);
        assert_eq!(turnover.estimate(1, now), Some(s(50)));
        assert_eq!(turnover.estimate(4, now), Some(s(200)));
        assert_eq!(turnover.retry_after(now), s(50));
        assert_eq!(turnover.retry_after(start + s(540)), s(60), "bounded");
        assert_eq!(turnover.estimate(1, start + s(700)), None, "what is too old says nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let (start, mut turnover) = (Instant::now(), Turnover::default());
        for _ in 0..1_000 {
            turnover.record(start);
        }
        assert_eq!((turnover.freed.len(), turnover.estimate(3, start)), (WINDOW, Some(s(0))));
    }
}
