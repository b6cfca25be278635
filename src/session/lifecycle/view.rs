//! Requests as `/api` shows them. Times in milliseconds.

use std::time::Duration;

use serde::Serialize;

use super::record::{Phase, RequestKind, Stage};

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestView {
    /// Its id; of a response, the response's.
    pub id: String,
    /// What was asked for.
    pub kind: RequestKind,
    /// The session; `null` for a speech without one.
    pub session: Option<String>,
    /// The API key's name; `null` on a server without keys.
    pub owner: Option<String>,
    /// The latest phase.
    pub status: Phase,
    /// When it was received, in milliseconds since 1970.
    pub received_at_ms: u64,
    /// From then to its end, or to now while it runs.
    pub duration_ms: f64,
    /// Why it failed, for programs.
    pub error: Option<&'static str>,
    /// What each stage took.
    pub stages: Vec<StageView>,
    /// Its way, in milliseconds since the server's start; of each stage the first round.
    pub phases: Vec<PhaseView>,
}

/// What one stage of a request took, all rounds together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageView {
    /// Which.
    pub stage: Stage,
    /// The instance that served it last; `null` where that is not known.
    pub engine: Option<String>,
    /// Engine calls.
    pub calls: u32,
    /// Waiting for a slot.
    pub queued_ms: f64,
    /// The engine's work.
    pub engine_ms: f64,
}

/// A phase and when it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PhaseView {
    /// Which.
    pub phase: Phase,
    /// Of which stage; `null` for the request's own.
    pub stage: Option<Stage>,
    /// Milliseconds since the server's start.
    pub at_ms: f64,
}

/// Requests since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RequestTotals {
    /// Under way.
    pub active: u64,
    /// The most at once.
    pub peak: u64,
    /// All that were received.
    pub total: u64,
    /// Completed.
    pub succeeded: u64,
    /// Failed, those that took too long included.
    pub failed: u64,
    /// Those that took too long.
    pub timed_out: u64,
    /// Given up.
    pub cancelled: u64,
    /// Succeeded / (succeeded + failed), 0 to 1; `null` before the first.
    pub success_rate: Option<f64>,
    /// Mean of waits and engine work of those that succeeded, in milliseconds. The pace of playback is left out.
    pub average_ms: Option<f64>,
}

/// Milliseconds with three digits behind the point.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}
