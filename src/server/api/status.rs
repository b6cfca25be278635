//! `GET /api/status`: the server as a whole.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::pool::PoolStats;
use crate::server::access::Viewer;
use crate::server::router::ServerState;
use crate::session::lifecycle::RequestTotals;
use crate::telemetry::process::Usage;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    version: &'static str,
    ready: bool,
    uptime_s: u64,
    /// When the server started, in milliseconds since 1970.
    started_at_ms: u64,
    sessions: SessionCounts,
    requests: RequestTotals,
    pools: [PoolStats; 3],
    process: Usage,
}

#[derive(Debug, Serialize)]
struct SessionCounts {
    open: usize,
    limit: usize,
    /// Accounted bytes of all of them.
    bytes: u64,
}

/// What the server does now, and did since its start.
pub(super) async fn status(State(state): State<ServerState>, _viewer: Viewer) -> Json<StatusView> {
    let clock = state.sessions.requests().clock();
    let bytes = state.sessions.reports(|_| true).iter().map(|report| report.bytes).sum();
    Json(StatusView {
        version: env!("CARGO_PKG_VERSION"),
        ready: state.is_ready(),
        uptime_s: clock.now().as_secs(),
        started_at_ms: clock.unix_ms(std::time::Duration::ZERO),
        sessions: SessionCounts { open: state.sessions.len(), limit: state.config.max_sessions, bytes },
        requests: state.sessions.requests().totals(),
        pools: state.pools.stats(),
        process: Usage::read(),
    })
}
