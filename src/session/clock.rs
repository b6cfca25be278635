//! The time since the server's start, for records and gauges: monotonic, with the wall clock of its begin.

use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::clock::{unix_now, whole_ms};

/// When the server started. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct ServerClock {
    start: Instant,
    unix: Duration,
}

impl ServerClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now(), unix: unix_now() }
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
        whole_ms(self.unix + since_start)
    }
}
