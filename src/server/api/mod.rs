//! `/api`: what the server, its sessions and their requests do, and stopping a request. JSON; a user sees what is
//! its own, an administrator all. And `/api/config`: the settings, and what of them may change at run time.
//!
//! Errors have OpenAI's shape. What is not there and what is not for this viewer is the same 404.

mod alerts;
pub mod config;
mod requests;
mod sessions;
mod status;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{delete, get};

use super::access::{Viewer, api_error, viewer};
use super::router::ServerState;

/// The routes below `/api` that are about sessions.
pub(super) fn session_routes() -> Router<ServerState> {
    Router::new().route("/api/sessions", get(sessions::list)).route("/api/sessions/{id}", get(sessions::one))
}

/// The other routes below `/api`.
pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/status", get(status::status))
        .route("/api/alerts", get(alerts::list))
        .route("/api/requests", get(requests::list).delete(requests::cancel_all))
        .route("/api/requests/{id}", delete(requests::cancel))
}

impl FromRequestParts<ServerState> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &ServerState) -> Result<Self, Response> {
        // Without a peer, nobody is taken for a neighbour.
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map_or(unknown, |info| info.0);
        viewer(&parts.headers, &state.config, peer).map_err(|refusal| *refusal)
    }
}

fn not_found(what: &str, id: &str) -> Response {
    let message = format!("There is no {what} '{id}' of yours.");
    api_error(StatusCode::NOT_FOUND, "not_found", &message)
}
