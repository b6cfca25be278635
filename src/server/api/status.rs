//! `GET /api/status`: the server as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::engine::Device;
use crate::pool::endpoint::ShareStats;
use crate::pool::{Degradation, HolderId, PoolStats, Scheduler};
use crate::server::access::Viewer;
use crate::server::router::ServerState;
use crate::session::admission::AdmissionStats;
use crate::session::id::SessionId;
use crate::session::lifecycle::RequestTotals;
use crate::store::StoreStatus;
use crate::telemetry::gpus::GpuBoard;
use crate::telemetry::machine::GpuMemory;
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
    admission: AdmissionStats,
    requests: RequestTotals,
    /// What is done without at the moment.
    degradation: Degradation,
    compute: ComputeView,
    pools: Vec<PoolView>,
    /// What keeps sessions to be resumed; null where nothing does.
    store: Option<StoreStatus>,
    process: Usage,
}

#[derive(Debug, Serialize)]
struct PoolView {
    #[serde(flatten)]
    stats: PoolStats,
    /// Who shares the limits of its endpoints; absent where none has any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shares: Vec<ShareView>,
}

/// What one session may have of an endpoint's limits, and has used in the last minute.
#[derive(Debug, Serialize)]
struct ShareView {
    endpoint: Arc<str>,
    /// Null for one that this viewer may not see, and for requests without a session.
    session: Option<String>,
    #[serde(flatten)]
    share: ShareStats,
}

impl PoolView {
    fn new(stats: PoolStats, sessions: &BTreeMap<HolderId, SessionId>) -> Self {
        let endpoints = stats.instances.iter().filter_map(|i| Some((&i.name, i.endpoint.as_ref()?)));
        let shares = endpoints.flat_map(|(name, endpoint)| {
            endpoint.shares.iter().map(|share| ShareView {
                endpoint: Arc::clone(name),
                session: sessions.get(&share.holder).map(ToString::to_string),
                share: *share,
            })
        });
        let shares = shares.collect();
        Self { stats, shares }
    }
}

#[derive(Debug, Serialize)]
struct SessionCounts {
    open: usize,
    /// Accounted bytes of all of them.
    bytes: u64,
}

/// The CPU, and the GPUs, as engines share them.
#[derive(Debug, Serialize)]
struct ComputeView {
    /// Engine calls and steps that compute on the CPU now.
    in_use: usize,
    /// How many may.
    permits: usize,
    /// GPUs that engines compute on.
    gpus: Vec<GpuView>,
}

/// A GPU.
#[derive(Debug, Serialize)]
struct GpuView {
    device: Device,
    /// Engine calls and steps that compute on it now.
    in_use: usize,
    /// How many may.
    permits: usize,
    /// Its memory as it was a moment ago; null where NVIDIA's library does not tell.
    memory: Option<GpuMemory>,
}

impl ComputeView {
    fn of(scheduler: &Scheduler, board: &GpuBoard) -> Self {
        let (in_use, permits) = scheduler.device_load();
        let gpu = |(number, (in_use, permits))| GpuView {
            device: Device::Cuda(number),
            in_use,
            permits,
            memory: board.memory_of(number),
        };
        Self { in_use, permits, gpus: scheduler.gpu_loads().into_iter().map(gpu).collect() }
    }
}

/// What the server does now, and did since its start.
pub(super) async fn status(State(state): State<ServerState>, viewer: Viewer) -> Json<StatusView> {
    let clock = state.sessions.requests().clock();
    let sessions = state.sessions.holders(|owner| viewer.may_see(owner));
    let bytes = state.sessions.reports(|_| true).iter().map(|report| report.bytes).sum();
    Json(StatusView {
        version: env!("CARGO_PKG_VERSION"),
        ready: state.is_ready(),
        uptime_s: clock.now().as_secs(),
        started_at_ms: clock.unix_ms(std::time::Duration::ZERO),
        sessions: SessionCounts { open: state.sessions.len(), bytes },
        admission: state.admission.stats(),
        requests: state.sessions.requests().totals(),
        degradation: state.pools.degradation.get(),
        compute: ComputeView::of(&state.pools.scheduler, &state.gpus),
        pools: state.pools.stats().map(|stats| PoolView::new(stats, &sessions)).into(),
        store: state.sessions.store_status(),
        process: Usage::read(),
    })
}
