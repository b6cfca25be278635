//! What one session shows of itself: a few atomics, so that writing costs nothing and reading never waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::session::clock::ServerClock;
use crate::session::metered::QueueMeter;
use crate::session::quota::MemoryUse;
use crate::telemetry::clock::whole_ms;

/// Answers whose latency is remembered: the last few minutes of a conversation.
const LATENCY_WINDOW: usize = 64;

/// What one session shows of itself.
#[derive(Debug)]
pub struct SessionGauge {
    clock: ServerClock,
    opened: Duration,
    memory: [AtomicU64; 3],
    commands: QueueMeter,
    events: QueueMeter,
    engine_us: AtomicU64,
    turns: AtomicU64,
    errors: AtomicU64,
    heard_ms: AtomicU64,
    beat_ms: AtomicU64,
    latencies: Mutex<VecDeque<u32>>,
    /// Looks in a row that found it over its memory limit.
    pub(super) looks_over: AtomicU32,
    /// Whether it was told to end.
    pub(super) told_to_end: AtomicBool,
}

/// Latencies of the last answers, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half were faster.
    pub p50: u32,
    /// 19 of 20 were faster.
    pub p95: u32,
    /// 99 of 100 were faster.
    pub p99: u32,
    /// How many there are.
    pub samples: usize,
}

impl SessionGauge {
    /// The gauge of a session that opens now and has these queues.
    pub fn new(clock: ServerClock, commands: QueueMeter, events: QueueMeter) -> Self {
        let opened = clock.now();
        Self {
            clock,
            opened,
            memory: Default::default(),
            commands,
            events,
            engine_us: AtomicU64::default(),
            turns: AtomicU64::default(),
            errors: AtomicU64::default(),
            heard_ms: AtomicU64::new(whole_ms(opened)),
            beat_ms: AtomicU64::new(whole_ms(opened)),
            latencies: Mutex::default(),
            looks_over: AtomicU32::default(),
            told_to_end: AtomicBool::default(),
        }
    }

    /// The session's task runs.
    pub fn beat(&self, now: Instant) {
        self.beat_ms.store(whole_ms(self.clock.since_start(now)), Ordering::Relaxed);
    }

    /// The client shows life.
    pub fn heard(&self, now: Instant) {
        self.heard_ms.store(whole_ms(self.clock.since_start(now)), Ordering::Relaxed);
    }

    /// Says what the session holds, queues left aside: those are watched.
    pub fn set_memory(&self, memory: MemoryUse) {
        for (slot, bytes) in self.memory.iter().zip([memory.audio, memory.history, memory.settings]) {
            slot.store(bytes, Ordering::Relaxed);
        }
    }

    /// What the session holds.
    pub fn memory(&self) -> MemoryUse {
        let [audio, history, settings] = &self.memory;
        let read = |slot: &AtomicU64| slot.load(Ordering::Relaxed);
        let queues = self.commands.bytes() + self.events.bytes();
        MemoryUse { audio: read(audio), history: read(history), settings: read(settings), queues }
    }

    /// Adds to the engines' time.
    pub fn add_engine_time(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.engine_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Time that engines worked for it.
    pub fn engine_time(&self) -> Duration {
        Duration::from_micros(self.engine_us.load(Ordering::Relaxed))
    }

    /// A turn was committed.
    pub fn count_turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Goes on counting from here: turns of earlier connections of the session.
    pub fn set_turns(&self, turns: u64) {
        self.turns.store(turns, Ordering::Relaxed);
    }

    /// Committed turns.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// A request failed.
    pub fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Failed requests.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// An answer's first audio left this long after the turn's end.
    pub fn add_latency(&self, latency: Duration) {
        let mut window = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        if window.len() == LATENCY_WINDOW {
            window.pop_front();
        }
        window.push_back(u32::try_from(latency.as_millis()).unwrap_or(u32::MAX));
    }

    /// Latencies of the last answers; `None` before the first.
    pub fn latency(&self) -> Option<Percentiles> {
        let window = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        percentiles(window.iter().copied().collect())
    }

    /// When the session opened, since the server's start.
    pub fn opened(&self) -> Duration {
        self.opened
    }

    /// How long the task has done nothing.
    pub fn stillness(&self, now: Instant) -> Duration {
        self.age(&self.beat_ms, now)
    }

    /// How long the client has shown no life.
    pub fn silence(&self, now: Instant) -> Duration {
        self.age(&self.heard_ms, now)
    }

    /// Commands that wait.
    pub fn commands(&self) -> &QueueMeter {
        &self.commands
    }

    /// Events that wait.
    pub fn events(&self) -> &QueueMeter {
        &self.events
    }

    fn age(&self, since_ms: &AtomicU64, now: Instant) -> Duration {
        let since = Duration::from_millis(since_ms.load(Ordering::Relaxed));
        self.clock.since_start(now).saturating_sub(since)
    }
}

/// By nearest rank.
fn percentiles(mut values: Vec<u32>) -> Option<Percentiles> {
    values.sort_unstable();
    let rank = |percent: usize| values.get((values.len() * percent).div_ceil(100).checked_sub(1)?).copied();
    Some(Percentiles { p50: rank(50)?, p95: rank(95)?, p99: rank(99)?, samples: values.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        assert_eq!(percentiles(Vec::new()), None);
        assert_eq!(percentiles(vec![7]), Some(Percentiles { p50: 7, p95: 7, p99: 7, samples: 1 }));
        let hundred = percentiles((1..=100).rev().collect());
        assert_eq!(hundred, Some(Percentiles { p50: 50, p95: 95, p99: 99, samples: 100 }));
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_of_latencies_is_bounded() {
        let gauge = SessionGauge::new(ServerClock::start(), QueueMeter::default(), QueueMeter::default());
        for ms in 0..1_000 {
            gauge.add_latency(Duration::from_millis(ms));
        }
        let latency = gauge.latency().expect("there are some");
        assert_eq!((latency.samples, latency.p50), (LATENCY_WINDOW, 967));
    }
}
