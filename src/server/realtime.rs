//! `GET /v1/realtime`: checks the request, asks for admission, and ties a session to the socket, at once or when
//! its turn has come.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use yawc::IncomingUpgrade;

use super::access::{Guest, Viewer, api_error, authenticate_guest, origin_allowed, over_quota};
use super::audio_frames::AudioTransport;
use super::opening::Opening;
use super::router::ServerState;
use super::sideband;
use super::socket;
use super::waiting::{self, WaitOptions};
use super::websocket::{Socket, SocketOptions, Upgrade};
use crate::session::admission::{Entry, Waiting};
use crate::session::router::OpenError;

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
    pub(super) model: Option<String>,
    pub(super) intent: Option<String>,
    call_id: Option<String>,
    queue: Option<String>,
    audio: Option<String>,
    pub(super) resume: Option<String>,
}

/// Opens a session on a WebSocket.
pub(super) async fn upgrade(
    State(state): State<ServerState>,
    Query(query): Query<RealtimeQuery>,
    viewer: Result<Viewer, Response>,
    headers: HeaderMap,
    incoming: Result<IncomingUpgrade, StatusCode>,
) -> Response {
    let guest = match check(&state, &query, &headers) {
        Ok(guest) => guest,
        Err(refusal) => return *refusal,
    };
    let Ok(incoming) = incoming else {
        let message = "This is a WebSocket endpoint (version 13). Connect with ws:// or wss://.";
        return api_error(StatusCode::UPGRADE_REQUIRED, "websocket_required", message);
    };
    if let Some(id) = &query.call_id {
        let attached = match viewer {
            Ok(viewer) => sideband::attach(&state, &viewer, id).await.map_err(|refusal| *refusal),
            Err(refusal) => Err(refusal),
        };
        let upgrade = Upgrade::new(incoming, &headers, socket_options(&state, None));
        let runtime = state.runtime.clone();
        return match attached {
            Ok(sideband) => {
                upgrade.on_upgrade(&runtime, move |socket| sideband::serve(socket, sideband, state))
            }
            Err(refusal) => refusal,
        };
    }
    let opening = match Opening::of(&state, guest, &query).await {
        Ok(opening) => opening,
        Err(refusal) => return *refusal,
    };
    let upgrade = Upgrade::new(incoming, &headers, socket_options(&state, query.audio.as_deref()));
    let runtime = state.runtime.clone();
    match state.admission.enter() {
        Entry::Admitted(permit) => match opening.open(&state.sessions, permit).await {
            Ok(session) => upgrade.on_upgrade(&runtime, move |socket| socket::serve(socket, session, state)),
            Err(error) => refused(&error),
        },
        Entry::Queued(waiting) => {
            let newcomer = Newcomer { opening, positions: query.queue.is_some() };
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
    opening: Opening,
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
    match newcomer.opening.open(&state.sessions, permit).await {
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

pub(super) fn refused(error: &OpenError) -> Response {
    tracing::info!(%error, "refused a session");
    match error {
        OpenError::ShuttingDown => unavailable(&error.to_string(), RETRY_AFTER),
        OpenError::Quota(error) => over_quota(error),
        OpenError::NothingToResume => {
            api_error(StatusCode::NOT_FOUND, "session_not_found", &error.to_string())
        }
        OpenError::Store => unavailable(&error.to_string(), RETRY_AFTER),
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
