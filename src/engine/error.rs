//! Why an engine call failed.

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// Why an engine call failed. Texts name the engine and the next step, and hold no words of a user.
#[derive(Clone, Debug, Deserialize, Error, PartialEq, Eq, Serialize)]
pub enum EngineError {
    /// The caller raised the cancel flag.
    #[error("the call was cancelled")]
    Cancelled,
    /// The request cannot be served by any instance of this engine: retrying elsewhere does not help.
    #[error("{engine}: {reason}")]
    BadRequest {
        /// The engine's name.
        engine: String,
        /// What is wrong, and the limit it breaks.
        reason: String,
    },
    /// The conversation is longer than the model can read.
    #[error(
        "{engine}: the conversation has {tokens} tokens, the limit is {limit}. Delete items, shorten the \
         instructions, or set 'truncation' to 'auto'."
    )]
    ContextExceeded {
        /// The engine's name.
        engine: String,
        /// What the conversation has.
        tokens: usize,
        /// What there is room for beside the answer.
        limit: usize,
    },
    /// The call failed inside the engine; another instance may succeed.
    #[error("{engine} failed: {reason}")]
    Failed {
        /// The engine's name.
        engine: String,
        /// What the engine said.
        reason: String,
    },
    /// The engine is there and takes no more calls for now (HTTP 429, or 503 with `Retry-After`).
    #[error("{engine} takes no more calls for now: {reason}")]
    RateLimited {
        /// The engine's name.
        engine: String,
        /// What it said.
        reason: String,
        /// When it is to be asked again, in milliseconds from now, where it says so.
        retry_after_ms: Option<u64>,
    },
    /// The engine is gone: its thread or process ended, or its address does not answer.
    #[error("{engine} is not running: {reason}")]
    Unavailable {
        /// The engine's name.
        engine: String,
        /// Why it ended, where that is known.
        reason: String,
    },
    /// The engine did not answer in time.
    #[error("{engine} did not give {phase} within {waited_ms} ms")]
    TimedOut {
        /// The engine's name.
        engine: String,
        /// What was waited for.
        #[serde(deserialize_with = "phase")]
        phase: Phase,
        /// How long was waited.
        waited_ms: u64,
    },
}

impl EngineError {
    /// The variant's name, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::BadRequest { .. } => "bad_request",
            Self::ContextExceeded { .. } => "context_exceeded",
            Self::Failed { .. } => "failed",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable { .. } => "unavailable",
            Self::TimedOut { .. } => "timed_out",
        }
    }

    /// Whether the same call may succeed on another instance.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. } | Self::RateLimited { .. } | Self::Unavailable { .. } | Self::TimedOut { .. }
        )
    }
}

/// What is waited for. A name, because serde would take the reference for one into what it reads.
pub type Phase = &'static str;

/// What may be waited for.
const PHASES: [Phase; 6] = [
    "an answer",
    "its first output",
    "the rest of its answer",
    "the whole of its answer",
    "a connection",
    "a probe",
];

/// One of [`PHASES`] as it was told; another is told as an answer.
fn phase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Phase, D::Error> {
    let told = String::deserialize(deserializer)?;
    Ok(PHASES.into_iter().find(|phase| *phase == told).unwrap_or(PHASES[0]))
}
