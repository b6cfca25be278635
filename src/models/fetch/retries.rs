//! How often and how soon something is tried again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Pauses between tries that bring nothing new; a try that brings bytes begins them anew.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Tries after the first.
    pub times: usize,
    /// Connections that may fail; a machine without a network is told so soon.
    pub connects: usize,
    /// The first pause; it doubles, up to 30 s, and varies by chance.
    pub first: Duration,
    /// The longest pause that a server may ask for; with more, the pull ends and says so.
    pub longest: Duration,
}

impl Default for Retries {
    /// Five tries more within about half a minute.
    fn default() -> Self {
        Self { times: 5, connects: 3, first: Duration::from_secs(1), longest: Duration::from_secs(120) }
    }
}

impl Retries {
    pub(super) fn pauses(&self) -> ExponentialBackoff {
        let builder = ExponentialBuilder::default().with_min_delay(self.first).with_jitter();
        builder.with_max_delay(Duration::from_secs(30)).with_max_times(self.times).build()
    }
}
