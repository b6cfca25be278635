//! `GET /v1/realtime`: checks the request, opens a session and ties it to the socket.

use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::access::{api_error, authenticate, origin_allowed, over_quota};
use super::router::ServerState;
use super::socket;
use crate::session::Owner;
use crate::session::router::OpenError;
use crate::session::settings::SessionSettings;

/// The subprotocol that is answered where the client offers any: a browser that gets none back fails.
const SUBPROTOCOL: &str = "realtime";
/// How long a client that was refused should wait, in seconds.
const RETRY_AFTER_S: &str = "5";

/// The query of the socket's URL.
#[derive(Debug, Deserialize)]
pub(super) struct RealtimeQuery {
    model: Option<String>,
    intent: Option<String>,
    call_id: Option<String>,
}

/// Opens a session on a WebSocket.
pub(super) async fn upgrade(
    State(state): State<ServerState>,
    Query(query): Query<RealtimeQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let owner = match check(&state, &query, &headers) {
        Ok(owner) => owner,
        Err(refusal) => return *refusal,
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let message = format!("This is a WebSocket endpoint: {rejection}. Connect with ws:// or wss://.");
            return api_error(StatusCode::UPGRADE_REQUIRED, "websocket_required", &message);
        }
    };
    let settings = SessionSettings {
        model: query.model.unwrap_or_else(|| state.session_defaults.model.clone()),
        ..(*state.session_defaults).clone()
    };
    let session = match state.sessions.open(&owner, settings) {
        Ok(session) => session,
        Err(error) => return refused(&error),
    };
    let frame_limit = state.config.max_frame_bytes;
    upgrade
        .protocols([SUBPROTOCOL])
        // One more than the limit, so that a frame slightly over it is answered rather than cut off.
        .max_message_size(frame_limit.saturating_mul(2))
        .max_frame_size(frame_limit.saturating_mul(2))
        .on_upgrade(move |websocket| socket::serve(websocket, session, state))
}

fn check(state: &ServerState, query: &RealtimeQuery, headers: &HeaderMap) -> Result<Owner, Box<Response>> {
    let refuse = |status, code, message: &str| Err(Box::new(api_error(status, code, message)));
    if !origin_allowed(headers, &state.config) {
        let message = "Pages of this origin may not open sessions. Add it to server.allowed_origins.";
        return refuse(StatusCode::FORBIDDEN, "origin_not_allowed", message);
    }
    if headers.get("openai-beta").is_some_and(|beta| beta.as_bytes().starts_with(b"realtime=")) {
        let message = "This server speaks the Realtime API as generally available, not the beta. Remove the \
                       OpenAI-Beta header and use a current client.";
        return refuse(StatusCode::BAD_REQUEST, "beta_api_shape_disabled", message);
    }
    if query.call_id.is_some() || query.intent.is_some() {
        let message = "Neither 'call_id' nor 'intent' is served yet. Connect with ?model=NAME.";
        return refuse(StatusCode::BAD_REQUEST, "unsupported_query", message);
    }
    if !state.is_ready() {
        return Err(Box::new(unavailable("The server is not ready for sessions.")));
    }
    authenticate(headers, &state.config)
}

fn refused(error: &OpenError) -> Response {
    tracing::info!(%error, "refused a session");
    match error {
        OpenError::Full { .. } | OpenError::ShuttingDown => unavailable(&error.to_string()),
        OpenError::Quota(error) => over_quota(error),
        OpenError::Build(error) => {
            api_error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", &error.to_string())
        }
    }
}

fn unavailable(message: &str) -> Response {
    let mut response = api_error(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
    let retry = axum::http::HeaderValue::from_static(RETRY_AFTER_S);
    response.headers_mut().insert(header::RETRY_AFTER, retry);
    response.into_response()
}
