//! `GET /api/requests`, `DELETE /api/requests/{id}`, `DELETE /api/requests`.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::not_found;
use crate::server::access::{Viewer, api_error};
use crate::server::router::ServerState;
use crate::session::id::RequestId;
use crate::session::lifecycle::RequestView;
use crate::session::{Action, SessionCommand};

/// Requests of one answer where the query does not say.
const DEFAULT_LIMIT: usize = 100;
/// How long a session may take to hear that a request is cancelled.
const HEARING: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    /// Only those that run.
    #[serde(default)]
    active: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct RequestList {
    requests: Vec<RequestView>,
}

#[derive(Debug, Serialize)]
pub(super) struct Cancelled {
    cancelled: Vec<String>,
}

/// The viewer's requests, newest first.
pub(super) async fn list(
    State(state): State<ServerState>,
    viewer: Viewer,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<RequestList>, Response> {
    let Query(query) =
        query.map_err(|error| api_error(StatusCode::BAD_REQUEST, "invalid_query", &error.body_text()))?;
    let mut requests = state.sessions.requests().views(|owner| viewer.may_see(owner));
    requests.retain(|view| !query.active || !view.status.is_last());
    requests.truncate(query.limit.unwrap_or(DEFAULT_LIMIT));
    Ok(Json(RequestList { requests }))
}

/// Cancels one that runs.
pub(super) async fn cancel(
    State(state): State<ServerState>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Json<Cancelled>, Response> {
    let known = state.sessions.requests().views(|owner| viewer.may_see(owner));
    let Some(view) = known.into_iter().find(|view| view.id == id) else {
        return Err(not_found("request", &id));
    };
    if stop(&state, &view).await {
        return Ok(Json(Cancelled { cancelled: vec![id] }));
    }
    let message = format!("Request '{id}' is over; there is nothing to cancel.");
    Err(api_error(StatusCode::CONFLICT, "request_not_active", &message))
}

/// Cancels all of the viewer's that run.
pub(super) async fn cancel_all(State(state): State<ServerState>, viewer: Viewer) -> Json<Cancelled> {
    let known = state.sessions.requests().views(|owner| viewer.may_see(owner));
    let mut cancelled = Vec::new();
    for view in known.into_iter().filter(|view| !view.status.is_last()) {
        if stop(&state, &view).await {
            cancelled.push(view.id);
        }
    }
    Json(Cancelled { cancelled })
}

/// Tells whoever works for the request; `false` if it is over.
async fn stop(state: &ServerState, view: &RequestView) -> bool {
    let id = RequestId::from(view.id.as_str());
    let Some((request, owner, session)) = state.sessions.requests().running(&id) else { return false };
    let Some(session) = session else {
        request.cancel();
        return true;
    };
    drop(request); // the session's own handle is the last
    let Ok(commands) = state.sessions.route(&session, &owner) else { return false };
    let command = SessionCommand { client_event_id: None, action: Action::CancelRequest(id) };
    matches!(timeout(HEARING, commands.send(command)).await, Ok(Ok(())))
}
