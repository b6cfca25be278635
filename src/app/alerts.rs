//! The task that brings what the server measures to its alerts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::pool::{InstanceStats, PoolStats, ResourcePoolManager};
use crate::session::AdmissionGate;
use crate::session::health::SessionHealth;
use crate::telemetry::AlertBoard;
use crate::telemetry::alerts::{EngineCalls, Observation, PoolHealth};
use crate::telemetry::gpus::GpuBoard;
use crate::telemetry::machine;

/// How often alerts are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) pools: ResourcePoolManager,
    pub(super) admission: AdmissionGate,
    pub(super) health: SessionHealth,
    /// What the server may take, in bytes; `None` where nothing is known of it.
    pub(super) ram_budget: Option<u64>,
    pub(super) gpus: GpuBoard,
}

/// Looks until shutdown.
pub(super) async fn watch(board: AlertBoard, measured: Measured, shutdown: CancellationToken) {
    let mut every = interval(EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = every.tick() => {}
        }
        let now = Instant::now();
        board.observe(measured.observe(now), now);
    }
}

impl Measured {
    fn observe(&self, now: Instant) -> Observation {
        let (pools, admission) = (self.pools.stats(), self.admission.stats());
        let resident = self.ram_budget.and_then(|budget| Some((machine::resident_bytes()?, budget)));
        Observation {
            response_p95: self.admission.first_audio().p95(now),
            engines: pools.iter().flat_map(|pool| &pool.instances).map(calls).collect(),
            pools: pools.iter().map(health).collect(),
            queued: admission.queued,
            refused: admission.refused,
            memory: resident,
            gpus: self.gpus.figures(),
            unhealthy_sessions: self.health.ended(),
            degradation_step: self.pools.degradation.get().level(),
        }
    }
}

fn calls(instance: &InstanceStats) -> EngineCalls {
    let engine = Arc::clone(&instance.name);
    EngineCalls { engine, succeeded: instance.calls.succeeded, failed: instance.calls.failed }
}

fn health(pool: &PoolStats) -> PoolHealth {
    PoolHealth { pool: pool.name, serves: pool.slots > 0 }
}
