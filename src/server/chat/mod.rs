//! `POST /v1/chat/completions`: answers of the language models without a session, through the same pool, limits and
//! request records.
//!
//! Each request's work is a task ([`outside`](super::outside)). Read [`completions`], the handler, first;
//! [`answering`] does the work; [`request`], [`message`], [`parameters`] (what is asked) and [`chunk`] (what is
//! answered) are pure.

mod answering;
mod chunk;
mod completions;
mod message;
mod parameters;
mod request;

use axum::Router;
use axum::routing::post;

use super::router::ServerState;

/// The routes below `/v1/chat`.
pub(super) fn routes() -> Router<ServerState> {
    Router::new().route("/v1/chat/completions", post(completions::completions))
}
