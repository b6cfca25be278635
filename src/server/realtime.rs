//! `GET /v1/realtime`: checks the request, asks for admission, and ties a session to the socket, at once or when
//! its turn has come.

use std::time::Duration;

use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::access::{Guest, api_error, authenticate_guest, origin_allowed, over_quota, protocol_error};
use super::client_secrets;
use super::router::ServerState;
use super::socket::{self, Socket};
use super::waiting::{self, WaitOptions};
use crate::protocol::{ErrorCode, ProtocolError, SessionType, SessionUpdate};
use crate::session::Owner;
use crate::session::admission::{Entry, Refusal, Waiting};
use crate::session::router::OpenError;
use crate::session::settings::SessionSettings;

/// The subprotocol that is answered where the client offers any: a browser that gets none back fails.
const SUBPROTOCOL: &str = "realtime";
/// `?queue=events`: a client that has to wait is told its place in line. Others are not: stock clients know no
/// such events.
const QUEUE_EVENTS: &str = "events";
/// `?intent=transcription`: a session that transcribes and does not answer.
const TRANSCRIPTION: &str = "transcription";
/// How long a client should stay away from a server that starts or stops.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The query of the socket's URL.
#[derive(Debug, Deserialize)]
pub(super) struct RealtimeQuery {
    model: Option<String>,
    intent: Option<String>,
    call_id: Option<String>,
    queue: Option<String>,
}

/// Opens a session on a WebSocket.
pub(super) async fn upgrade(
    State(state): State<ServerState>,
    Query(query): Query<RealtimeQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Guest { owner, session } = match check(&state, &query, &headers) {
        Ok(guest) => guest,
        Err(refusal) => return *refusal,
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let message = format!("This is a WebSocket endpoint: {rejection}. Connect with ws:// or wss://.");
            return api_error(StatusCode::UPGRADE_REQUIRED, "websocket_required", &message);
        }
    };
    let settings = match session_settings(&state, &query, session.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return protocol_error(&error),
    };
    let upgrade = with_limits(upgrade, state.config.max_frame_bytes);
    match state.admission.enter() {
        Entry::Admitted(permit) => match state.sessions.open(&owner, settings, permit) {
            Ok(session) => upgrade.on_upgrade(move |socket| socket::serve(socket.into(), session, state)),
            Err(error) => refused(&error),
        },
        Entry::Queued(waiting) => {
            let newcomer = Newcomer { owner, settings, positions: query.queue.is_some() };
            upgrade.on_upgrade(move |socket| queue(socket.into(), waiting, newcomer, state))
        }
        Entry::Refused(refusal) => upgrade.on_upgrade(move |socket| refuse(socket.into(), refusal, state)),
        Entry::TurnedAway(after) => {
            tracing::info!("refused a connection: too many");
            let message = format!(
                "The server has as many connections as it takes. Try again in {} seconds, or ask the operator to \
                 raise server.admission.max_connections.",
                after.as_secs()
            );
            unavailable(&message, after)
        }
    }
}

/// What the session starts with: as configured, or as the client's secret says.
fn session_settings(
    state: &ServerState,
    query: &RealtimeQuery,
    secret: Option<&SessionUpdate>,
) -> Result<SessionSettings, ProtocolError> {
    let (model, transcribes) = (query.model.clone(), query.intent.is_some());
    match secret {
        None if transcribes => Ok(state.session_settings(model).for_transcription()),
        None => Ok(state.session_settings(model)),
        Some(session) if transcribes && session.kind != SessionType::Transcription => {
            let message = "The client secret is for a session of type 'realtime': connect without 'intent'.";
            Err(ProtocolError::at("intent", ErrorCode::INVALID_VALUE, message))
        }
        Some(session) => client_secrets::settings(state, model, session.clone()),
    }
}

fn with_limits(upgrade: WebSocketUpgrade, frame_limit: usize) -> WebSocketUpgrade {
    upgrade
        .protocols([SUBPROTOCOL])
        // One more than the limit, so that a frame slightly over it is answered rather than cut off.
        .max_message_size(frame_limit.saturating_mul(2))
        .max_frame_size(frame_limit.saturating_mul(2))
}

/// One who waits for a session.
struct Newcomer {
    owner: Owner,
    settings: SessionSettings,
    positions: bool,
}

/// Holds a client in line, then serves its session. The wait is a task of the runtime, so that a shutdown waits
/// until the client is told.
async fn queue(socket: Socket, waiting: Waiting, newcomer: Newcomer, state: ServerState) {
    let options = WaitOptions {
        positions: newcomer.positions,
        ping: Duration::from_secs(state.config.ping_interval_s),
        shutdown: state.runtime.shutdown_token().clone(),
    };
    let sessions = state.sessions.clone();
    let wait = async move {
        let mut socket = socket;
        let permit = waiting::wait(&mut socket, waiting, &options).await?;
        match sessions.open(&newcomer.owner, newcomer.settings, permit) {
            Ok(session) => Some((socket, session)),
            Err(error) => {
                waiting::fail(&mut socket, &error).await;
                None
            }
        }
    };
    if let Ok(Some((socket, session))) = state.runtime.spawn("waiting", wait).await {
        socket::serve(socket, session, state).await;
    }
}

async fn refuse(mut socket: Socket, refusal: Refusal, state: ServerState) {
    let told = async move { waiting::refuse(&mut socket, refusal).await };
    if state.runtime.spawn("refusal", told).await.is_err() {
        tracing::error!("the task that refuses a client panicked");
    }
}

fn check(state: &ServerState, query: &RealtimeQuery, headers: &HeaderMap) -> Result<Guest, Box<Response>> {
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
    if query.intent.as_deref().is_some_and(|intent| intent != TRANSCRIPTION) {
        let message = "'intent' takes 'transcription' and nothing else; a conversation has none.";
        return refuse(StatusCode::BAD_REQUEST, "unsupported_query", message);
    }
    if query.call_id.is_some() {
        let message = "'call_id' is not served yet. Connect with ?model=NAME.";
        return refuse(StatusCode::BAD_REQUEST, "unsupported_query", message);
    }
    if query.queue.as_deref().is_some_and(|wish| wish != QUEUE_EVENTS) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "unsupported_query",
            "'queue' takes 'events' and nothing else.",
        );
    }
    if !state.is_ready() {
        return Err(Box::new(unavailable("The server is not ready for sessions.", RETRY_AFTER)));
    }
    authenticate_guest(headers, &state.config, &state.secrets)
}

fn refused(error: &OpenError) -> Response {
    tracing::info!(%error, "refused a session");
    match error {
        OpenError::ShuttingDown => unavailable(&error.to_string(), RETRY_AFTER),
        OpenError::Quota(error) => over_quota(error),
        OpenError::Build(error) => {
            api_error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", &error.to_string())
        }
    }
}

fn unavailable(message: &str, retry_after: Duration) -> Response {
    let mut response = api_error(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
    response.into_response()
}
