//! `/v1/audio`: hearing and speaking without a session, through the same pools, limits and request records.
//!
//! Each request's work is a task ([`outside`](super::outside)). Read [`speech`] and [`transcriptions`], the handlers,
//! first; [`speaking`] and [`hearing`] do the work; [`pieces`] and [`formats`] are pure.

mod form;
mod formats;
mod hearing;
mod pieces;
mod speaking;
mod speech;
mod transcriptions;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;

use super::config::UploadsConfig;
use super::router::ServerState;

/// What a form may hold beside its file, in bytes: prompt, language, format.
const FIELDS_BYTES: usize = 64 << 10;

/// The routes below `/v1/audio`.
pub(super) fn routes(uploads: &UploadsConfig) -> Router<ServerState> {
    let limit = DefaultBodyLimit::max(uploads.max_bytes.saturating_add(FIELDS_BYTES));
    Router::new()
        .route("/v1/audio/speech", post(speech::speech))
        .route("/v1/audio/transcriptions", post(transcriptions::transcribe).layer(limit))
}
