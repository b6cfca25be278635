//! What pools and their instances do now, for status and alerts. Figures alone.

use std::sync::Arc;

use serde::Serialize;

use super::breaker::BreakerState;
use super::endpoint::EndpointStats;
use crate::engine::{Device, EngineProcess};

/// What a pool does now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolStats {
    /// The pool's name.
    pub name: &'static str,
    /// Slots of the instances that serve.
    pub slots: usize,
    /// Slots in use.
    pub in_use: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// The longest wait of the last seconds, in milliseconds.
    pub queue_delay_ms: u64,
    /// Its instances.
    pub instances: Vec<InstanceStats>,
}

/// What an instance does now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceStats {
    /// Its name.
    pub name: Arc<str>,
    /// Calls at once.
    pub slots: usize,
    /// Calls now.
    pub in_use: usize,
    /// What a call takes, in milliseconds; absent before the first.
    pub service_time_ms: Option<u64>,
    /// Where it computes; absent for one behind a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Whether it is given calls.
    pub breaker: BreakerState,
    /// It serves only where the others have failed.
    pub fallback: bool,
    /// It ends its calls and goes.
    pub draining: bool,
    /// How often it was built anew.
    pub restarts: u32,
    /// The process that it runs in; absent for one in the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<EngineProcess>,
    /// Calls that succeeded, and calls that failed.
    pub calls: CallCounts,
    /// How its endpoint is called; absent for an engine of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointStats>,
}

/// Calls of an instance since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallCounts {
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
}
