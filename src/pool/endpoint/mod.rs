//! What a pool does for an instance behind a URL: keeps to the endpoint's limits and shares them out fairly, holds
//! back while it asks for that, and calls it one at a time where it fails under several.
//!
//! Pure, all of it: it is told the time. Knows no engine and no HTTP. Read `meter` first.

mod ladder;
mod meter;
mod window;

pub use ladder::Mode;
pub use meter::{LimitStats, ShareStats};

pub(super) use ladder::Ladder;
pub(super) use meter::{Ask, Meter, Verdict};

use serde::Serialize;

/// How an endpoint is called now, for status.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct EndpointStats {
    /// Several calls at once, or one after the other.
    pub mode: Mode,
    /// The endpoint asked for a pause of so many milliseconds more; absent where it did not.
    pub held_ms: Option<u64>,
    /// Calls of the last minute and what the endpoint allows; absent without a limit.
    pub requests: Option<LimitStats>,
    /// Tokens of the last minute and what the endpoint allows; absent without a limit.
    pub tokens: Option<LimitStats>,
    /// What each session may have of these, and has used in the last minute. Who shows it knows whose session it is.
    #[serde(skip)]
    pub shares: Vec<ShareStats>,
}
