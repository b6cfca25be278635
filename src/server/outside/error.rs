//! Why a request without a session came to nothing, as its client and its record are told.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use thiserror::Error;

use crate::engine::EngineError;
use crate::pool::CallError;
use crate::server::access::{error_kind, field_error};
use crate::session::SessionError;
use crate::session::lifecycle::Outcome;

/// When to try again where nobody can know, in seconds.
const SOON_S: u64 = 5;

/// Why it came to nothing.
#[derive(Clone, Debug, Error, PartialEq)]
pub(in crate::server) enum RequestError {
    /// The request is at fault.
    #[error("{message}")]
    Invalid {
        /// 400 or 413.
        status: StatusCode,
        /// What, for programs.
        code: &'static str,
        /// What, for people.
        message: String,
        /// The field.
        param: Option<&'static str>,
    },
    /// An engine, or the way to one.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It took too long as a whole.
    #[error("The request took longer than {} s. Send less at once, or try again when the server is less busy.", .limit.as_secs())]
    TimedOut {
        /// How long it may take.
        limit: Duration,
    },
    /// Too many at once.
    #[error("{0}")]
    Busy(String),
    /// The server stops.
    #[error("The server is shutting down. Try again in a moment.")]
    ShuttingDown,
}

impl RequestError {
    /// A field that is wrong.
    pub(in crate::server) fn field(param: &'static str, message: impl Into<String>) -> Self {
        let (status, code) = (StatusCode::BAD_REQUEST, "invalid_value");
        Self::Invalid { status, code, message: message.into(), param: Some(param) }
    }

    /// As an answer.
    pub(in crate::server) fn response(&self) -> Response {
        let (status, code, param) = self.classify();
        let mut response = field_error(status, code, &self.to_string(), param);
        if let Some(seconds) = self.retry_after_s(status) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// As an event of a stream that has begun.
    pub(in crate::server) fn event(&self) -> Value {
        let (status, code, param) = self.classify();
        let error =
            json!({"type": error_kind(status), "code": code, "message": self.to_string(), "param": param});
        json!({"type": "error", "error": error})
    }

    /// As the request's end.
    pub(in crate::server) fn outcome(&self) -> Outcome {
        match self {
            Self::Session(error) => Outcome::of_result(&Err::<(), _>(error.clone())),
            Self::TimedOut { .. } => Outcome::Timeout { code: "request_timeout" },
            Self::Invalid { code, .. } => Outcome::Error { code },
            Self::Busy(_) => Outcome::Error { code: "overloaded" },
            Self::ShuttingDown => Outcome::Cancelled,
        }
    }

    /// When to try again, where that helps.
    fn retry_after_s(&self, status: StatusCode) -> Option<u64> {
        match self {
            Self::Session(SessionError::Engine(EngineError::RateLimited { retry_after_ms, .. })) => {
                Some(retry_after_ms.map_or(SOON_S, |wait| wait.div_ceil(1_000).max(1)))
            }
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(SOON_S),
        }
    }

    fn classify(&self) -> (StatusCode, &'static str, Option<&'static str>) {
        match self {
            Self::Invalid { status, code, param, .. } => (*status, code, *param),
            Self::Session(SessionError::Overloaded(_)) | Self::Busy(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded", None)
            }
            Self::Session(SessionError::RequestCancelled) => {
                (StatusCode::CONFLICT, "request_cancelled", None)
            }
            Self::Session(SessionError::Engine(EngineError::BadRequest { .. })) => {
                (StatusCode::BAD_REQUEST, "invalid_value", None)
            }
            Self::Session(SessionError::Engine(EngineError::ContextExceeded { .. })) => {
                (StatusCode::BAD_REQUEST, "context_length_exceeded", Some("messages"))
            }
            Self::Session(SessionError::Engine(EngineError::RateLimited { .. })) => {
                (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", None)
            }
            Self::Session(_) => (StatusCode::BAD_GATEWAY, "server_error", None),
            Self::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "request_timeout", None),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "server_shutting_down", None),
        }
    }
}

impl From<CallError> for RequestError {
    fn from(error: CallError) -> Self {
        Self::Session(error.into())
    }
}

impl From<EngineError> for RequestError {
    fn from(error: EngineError) -> Self {
        Self::Session(error.into())
    }
}

impl From<crate::audio::AudioError> for RequestError {
    fn from(error: crate::audio::AudioError) -> Self {
        Self::Session(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::LeaseError;

    #[test]
    fn each_error_has_its_status_and_its_end() {
        let engine = || "whisper".to_owned();
        let failed = EngineError::Failed { engine: engine(), reason: "broken".to_owned() };
        let bad = EngineError::BadRequest { engine: engine(), reason: "the language".to_owned() };
        let long = EngineError::ContextExceeded { engine: engine(), tokens: 9, limit: 5 };
        let reason = "429".to_owned();
        let limited = EngineError::RateLimited { engine: engine(), reason, retry_after_ms: Some(1_200) };
        let busy = CallError::Lease(LeaseError::TimedOut { pool: "stt", waited_ms: 5 });
        for (error, status, code) in [
            (RequestError::field("voice", "no such voice"), 400, "invalid_value"),
            (failed.into(), 502, "server_error"),
            (bad.into(), 400, "invalid_value"),
            (long.into(), 400, "context_length_exceeded"),
            (limited.into(), 429, "rate_limit_exceeded"),
            (busy.into(), 503, "overloaded"),
            (RequestError::Busy("full".to_owned()), 503, "overloaded"),
            (RequestError::TimedOut { limit: Duration::from_secs(9) }, 504, "request_timeout"),
            (SessionError::RequestCancelled.into(), 409, "request_cancelled"),
            (RequestError::ShuttingDown, 503, "server_shutting_down"),
        ] {
            let response = error.response();
            assert_eq!(
                (response.status().as_u16(), error.event()["error"]["code"].as_str()),
                (status, Some(code))
            );
            let wait =
                response.headers().get(header::RETRY_AFTER).map(|wait| wait.to_str().expect("a number"));
            let expected = match status {
                429 => Some("2"),
                503 => Some("5"),
                _ => None,
            };
            assert_eq!(wait, expected, "{error}");
            assert_ne!(error.outcome(), Outcome::Completed);
        }
    }
}
