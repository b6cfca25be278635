//! `GET /v1/realtime`: checks the request, asks for admission, and ties a session to the socket, at once or when
//! its turn has come.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use yawc::IncomingUpgrade;

use super::access::{Guest, api_error, authenticate_guest, origin_allowed, over_quota, protocol_error};
use super::audio_frames::AudioTransport;
use super::client_secrets;
use super::router::ServerState;
use super::socket;
use super::waiting::{self, WaitOptions};
use super::websocket::{Socket, SocketOptions, Upgrade};
use crate::protocol::{ErrorCode, ProtocolError, SessionType, SessionUpdate};
use crate::session::Owner;
use crate::session::admission::{Entry, Waiting};
use crate::session::router::OpenError;
use crate::session::settings::SessionSettings;

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
    audio: Option<String>,
}

/// Opens a session on a WebSocket.
pub(super) async fn upgrade(
    State(state): State<ServerState>,
    Query(query): Query<RealtimeQuery>,
    headers: HeaderMap,
    incoming: Result<IncomingUpgrade, StatusCode>,
) -> Response {
    let Guest { owner, session } = match check(&state, &query, &headers) {
        Ok(guest) => guest,
        Err(refusal) => return *refusal,
    };
    let Ok(incoming) = incoming else {
        let message = "This is a WebSocket endpoint (version 13). Connect with ws:// or wss://.";
        return api_error(StatusCode::UPGRADE_REQUIRED, "websocket_required", message);
    };
    let settings = match session_settings(&state, &query, session.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return protocol_error(&error),
    };
    let upgrade = Upgrade::new(incoming, &headers, socket_options(&state, query.audio.as_deref()));
    let runtime = state.runtime.clone();
    match state.admission.enter() {
        Entry::Admitted(permit) => match state.sessions.open(&owner, settings, permit) {
            Ok(session) => upgrade.on_upgrade(&runtime, move |socket| socket::serve(socket, session, state)),
            Err(error) => refused(&error),
        },
        Entry::Queued(waiting) => {
            let newcomer = Newcomer { owner, settings, positions: query.queue.is_some() };
            upgrade.on_upgrade(&runtime, move |socket| queue(socket, waiting, newcomer, state))
        }
        Entry::Refused(refusal) => upgrade.on_upgrade(&runtime, move |mut socket| async move {
            waiting::refuse(&mut socket, refusal).await
        }),
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

fn socket_options(state: &ServerState, audio: Option<&str>) -> SocketOptions {
    let compresses = state.sessions.settings().features.compression;
    SocketOptions {
        max_frame_bytes: state.config.max_frame_bytes,
        compressors: compresses.then(|| state.compressors.clone()),
        transport: AudioTransport::of_query(audio).unwrap_or_default(),
    }
}

/// One who waits for a session.
struct Newcomer {
    owner: Owner,
    settings: SessionSettings,
    positions: bool,
}

/// Holds a client in line, then serves its session.
async fn queue(mut socket: Socket, waiting: Waiting, newcomer: Newcomer, state: ServerState) {
    let options = WaitOptions {
        positions: newcomer.positions,
        ping: Duration::from_secs(state.config.ping_interval_s),
        shutdown: state.runtime.shutdown_token().clone(),
    };
    let Some(permit) = waiting::wait(&mut socket, waiting, &options).await else { return };
    match state.sessions.open(&newcomer.owner, newcomer.settings, permit) {
        Ok(session) => socket::serve(socket, session, state).await,
        Err(error) => waiting::fail(&mut socket, &error).await,
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
    if AudioTransport::of_query(query.audio.as_deref()).is_none() {
        let message = "'audio' takes 'json' and 'binary' and nothing else.";
        return refuse(StatusCode::BAD_REQUEST, "unsupported_query", message);
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
