//! The rules: what is measured against which threshold. Pure: it is told the time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::AlertsConfig;
use crate::telemetry::gpus::GpuFigures;

/// Fewer calls than this say nothing of an engine's error rate.
const FEWEST_CALLS: u64 = 3;
/// Observations that are kept; the longest window has one a second.
const OBSERVATIONS_CAPACITY: usize = 640;

/// What an alert is about. One rule each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Answers begin late.
    ResponseLatency,
    /// An engine's calls fail.
    EngineErrors,
    /// No engine of a pool is healthy.
    PoolDown,
    /// Many wait for a place.
    QueueLength,
    /// Many are told to come back later.
    Refusals,
    /// Memory nears the budget.
    Memory,
    /// A GPU's memory is nearly full.
    GpuMemory,
    /// Sessions were ended because they were unhealthy.
    UnhealthySessions,
    /// The server does without much.
    Degradation,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::ResponseLatency,
        Self::EngineErrors,
        Self::PoolDown,
        Self::QueueLength,
        Self::Refusals,
        Self::Memory,
        Self::GpuMemory,
        Self::UnhealthySessions,
        Self::Degradation,
    ];

    /// Its name in answers, logs and the label `alert`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResponseLatency => "response_latency",
            Self::EngineErrors => "engine_errors",
            Self::PoolDown => "pool_down",
            Self::QueueLength => "queue_length",
            Self::Refusals => "refusals",
            Self::Memory => "memory",
            Self::GpuMemory => "gpu_memory",
            Self::UnhealthySessions => "unhealthy_sessions",
            Self::Degradation => "degradation",
        }
    }

    /// What its value counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ResponseLatency => "ms, 95th percentile",
            Self::EngineErrors => "part of the calls",
            Self::PoolDown => "s",
            Self::QueueLength => "clients",
            Self::Refusals => "clients a minute",
            Self::Memory => "part of the budget",
            Self::GpuMemory => "part of what it has",
            Self::UnhealthySessions => "sessions a minute",
            Self::Degradation => "step",
        }
    }

    /// What its reader does next.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::ResponseLatency => {
                "See which stage waits (/api/status: pools, queue_delay_ms). Lower server.max_sessions, or give \
                 the slow pool more: slots, instances, cores, a smaller model."
            }
            Self::EngineErrors => {
                "The log names the engine's error. Check its model file, its memory and, if it is remote, its \
                 address; with a second engine in the list, others take its calls."
            }
            Self::PoolDown => {
                "Sessions hear errors now. The log says why its engines failed; they are probed and built anew by \
                 themselves. If that does not help, restart the server, or add an engine with fallback = true."
            }
            Self::QueueLength => {
                "More people come than there are places. Raise server.max_sessions if /api/status shows headroom, \
                 else add cores or a machine (antiphon plan)."
            }
            Self::Refusals => {
                "The line is full or too slow. Raise server.admission.max_queue or max_wait_s if people may wait \
                 longer, or add capacity (antiphon plan)."
            }
            Self::Memory => {
                "See /api/sessions for what sessions hold and /api/status for pools that grew. Lower \
                 server.max_sessions or engines' slots, or raise memory.ram_mib if the machine has more."
            }
            Self::GpuMemory => {
                "When it is full, calls fail. nvidia-smi shows which programs hold it. Lower slots or max_context of \
                 the engines on that GPU, or move one to the CPU; docs/operations.md, GPUs, has the order."
            }
            Self::UnhealthySessions => {
                "antiphon_sessions_unhealthy_total tells the reason: silent clients are networks or clients, stuck \
                 or leaking ones are a fault of the server; the log names the sessions."
            }
            Self::Degradation => {
                "Engines keep people waiting, so that answers are cut short and new sessions may be held back. \
                 Lower server.max_sessions or give engines more: slots, instances, cores."
            }
        }
    }

    /// Whether people notice for certain that something does not work.
    pub fn is_grave(self) -> bool {
        matches!(self, Self::PoolDown)
    }

    /// Whether it waits for `alerts.for_s`; one whose value is a duration waits in its threshold.
    pub fn waits(self) -> bool {
        !matches!(self, Self::PoolDown)
    }

    fn threshold(self, config: &AlertsConfig) -> f64 {
        match self {
            Self::ResponseLatency => config.response_latency_ms,
            Self::EngineErrors => config.engine_error_rate,
            Self::PoolDown => config.pool_down_s,
            Self::QueueLength => config.queue_length,
            Self::Refusals => config.refusals_per_minute,
            Self::Memory => config.memory_share,
            Self::GpuMemory => config.gpu_memory_share,
            Self::UnhealthySessions => config.unhealthy_sessions_per_minute,
            Self::Degradation => config.degradation_step,
        }
    }
}

/// What the server measures at one time. Counts are since its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// 95th percentile of the latest turns' time to first audio; `None` where they are too few.
    pub response_p95: Option<Duration>,
    /// Calls of each engine.
    pub engines: Vec<EngineCalls>,
    /// Each pool.
    pub pools: Vec<PoolHealth>,
    /// Clients that wait for a place.
    pub queued: usize,
    /// Clients that were told to come back later.
    pub refused: u64,
    /// Resident memory and the budget, in bytes, where both are known.
    pub memory: Option<(u64, u64)>,
    /// GPUs that engines compute on, where their driver tells.
    pub gpus: GpuFigures,
    /// Sessions that were ended because they were unhealthy.
    pub unhealthy_sessions: u64,
    /// What the server does without.
    pub degradation_step: u8,
}

