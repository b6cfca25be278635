//! At most so many events in any minute. Pure: `now` is given.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The span that is looked at.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Remembers the events of the last minute, never more of them than the limit.
#[derive(Debug, Default)]
pub(super) struct SlidingWindow {
    events: VecDeque<Instant>,
}

impl SlidingWindow {
    /// How long until one more event is within `limit`; `None` if it is now.
    pub(super) fn wait(&self, limit: usize, now: Instant) -> Option<Duration> {
        let recent = self.events.iter().filter(|at| now < **at + MINUTE);
        let count = recent.clone().count();
        let must_leave = count.checked_sub(limit)?;
        let leaves_at = recent.clone().nth(must_leave).map_or(now, |at| *at) + MINUTE;
        Some(leaves_at - now)
    }

    /// Counts an event, whether it is within `limit` or not.
    pub(super) fn record(&mut self, limit: usize, now: Instant) {
        self.events.push_back(now);
        while self.events.len() > limit.max(1) || self.events.front().is_some_and(|at| now >= *at + MINUTE) {
            self.events.pop_front();
        }
    }

    /// Whether nothing of the last minute is remembered.
    pub(super) fn is_empty(&self, now: Instant) -> bool {
        self.events.back().is_none_or(|at| now >= *at + MINUTE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wait_is_until_the_oldest_leaves() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut window = SlidingWindow::default();
        for second in [0, 10, 20] {
            assert_eq!(window.wait(3, at(second)), None);
            window.record(3, at(second));
        }
        assert_eq!(window.wait(3, at(25)), Some(Duration::from_secs(35)));
        assert_eq!(window.wait(4, at(25)), None, "a limit that was raised counts at once");
        assert_eq!(window.wait(1, at(25)), Some(Duration::from_secs(55)), "and one that was lowered");
        assert_eq!(window.wait(3, at(60)), None);
        assert!(!window.is_empty(at(79)) && window.is_empty(at(80)));
    }

    proptest! {
        /// However events come: those that were within the limit are never more than it in any minute, the
        /// promised wait is exact, and memory is bounded.
        #[test]
        fn never_more_than_the_limit_in_any_minute(
            limit in 1usize..8,
            gaps in prop::collection::vec(0u64..20_000, 1..120),
        ) {
            let mut now = Instant::now();
            let mut window = SlidingWindow::default();
            let mut taken: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                match window.wait(limit, now) {
                    None => {
                        window.record(limit, now);
                        taken.push(now);
                    }
                    Some(wait) => {
                        prop_assert!(wait > Duration::ZERO && wait <= MINUTE);
                        prop_assert_eq!(window.wait(limit, now + wait), None);
                        let just_before = now + wait - Duration::from_nanos(1);
                        prop_assert!(window.wait(limit, just_before).is_some());
                    }
                }
                prop_assert!(window.events.len() <= limit);
            }
            for (index, first) in taken.iter().enumerate() {
                let within = taken[index..].iter().take_while(|at| **at < *first + MINUTE).count();
                prop_assert!(within <= limit, "{} events within a minute", within);
            }
        }
    }
}
