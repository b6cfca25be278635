//! Which instance serves next: the one that would be done soonest. Pure.

use std::time::Duration;

/// What a call counts on the instance that served the session last. 0.5: a talk that a language model has kept is read
/// in a fraction of the time, but nobody is to wait behind others for that.
const FAMILIAR: f64 = 0.5;

/// What the choice looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Calls it serves now.
    pub in_use: usize,
    /// Calls that it can serve at once.
    pub slots: usize,
    /// What a call takes on it, measured; `None` before its first call.
    pub service_time: Option<Duration>,
    /// It serves only where no other instance is healthy.
    pub fallback: bool,
    /// It served this session last, and may have kept what helps with the next call.
    pub familiar: bool,
}

impl Load {
    /// Work that would be outstanding with one call more, in seconds a slot.
    fn score(&self, unknown: f64) -> f64 {
        let service = self.service_time.map_or(unknown, |time| time.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a handful of slots")]
        let share = (self.in_use + 1) as f64 / self.slots as f64;
        // An instance that is measured as taking no time still has slots to spread over.
        let work = share * service.max(1e-6);
        if self.familiar { work * FAMILIAR } else { work }
    }
}

/// Index of the instance with a free slot whose outstanding work, weighted by its measured service time, is
/// least; the earlier one on a tie. One that was not measured yet counts as fast as the fastest, so that it is
/// tried. Fallbacks are looked at only when `candidates` holds nothing else.
pub fn least_loaded<K>(candidates: impl IntoIterator<Item = (K, Load)>) -> Option<K> {
    let mut candidates: Vec<_> = candidates.into_iter().collect();
    if candidates.iter().any(|(_, load)| !load.fallback) {
        candidates.retain(|(_, load)| !load.fallback);
    }
    let fastest = candidates.iter().filter_map(|(_, load)| load.service_time).min();
    let unknown = fastest.map_or(1.0, |time| time.as_secs_f64());
    candidates
        .into_iter()
        .filter(|(_, load)| load.in_use < load.slots)
        .min_by(|(_, a), (_, b)| {
            let score = a.score(unknown).total_cmp(&b.score(unknown));
            score.then(a.service_time.is_some().cmp(&b.service_time.is_some()))
        })
        .map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(in_use: usize, slots: usize, service_ms: u64) -> Load {
        let service_time = (service_ms > 0).then(|| Duration::from_millis(service_ms));
        Load { in_use, slots, service_time, fallback: false, familiar: false }
    }

    fn pick(loads: &[(usize, usize, u64)]) -> Option<usize> {
        least_loaded(loads.iter().map(|&(in_use, slots, ms)| load(in_use, slots, ms)).enumerate())
    }

    #[test]
    fn picks_the_least_outstanding_work() {
        for (loads, expected) in [
            (&[(0, 1, 0), (0, 1, 0)][..], Some(0)),
            (&[(1, 2, 0), (1, 4, 0)], Some(1)),
            (&[(1, 1, 0), (3, 4, 0)], Some(1)),
            (&[(1, 1, 0), (4, 4, 0)], None),
            (&[(0, 0, 0)], None),
            (&[], None),
            // Twice as fast takes twice the calls.
            (&[(0, 4, 100), (0, 4, 50)], Some(1)),
            (&[(0, 4, 100), (1, 4, 50)], Some(0)),
            (&[(0, 4, 100), (2, 4, 50)], Some(0)),
            // One without a measurement is tried.
            (&[(0, 4, 50), (0, 4, 0)], Some(1)),
            (&[(1, 4, 50), (0, 4, 0)], Some(1)),
        ] {
            assert_eq!(pick(loads), expected, "{loads:?}");
        }
    }

    #[test]
    fn a_fallback_serves_only_alone() {
        let fallback = Load { fallback: true, ..load(0, 4, 1) };
        assert_eq!(least_loaded([(0, load(1, 1, 1)), (1, fallback)]), None, "a busy instance is waited for");
        assert_eq!(least_loaded([(1, fallback)]), Some(1));
    }

    #[test]
    fn the_instance_that_knows_the_session_is_preferred_unless_it_is_busier() {
        let familiar = |in_use| Load { familiar: true, ..load(in_use, 4, 50) };
        for (other, known, expected) in [(0, 0, 1), (1, 2, 1), (0, 2, 0), (0, 4, 0)] {
            assert_eq!(least_loaded([(0, load(other, 4, 50)), (1, familiar(known))]), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn never_an_instance_without_a_free_slot(
            loads in prop::collection::vec((0_usize..5, 0_usize..5, 0_u64..200), 0..8),
        ) {
            let picked = pick(&loads);
            let free = loads.iter().any(|&(in_use, slots, _)| in_use < slots);
            prop_assert_eq!(picked.is_some(), free);
            if let Some(index) = picked {
                prop_assert!(loads[index].0 < loads[index].1);
            }
        }
    }
}
