//! Requests without a session, as `/v1/audio` and `/v1/chat` serve them: within their user's limits, in the
//! request records, through the same pools.
//!
//! Each request's work is a task ([`job`]) whose results its handler passes on, so that a client that reads slowly
//! holds no engine. Knows nothing of what the work is. Read [`Outside::start`] first.

mod error;
mod job;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;

use super::access::unreadable;

pub(super) use error::RequestError;
pub(super) use job::{Gone, Outside, Results, begun};

/// The longest JSON body, in bytes: axum's own limit.
const BODY_BYTES: usize = 2 << 20;

/// What a JSON body says, or the refusal that tells what is wrong with it.
pub(super) fn json_body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Box<Response>> {
    let error = match body {
        Ok(Json(request)) => return Ok(request),
        Err(error) => error,
    };
    let status = match error.status() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    Err(Box::new(unreadable(status, BODY_BYTES, &error.body_text())))
}
