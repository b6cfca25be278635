//! Requests from the moment they are received to their end: a record each, without a word of a user.
//!
//! A request is a response, a transcription (those begun ahead of time included) or a speech without a session.
//! [`RequestTracker`] is the handle that follows one; [`RequestLog`] knows those that run and remembers, bounded,
//! those that are over. `record` is the pure state machine behind both.

mod log;
mod record;
mod tracker;
mod view;

pub use log::{RequestLog, RequestSpec, SessionRequests};
pub use record::{Impossible, Outcome, Phase, RequestKind, Stage, Step};
pub use tracker::RequestTracker;
pub use view::{PhaseView, RequestTotals, RequestView, StageView};

use super::error::SessionError;
use crate::engine::EngineError;
use crate::pool::LeaseError;

impl Outcome {
    /// How a request ended that failed with this.
    pub fn of_error(error: &SessionError) -> Self {
        match error {
            SessionError::Overloaded(LeaseError::TimedOut { .. }) => Self::Timeout { code: "overloaded" },
            SessionError::Overloaded(LeaseError::Superseded { .. }) => Self::Cancelled,
            SessionError::Overloaded(LeaseError::Unhealthy { .. }) => {
                Self::Error { code: "engines_unhealthy" }
            }
            SessionError::Overloaded(_) => Self::Error { code: "overloaded" },
            SessionError::Engine(EngineError::TimedOut { .. }) => Self::Timeout { code: "engine_timeout" },
            SessionError::Engine(EngineError::Cancelled) | SessionError::RequestCancelled => Self::Cancelled,
            SessionError::Engine(EngineError::BadRequest { .. } | EngineError::ContextExceeded { .. }) => {
                Self::Error { code: "bad_request" }
            }
            SessionError::Engine(_) => Self::Error { code: "engine_failed" },
            _ => Self::Error { code: "failed" },
        }
    }

    /// How a request ended that gave this.
    pub fn of_result<T>(result: &Result<T, SessionError>) -> Self {
        match result {
            Ok(_) => Self::Completed,
            Err(error) => Self::of_error(error),
        }
    }
}
