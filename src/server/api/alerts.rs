//! `GET /api/alerts`: what an operator should look at now. Administrators alone: thresholds and load are theirs.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use tokio::time::Instant;

use crate::server::access::authenticate_admin;
use crate::server::router::ServerState;
use crate::session::clock::ServerClock;
use crate::telemetry::alerts::{AlertState, AlertView, Reading, TransitionView};

#[derive(Debug, Serialize)]
pub(super) struct AlertList {
    /// How many fire.
    firing: usize,
    alerts: Vec<AlertEntry>,
    /// The latest transitions, newest first.
    history: Vec<HistoryEntry>,
}

#[derive(Debug, Serialize)]
struct AlertEntry {
    #[serde(flatten)]
    about: About,
    /// `off`, `inactive`, `pending`, `firing`, `resolved`.
    state: StateName,
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    unit: &'static str,
    /// What to do; `null` where there is nothing to do.
    next_step: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct HistoryEntry {
    #[serde(flatten)]
    about: About,
    from: AlertState,
    to: AlertState,
    /// When, in milliseconds since 1970.
    at_ms: u64,
}

#[derive(Debug, Serialize)]
struct About {
    name: &'static str,
    /// The engine or pool; `null` where it is about the server.
    subject: Option<Arc<str>>,
    /// `null` where nothing is known of it.
    value: Option<f64>,
    threshold: f64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum StateName {
    On(AlertState),
    Off(&'static str),
}

/// All alerts, and what became of them lately.
pub(super) async fn list(
    State(state): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Json<AlertList>, Response> {
    authenticate_admin(&headers, peer, &state.config).map_err(|refusal| *refusal)?;
    let clock = state.sessions.requests().clock();
    let alerts = state.alerts.alerts();
    Ok(Json(AlertList {
        firing: alerts.iter().filter(|view| view.state == Some(AlertState::Firing)).count(),
        alerts: alerts.into_iter().map(|view| entry(view, clock)).collect(),
        history: state.alerts.history().into_iter().map(|view| past(view, clock)).collect(),
    }))
}

fn entry(view: AlertView, clock: ServerClock) -> AlertEntry {
    let kind = view.reading.kind;
    let is_wrong = matches!(view.state, Some(AlertState::Pending | AlertState::Firing));
    AlertEntry {
        state: view.state.map_or(StateName::Off("off"), StateName::On),
        since_ms: unix_ms(view.since, clock),
        unit: kind.unit(),
        next_step: is_wrong.then(|| kind.next_step()),
        about: about(view.reading),
    }
}

fn past(view: TransitionView, clock: ServerClock) -> HistoryEntry {
    let TransitionView { at, transition, reading } = view;
    HistoryEntry {
        from: transition.from,
        to: transition.to,
        at_ms: unix_ms(at, clock),
        about: about(reading),
    }
}

fn about(reading: Reading) -> About {
    let Reading { kind, subject, value, threshold } = reading;
    About { name: kind.as_str(), subject, value, threshold }
}

fn unix_ms(at: Instant, clock: ServerClock) -> u64 {
    clock.unix_ms(clock.since_start(at))
}
