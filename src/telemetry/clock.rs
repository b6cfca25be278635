//! The wall clock, and times in whole milliseconds. Knows nothing of who asks; what must go on steadily takes
//! `tokio::time::Instant` instead.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970; zero for a clock that stands before that.
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    whole_ms(unix_now())
}

/// In whole milliseconds, rounded down.
pub fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
