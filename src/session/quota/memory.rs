//! Is a session over its memory limit, and for how long? Pure: figures and `now` are given.
//!
//! The order is: trim what nothing needs, refuse what would add more, end the session if it stays over.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// How long a session may stay over its limit: time for a client to read, commit, clear or delete.
pub const MEMORY_GRACE: Duration = Duration::from_secs(5);

/// Accounted bytes of a session: the payloads it holds. Allocators round up, at most to the double for audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryUse {
    /// Audio that is kept: heard, on its way to speech-to-text, or sent; and the states of its codecs.
    pub audio: u64,
    /// Items of the conversation and their word times.
    pub history: u64,
    /// Instructions and tools.
    pub settings: u64,
    /// Commands and events that wait.
    pub queues: u64,
}

impl MemoryUse {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.audio + self.history + self.settings + self.queues
    }
}

/// What follows from a session's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Verdict {
    /// It is within its limit.
    Fits,
    /// It is over, though what can be trimmed was: nothing more is taken in.
    Over,
    /// It has been over for too long.
    End,
}

/// Follows one session.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::session) struct MemoryGuard {
    over_since: Option<Instant>,
}

impl MemoryGuard {
    /// Judges what is held after trimming.
    pub(in crate::session) fn judge(&mut self, used: u64, limit: u64, now: Instant) -> Verdict {
        if used <= limit {
            self.over_since = None;
            return Verdict::Fits;
        }
        let since = *self.over_since.get_or_insert(now);
        if now < since + MEMORY_GRACE { Verdict::Over } else { Verdict::End }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_ended_only_if_it_stays_over() {
        let start = Instant::now();
        let mut guard = MemoryGuard::default();
        for (second, used, expected) in [
            (0, 100, Verdict::Fits),
            (1, 101, Verdict::Over),
            (5, 200, Verdict::Over),
            (6, 90, Verdict::Fits),
            (7, 101, Verdict::Over),
            (11, 101, Verdict::Over),
            (12, 101, Verdict::End),
        ] {
            let verdict = guard.judge(used, 100, start + Duration::from_secs(second));
            assert_eq!(verdict, expected, "second {second}");
        }
    }
}
