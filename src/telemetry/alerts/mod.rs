//! Alerts: what an operator should look at now, by a few rules over what the server measures.
//!
//! `rules` says what holds and `state` when that counts; both are pure and told the time. [`AlertBoard`] is
//! the shell around them: it logs, counts and remembers. Nothing here knows pools or sessions: `app` brings an
//! [`Observation`] every second, and `server` shows the board. Read [`AlertsConfig`] first.

mod board;
mod rules;
mod state;

pub use board::{AlertBoard, AlertView, HISTORY_CAPACITY, TransitionView};
pub use rules::{AlertKind, EngineCalls, Observation, PoolHealth, Reading};
pub use state::{Alert, AlertState, Delays, Transition};

use serde::{Deserialize, Serialize};

/// When alerts fire. A threshold of 0 switches its alert off.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct AlertsConfig {
    /// How long something has to last before its alert fires, in seconds. 30: shorter troubles pass by themselves.
    pub for_s: u64,
    /// How long it has to be over before its alert is resolved, in seconds. 60: what comes and goes is one alert.
    pub resolve_s: u64,
    /// The time over which rates are counted, in seconds. 60.
    pub window_s: u64,
    /// 95th percentile of the time from the end of a turn to the first audio of its answer, in milliseconds.
    /// 1,000: the default of `server.admission.first_audio_target_ms`, where a pause begins to feel like trouble.
    pub response_latency_ms: f64,
    /// Part of an engine's calls that fail. 0.1: one failure is retried elsewhere, one in ten is heard.
    pub engine_error_rate: f64,
    /// How long a pool may be without a healthy engine, in seconds. 5: longer than one probe that helps; fires
    /// at once.
    pub pool_down_s: f64,
    /// Clients that wait for a place. 20: a fifth of `server.admission.max_queue`.
    pub queue_length: f64,
    /// Clients a minute that are told to come back later. 10.
    pub refusals_per_minute: f64,
    /// Resident memory as a part of the budget (`memory.ram_mib`). 0.9.
    pub memory_share: f64,
    /// Memory of a GPU that all programs hold, as a part of what it has. 0.95: engines are held to nine tenths.
    pub gpu_memory_share: f64,
    /// Sessions a minute that are ended because they were unhealthy. 3: one may be a client's doing.
    pub unhealthy_sessions_per_minute: f64,
    /// What the server does without (`antiphon_degradation_step`). 4: long answers, the last step before new
    /// sessions are held back.
    pub degradation_step: f64,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            for_s: 30,
            resolve_s: 60,
            window_s: 60,
            response_latency_ms: 1_000.0,
            engine_error_rate: 0.1,
            pool_down_s: 5.0,
            queue_length: 20.0,
            refusals_per_minute: 10.0,
            memory_share: 0.9,
            gpu_memory_share: 0.95,
            unhealthy_sessions_per_minute: 3.0,
            degradation_step: 4.0,
        }
    }
}
