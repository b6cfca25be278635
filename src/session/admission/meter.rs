//! How long people wait for the first audio of their answers, measured on the latest turns.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Turns that are looked at.
const WINDOW: usize = 128;
/// Age at which a turn says nothing any more of how busy the server is.
const WINDOW_AGE: Duration = Duration::from_secs(30);
/// Fewer turns than this say nothing: one slow answer would close the door.
const FEWEST_TURNS: usize = 8;

/// The latest latencies. Pure: `now` is given, and never goes back.
#[derive(Clone, Debug, Default)]
pub struct LatencyWindow {
    turns: VecDeque<(Instant, Duration)>,
}

impl LatencyWindow {
    /// Adds one.
    pub fn record(&mut self, now: Instant, latency: Duration) {
        if self.turns.len() >= WINDOW {
            self.turns.pop_front();
        }
        self.turns.push_back((now, latency));
    }

    /// The 95th percentile of the latest turns; `None` where they are too few to tell.
    pub fn p95(&mut self, now: Instant) -> Option<Duration> {
        while self.turns.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW_AGE) {
            self.turns.pop_front();
        }
        if self.turns.len() < FEWEST_TURNS {
            return None;
        }
        let mut latencies: Vec<Duration> = self.turns.iter().map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        latencies.get((latencies.len() * 95).div_ceil(100) - 1).copied()
    }
}

/// Where all sessions record their latencies. It holds figures alone, nothing of a session. Clones are handles
/// to the same.
#[derive(Clone, Debug, Default)]
pub struct FirstAudioMeter(Arc<Mutex<LatencyWindow>>);

impl FirstAudioMeter {
    /// Takes the time from the end of a turn to the first audio of its answer.
    pub fn record(&self, latency: Duration) {
        self.lock().record(Instant::now(), latency);
    }

    /// See [`LatencyWindow::p95`].
    pub fn p95(&self, now: Instant) -> Option<Duration> {
        self.lock().p95(now)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LatencyWindow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn few_turns_say_nothing_and_old_ones_are_forgotten() {
        let (start, mut window) = (Instant::now(), LatencyWindow::default());
        for _ in 0..7 {
            window.record(start, ms(900));
        }
        assert_eq!(window.p95(start), None);
        window.record(start + ms(10_000), ms(900));
        assert_eq!(window.p95(start + ms(30_000)), Some(ms(900)));
        assert_eq!(window.p95(start + ms(30_001)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_the_95th_of_100_and_the_window_is_bounded() {
        let (start, mut window) = (Instant::now(), LatencyWindow::default());
        for latency in (1..=100).rev() {
            window.record(start, ms(latency));
        }
        assert_eq!(window.p95(start), Some(ms(95)));
        for _ in 0..1_000 {
            window.record(start, ms(5));
        }
        assert_eq!((window.p95(start), window.turns.len()), (Some(ms(5)), WINDOW));
    }
}
