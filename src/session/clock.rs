//! The time since the server's start, for records and gauges: monotonic, with the wall clock of its begin.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// When the server started. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct ServerClock {
    start: Instant,
    unix: Duration,
}

impl ServerClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), unix }
    }

    /// Time since the start.
    pub fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }

    /// Time since the start, now.
    pub fn now(&self) -> Duration {
        self.since_start(Instant::now())
    }

    /// Milliseconds since 1970 at this time since the start.
    pub fn unix_ms(&self, since_start: Duration) -> u64 {
        u64::try_from((self.unix + since_start).as_millis()).unwrap_or(u64::MAX)
    }
}
