//! Where each session was served last, so that its next call may find there what was kept of it (a language model
//! keeps what it has read of a talk). Pure: it is told the time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::queue::HolderId;
use super::schedule::{MemberId, PoolId};

/// After this long nothing that was kept is expected to be there still. 600 s: a session that says nothing for that
/// long ends (`session.limits.idle_s`).
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Entries after which a sweep for forgotten ones is worth its time.
const SWEEP_AT: usize = 1_024;

/// The instance of each pool that served a holder last.
#[derive(Debug, Default)]
pub(super) struct Affinity {
    last: HashMap<(PoolId, HolderId), (MemberId, Instant)>,
    /// Entries after the last sweep, so that sweeps stay rare when many holders are busy.
    kept: usize,
}

impl Affinity {
    /// Where this holder was served last.
    pub(super) fn of(&self, pool: PoolId, holder: HolderId) -> Option<MemberId> {
        self.last.get(&(pool, holder)).map(|(member, _)| *member)
    }

    /// It will not come again.
    pub(super) fn forget(&mut self, holder: HolderId) {
        self.last.retain(|(_, other), _| *other != holder);
    }

    /// It is served there now.
    pub(super) fn note(&mut self, key: (PoolId, HolderId), member: MemberId, now: Instant) {
        self.last.insert(key, (member, now));
        if self.last.len() >= SWEEP_AT.max(self.kept * 2) {
            self.last.retain(|_, (_, at)| now.saturating_duration_since(*at) < FORGOTTEN_AFTER);
            self.kept = self.last.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_instance_is_known_until_it_is_long_ago() {
        let (mut affinity, start) = (Affinity::default(), Instant::now());
        affinity.note((PoolId(0), HolderId(1)), MemberId(3), start);
        affinity.note((PoolId(0), HolderId(1)), MemberId(4), start);
        affinity.note((PoolId(1), HolderId(1)), MemberId(5), start);
        assert_eq!(affinity.of(PoolId(0), HolderId(1)), Some(MemberId(4)));
        assert_eq!(affinity.of(PoolId(1), HolderId(1)), Some(MemberId(5)));
        assert_eq!(affinity.of(PoolId(0), HolderId(2)), None);
        for holder in 10..20_000 {
            let now = start + FORGOTTEN_AFTER * u32::try_from(holder).expect("small") / 100;
            affinity.note((PoolId(0), HolderId(holder)), MemberId(0), now);
        }
        assert!(affinity.last.len() < SWEEP_AT * 2, "{}", affinity.last.len());
        assert_eq!(affinity.of(PoolId(0), HolderId(1)), None);
    }
}
