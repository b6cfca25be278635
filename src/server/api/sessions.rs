//! `GET /api/sessions` and `GET /api/sessions/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::not_found;
use crate::server::access::Viewer;
use crate::server::router::ServerState;
use crate::session::health::SessionReport;
use crate::session::lifecycle::RequestView;

#[derive(Debug, Serialize)]
pub(super) struct SessionList {
    sessions: Vec<SessionReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct SessionDetail {
    #[serde(flatten)]
    session: SessionReport,
    /// Those that run and those that are remembered, newest first.
    requests: Vec<RequestView>,
}

/// The viewer's open sessions, oldest first.
pub(super) async fn list(State(state): State<ServerState>, viewer: Viewer) -> Json<SessionList> {
    Json(SessionList { sessions: state.sessions.reports(|owner| viewer.may_see(owner)) })
}

/// One of them, with its requests.
pub(super) async fn one(
    State(state): State<ServerState>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Json<SessionDetail>, Response> {
    let sessions = state.sessions.reports(|owner| viewer.may_see(owner));
    let Some(session) = sessions.into_iter().find(|report| report.id == id) else {
        return Err(not_found("open session", &id));
    };
    let mut requests = state.sessions.requests().views(|owner| viewer.may_see(owner));
    requests.retain(|view| view.session.as_deref() == Some(id.as_str()));
    Ok(Json(SessionDetail { session, requests }))
}
