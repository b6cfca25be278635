//! A session as `/api` shows it.

use serde::Serialize;
use tokio::time::Instant;

use super::gauge::{Percentiles, SessionGauge};
use crate::session::clock::ServerClock;
use crate::session::id::SessionId;
use crate::session::quota::MemoryUse;
use crate::session::router::Owner;
use crate::telemetry::clock::whole_ms;

/// One open session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionReport {
    /// Its id.
    pub id: String,
    /// The API key's name; `null` on a server without keys.
    pub owner: Option<String>,
    /// When it was opened, in milliseconds since 1970.
    pub opened_at_ms: u64,
    /// How long it has been open, in seconds.
    pub age_s: f64,
    /// Accounted bytes, all together.
    pub bytes: u64,
    /// The same by what they are.
    pub memory: MemoryUse,
    /// Time that engines worked for it, in milliseconds.
    pub engine_ms: u64,
    /// What waits in its queues.
    pub queued: QueuedView,
    /// Time since the client's last sign of life, in seconds.
    pub silent_s: f64,
    /// Time since its task last ran, in seconds; the task ticks every 2.
    pub still_s: f64,
    /// Committed turns.
    pub turns: u64,
    /// Failed requests.
    pub errors: u64,
    /// End of the turn to first audio of the answer, last 64 answers; `null` before the first.
    pub latency_ms: Option<Percentiles>,
}

/// Entries that wait in a session's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QueuedView {
    /// From the client.
    pub commands: u64,
    /// To the client.
    pub events: u64,
}

impl SessionReport {
    pub(in crate::session) fn new(
        id: &SessionId,
        owner: &Owner,
        gauge: &SessionGauge,
        clock: ServerClock,
    ) -> Self {
        let now = Instant::now();
        let memory = gauge.memory();
        Self {
            id: id.to_string(),
            owner: owner.name().map(str::to_owned),
            opened_at_ms: clock.unix_ms(gauge.opened()),
            age_s: seconds(clock.since_start(now).saturating_sub(gauge.opened())),
            bytes: memory.total(),
            memory,
            engine_ms: whole_ms(gauge.engine_time()),
            queued: QueuedView { commands: gauge.commands().count(), events: gauge.events().count() },
            silent_s: seconds(gauge.silence(now)),
            still_s: seconds(gauge.stillness(now)),
            turns: gauge.turns(),
            errors: gauge.errors(),
            latency_ms: gauge.latency(),
        }
    }
}

fn seconds(duration: std::time::Duration) -> f64 {
    duration.as_millis() as f64 / 1_000.0
}