/// Calls of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineCalls {
    /// Its name.
    pub engine: Arc<str>,
    /// Calls that succeeded.
    pub succeeded: u64,
    /// Calls that failed.
    pub failed: u64,
}

/// One pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolHealth {
    /// Its name.
    pub pool: &'static str,
    /// Whether any of its engines is given calls.
    pub serves: bool,
}

/// A value and its threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What it is about.
    pub kind: AlertKind,
    /// The engine or pool; `None` where it is about the server.
    pub subject: Option<Arc<str>>,
    /// The value; `None` where it is not known.
    pub value: Option<f64>,
    /// From here on it holds; 0 never.
    pub threshold: f64,
}

impl Reading {
    /// Whether it is looked at.
    pub fn is_on(&self) -> bool {
        self.threshold > 0.0
    }

    /// Whether the threshold is reached.
    pub fn holds(&self) -> bool {
        self.is_on() && self.value.is_some_and(|value| value >= self.threshold)
    }
}

/// The latest observations.
#[derive(Debug, Default)]
pub(super) struct Observations {
    kept: VecDeque<(Instant, Observation)>,
    /// Since when each pool does not serve.
    down_since: Vec<(&'static str, Instant)>,
}

impl Observations {
    /// Adds one; gives what is read of all.
    pub(super) fn add(
        &mut self,
        observation: Observation,
        config: &AlertsConfig,
        now: Instant,
    ) -> Vec<Reading> {
        self.follow_pools(&observation, now);
        self.kept.push_back((now, observation));
        let window = Duration::from_secs(config.window_s.max(1));
        // The one that the window begins with stays.
        while self.kept.len() > OBSERVATIONS_CAPACITY
            || self.kept.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= window)
        {
            self.kept.pop_front();
        }
        self.read(config, now)
    }

    fn follow_pools(&mut self, observation: &Observation, now: Instant) {
        for PoolHealth { pool, serves } in &observation.pools {
            let known = self.down_since.iter().position(|(name, _)| name == pool);
            match (serves, known) {
                (true, Some(at)) => drop(self.down_since.swap_remove(at)),
                (false, None) => self.down_since.push((pool, now)),
                _ => {}
            }
        }
    }

    fn read(&self, config: &AlertsConfig, now: Instant) -> Vec<Reading> {
        let (Some((began, first)), Some((_, last))) = (self.kept.front(), self.kept.back()) else {
            return Vec::new();
        };
        // A window that is not full yet counts as full, so that a first event is no flood.
        let window = Duration::from_secs(config.window_s.max(1)).max(now.saturating_duration_since(*began));
        let a_minute = |count: u64| count as f64 * 60.0 / window.as_secs_f64();
        let whole = |kind: AlertKind, value: Option<f64>| Reading {
            kind,
            subject: None,
            value,
            threshold: kind.threshold(config),
        };
        let about = |kind, subject: Arc<str>, value| Reading { subject: Some(subject), ..whole(kind, value) };
        let p95 = last.response_p95.map(|p95| p95.as_secs_f64() * 1_000.0);
        let mut readings = vec![
            whole(AlertKind::ResponseLatency, p95),
            whole(AlertKind::QueueLength, Some(last.queued as f64)),
            whole(AlertKind::Refusals, Some(a_minute(since(first.refused, last.refused)))),
            whole(AlertKind::Memory, last.memory.map(|(used, budget)| used as f64 / budget.max(1) as f64)),
            whole(
                AlertKind::UnhealthySessions,
                Some(a_minute(since(first.unhealthy_sessions, last.unhealthy_sessions))),
            ),
            whole(AlertKind::Degradation, Some(f64::from(last.degradation_step))),
        ];
        readings.extend(last.engines.iter().map(|calls| {
            about(AlertKind::EngineErrors, Arc::clone(&calls.engine), error_rate(first, calls))
        }));
        readings.extend(last.gpus.iter().map(|(number, memory)| {
            let share = memory.used_bytes as f64 / memory.total_bytes.max(1) as f64;
            about(AlertKind::GpuMemory, format!("cuda:{number}").into(), Some(share))
        }));
        readings.extend(last.pools.iter().map(|pool| {
            let down = self.down_since.iter().find(|(name, _)| *name == pool.pool);
            let seconds = down.map_or(0.0, |(_, since)| now.saturating_duration_since(*since).as_secs_f64());
            about(AlertKind::PoolDown, pool.pool.into(), Some(seconds))
        }));
        readings
    }
}

/// Part of the calls since `first` that failed; `None` where they are too few to tell.
fn error_rate(first: &Observation, calls: &EngineCalls) -> Option<f64> {
    let before = first.engines.iter().find(|before| before.engine == calls.engine);
    let (succeeded, failed) = before.map_or((0, 0), |before| (before.succeeded, before.failed));
    let (succeeded, failed) = (since(succeeded, calls.succeeded), since(failed, calls.failed));
    let all = succeeded + failed;
    (all >= FEWEST_CALLS).then(|| failed as f64 / all as f64)
}

/// How much a count grew; one that is smaller than before began anew.
fn since(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

#[cfg(test)]
mod tests;
