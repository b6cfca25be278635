//! When a pool needs an instance more, or one less. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// How long waits must be long before the pool grows: one burst is not worth loading a model.
const GROW_AFTER: Duration = Duration::from_secs(3);
/// How long the pool must have had an instance to spare before it shrinks.
const SHRINK_AFTER: Duration = Duration::from_secs(120);

/// What a pool looks like now.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// The longest wait of the last seconds.
    pub queue_delay: Duration,
    /// Waits longer than this are too long.
    pub limit: Duration,
    /// Slots in use.
    pub in_use: usize,
    /// Slots without the instance that would go.
    pub slots_with_one_less: usize,
    /// Instances, those that are being built included.
    pub instances: usize,
    /// The most there may be.
    pub max: usize,
    /// Instances that were added because of waits, and may go again.
    pub extra: usize,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// Add an instance.
    Grow,
    /// Let one go.
    Shrink,
}

/// Decides when a pool changes size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resizer {
    slow_since: Option<Instant>,
    spare_since: Option<Instant>,
}

impl Resizer {
    /// Looks at the pool and says what to do, if anything. A change starts the observation anew.
    pub fn observe(&mut self, now: Instant, pool: &Observation) -> Option<Change> {
        let slow = pool.queue_delay > pool.limit && pool.instances < pool.max;
        let over = pool.extra > 0 && pool.instances > pool.max;
        let spare =
            pool.extra > 0 && pool.queue_delay <= pool.limit / 2 && pool.in_use <= pool.slots_with_one_less;
        let slow_for = lasting(&mut self.slow_since, slow, now);
        let spare_for = lasting(&mut self.spare_since, spare, now);
        let change = if slow_for >= Some(GROW_AFTER) {
            Change::Grow
        } else if over || spare_for >= Some(SHRINK_AFTER) {
            Change::Shrink
        } else {
            return None;
        };
        *self = Self::default();
        Some(change)
    }
}

/// For how long `holds` has held.
fn lasting(since: &mut Option<Instant>, holds: bool, now: Instant) -> Option<Duration> {
    *since = if holds { Some(since.unwrap_or(now)) } else { None };
    since.map(|since| now.saturating_duration_since(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(delay_ms: u64, in_use: usize, extra: usize) -> Observation {
        Observation {
            queue_delay: Duration::from_millis(delay_ms),
            limit: Duration::from_millis(200),
            in_use,
            slots_with_one_less: 2,
            instances: 1 + extra,
            max: 3,
            extra,
        }
    }

    /// The changes that observations once a second bring.
    fn changes(observations: impl IntoIterator<Item = Observation>) -> Vec<(u64, Change)> {
        let (mut resizer, start) = (Resizer::default(), Instant::now());
        let look = |(second, pool): (usize, Observation)| {
            let second = second as u64;
            resizer.observe(start + Duration::from_secs(second), &pool).map(|change| (second, change))
        };
        observations.into_iter().enumerate().filter_map(look).collect()
    }

    #[test]
    fn grows_when_waits_stay_long() {
        assert_eq!(changes(std::iter::repeat_n(pool(500, 2, 0), 5)), [(3, Change::Grow)]);
        let bursts = [500, 500, 500, 0, 500, 500, 500].map(|delay| pool(delay, 2, 0));
        assert_eq!(changes(bursts), [], "a burst passes");
        assert_eq!(changes(std::iter::repeat_n(pool(500, 2, 2), 9)), [], "as large as it may be");
    }

    #[test]
    fn shrinks_when_one_is_to_spare_for_long() {
        assert_eq!(changes(std::iter::repeat_n(pool(0, 1, 1), 122)), [(120, Change::Shrink)]);
        assert_eq!(changes(std::iter::repeat_n(pool(0, 3, 1), 300)), [], "all are needed");
        assert_eq!(changes(std::iter::repeat_n(pool(0, 1, 0), 300)), [], "what was configured stays");
        let lowered = Observation { max: 1, ..pool(0, 3, 1) };
        assert_eq!(changes([lowered]), [(0, Change::Shrink)], "the limit was lowered");
    }
}
