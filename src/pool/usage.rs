//! Who used how much engine time lately: the measure of a fair share. Pure: it is told the time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::queue::HolderId;

/// After this long a use counts half. 30 s: about three turns of a talk, so that one long answer is forgiven
/// when the next turns come.
const HALF_LIFE: Duration = Duration::from_secs(30);
/// Less than this, in seconds, is forgotten.
const NEGLIGIBLE_S: f64 = 0.000_5;
/// Holders after which a sweep for negligible ones is worth its time.
const SWEEP_AT: usize = 256;

/// Recent engine time by holder, each use fading with a half-life.
#[derive(Debug, Default)]
pub struct UsageLedger {
    entries: HashMap<HolderId, Entry>,
    /// Entries after the last sweep, so that sweeps stay rare when many holders are busy.
    kept: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    seconds: f64,
    at: Instant,
}

impl Entry {
    fn faded(self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at);
        self.seconds * 0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64())
    }
}

impl UsageLedger {
    /// Recent use of a holder in seconds of engine time.
    pub fn of(&self, holder: HolderId, now: Instant) -> f64 {
        self.entries.get(&holder).map_or(0.0, |entry| entry.faded(now))
    }

    /// It will not come again.
    pub fn forget(&mut self, holder: HolderId) {
        self.entries.remove(&holder);
    }

    /// Adds to a holder's use. `seconds` may be negative, to correct what was charged before it was known.
    pub fn charge(&mut self, holder: HolderId, seconds: f64, now: Instant) {
        let total = (self.of(holder, now) + seconds).max(0.0);
        self.entries.insert(holder, Entry { seconds: total, at: now });
        if self.entries.len() >= SWEEP_AT.max(self.kept * 2) {
            self.entries.retain(|_, entry| entry.faded(now) > NEGLIGIBLE_S);
            self.kept = self.entries.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_fades_by_half() {
        let (mut ledger, start) = (UsageLedger::default(), Instant::now());
        ledger.charge(HolderId(1), 8.0, start);
        assert!((ledger.of(HolderId(1), start + HALF_LIFE) - 4.0).abs() < 1e-9);
        ledger.charge(HolderId(1), 1.0, start + HALF_LIFE);
        assert!((ledger.of(HolderId(1), start + HALF_LIFE * 2) - 2.5).abs() < 1e-9);
        assert!(ledger.of(HolderId(2), start).abs() < f64::EPSILON);
    }

    #[test]
    fn holders_that_are_gone_are_forgotten() {
        let (mut ledger, start) = (UsageLedger::default(), Instant::now());
        for holder in 0..10_000 {
            ledger.charge(HolderId(holder), 0.1, start + HALF_LIFE * u32::try_from(holder).expect("small"));
        }
        assert!(ledger.entries.len() < SWEEP_AT * 2, "{}", ledger.entries.len());
    }

    #[test]
    fn a_correction_never_makes_a_debt() {
        let (mut ledger, now) = (UsageLedger::default(), Instant::now());
        ledger.charge(HolderId(1), 1.0, now);
        ledger.charge(HolderId(1), -5.0, now);
        assert!(ledger.of(HolderId(1), now).abs() < f64::EPSILON);
    }
}
