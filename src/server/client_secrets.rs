//! `POST /v1/realtime/client_secrets`: a secret with which a browser opens sessions, so that the API key stays
//! on its owner's server. And the beta's names for it, which say where to go.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use serde_json::{Value, json};

use super::access::{api_error, caller, protocol_error, unreadable};
use super::convert;
use super::router::ServerState;
use super::secrets::{Grant, NoRoom};
use crate::protocol::{
    ClientSecret, ErrorCode, ProtocolError, SessionType, SessionUpdate, parse_client_secret_request,
};
use crate::session::Owner;
use crate::session::event::SessionView;
use crate::session::id::SessionId;
use crate::session::settings::SessionSettings;

/// Longest body in bytes: instructions and tools of a session are at most some 10 KiB.
const MAX_BODY_BYTES: usize = 256 << 10;

/// The route.
pub(super) fn route() -> MethodRouter<ServerState> {
    post(create).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// The settings of a session whose client names `model` and was given `session`.
pub(super) fn settings(
    state: &ServerState,
    model: Option<String>,
    session: SessionUpdate,
) -> Result<SessionSettings, ProtocolError> {
    let mut settings = state.session_settings(model.or_else(|| session.model.clone()));
    if session.kind == SessionType::Transcription {
        settings = settings.for_transcription();
    }
    let patch = convert::patch(session)?;
    // Nothing was said yet, so nothing of a patch can be refused.
    settings
        .apply(patch, false)
        .map_err(|error| ProtocolError::at("session", ErrorCode::INVALID_VALUE, error.to_string()))?;
    Ok(settings)
}

/// Makes a secret.
async fn create(
    State(state): State<ServerState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let owner = match caller(&headers, &state.config) {
        Ok(owner) => owner,
        Err(refusal) => return *refusal,
    };
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unreadable(rejection.status(), MAX_BODY_BYTES, &rejection.body_text()),
    };
    match make(&state, owner, &body) {
        Ok(secret) => Json(secret).into_response(),
        Err(Refused::Body(error)) => protocol_error(&error),
        Err(Refused::Full(error)) => full(&error),
    }
}

enum Refused {
    Body(ProtocolError),
    Full(NoRoom),
}

fn make(state: &ServerState, owner: Owner, body: &[u8]) -> Result<ClientSecret, Refused> {
    let json = if body.is_empty() { Ok(json!({})) } else { serde_json::from_slice::<Value>(body) };
    let json = json.map_err(|error| {
        Refused::Body(ProtocolError::new(ErrorCode::INVALID_JSON, format!("The body is no JSON: {error}.")))
    })?;
    let request = parse_client_secret_request(&json).map_err(Refused::Body)?;
    let settings = settings(state, None, request.session.clone()).map_err(Refused::Body)?;
    let grant = Grant { owner, session: Arc::new(request.session) };
    let life = Duration::from_secs(request.life_s);
    let value = state.secrets.make(grant, life, body.len()).map_err(Refused::Full)?;
    let clock = state.sessions.requests().clock();
    let view = SessionView { id: SessionId::random(), expires_at: 0, settings, resume: None };
    let expires_at = clock.unix_ms(clock.now() + life) / 1_000;
    Ok(ClientSecret { value, expires_at, session: convert::session(view) })
}

fn full(error: &NoRoom) -> Response {
    let code = "client_secret_limit_reached";
    let mut response = api_error(StatusCode::TOO_MANY_REQUESTS, code, &error.to_string());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(error.retry_after_s));
    response
}

/// The beta's forms of the same.
pub(super) async fn beta() -> Response {
    let message = "This is an endpoint of the Realtime beta. Make a secret with POST \
                   /v1/realtime/client_secrets and {\"session\": {\"type\": \"realtime\"}}.";
    api_error(StatusCode::GONE, "beta_api_shape_disabled", message)
}
