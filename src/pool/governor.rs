//! What the server does without when it is pressed, step by step, before it turns people away. Pure: it is told the
//! time and the pressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What is done without. Each step includes those before it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Degradation {
    /// Nothing.
    #[default]
    None,
    /// Partial transcripts come less often.
    FewerPartials,
    /// Answers are not spoken ahead of the turn's end, only thought of.
    NoSpeechAhead,
    /// No partial transcripts.
    NoPartials,
    /// Answers are kept short.
    ShorterReplies,
    /// New sessions wait.
    Queue,
}

impl Degradation {
    /// All steps, in order.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::FewerPartials,
        Self::NoSpeechAhead,
        Self::NoPartials,
        Self::ShorterReplies,
        Self::Queue,
    ];

    /// Its place, 0 for none.
    pub fn level(self) -> u8 {
        self as u8
    }

    fn at(level: u8) -> Self {
        Self::ALL.get(usize::from(level)).copied().unwrap_or(Self::Queue)
    }
}

/// When steps are taken.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct GovernorConfig {
    /// The wait for an engine that counts as full pressure, in milliseconds. 100: a fifth of the half second in
    /// which an answer should begin.
    pub queue_delay_ms: u64,
    /// How long full pressure lasts before the next step is taken, in milliseconds.
    pub raise_after_ms: u64,
    /// How long pressure stays low before a step is taken back, in milliseconds.
    pub lower_after_ms: u64,
}

impl Default for GovernorConfig {
    /// Up within a few turns, down slowly, so that it does not swing.
    fn default() -> Self {
        Self { queue_delay_ms: 100, raise_after_ms: 2_000, lower_after_ms: 10_000 }
    }
}

/// Pressure at which steps are taken; 1 is where the targets are missed.
const HIGH: f64 = 1.0;
/// Pressure below which they are taken back.
const LOW: f64 = 0.6;

/// Decides which step is in force.
#[derive(Clone, Copy, Debug, Default)]
pub struct Governor {
    step: Degradation,
    since: Option<(Trend, Instant)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trend {
    Up,
    Down,
}

impl Governor {
    /// Looks at the pressure and says which step is in force from now on.
    pub fn observe(&mut self, pressure: f64, config: &GovernorConfig, now: Instant) -> Degradation {
        let trend = if pressure >= HIGH && self.step < Degradation::Queue {
            Trend::Up
        } else if pressure < LOW && self.step > Degradation::None {
            Trend::Down
        } else {
            self.since = None;
            return self.step;
        };
        let since = self.since.filter(|(before, _)| *before == trend).map_or(now, |(_, since)| since);
        self.since = Some((trend, since));
        let (pause, level) = match trend {
            Trend::Up => (config.raise_after_ms, self.step.level() + 1),
            Trend::Down => (config.lower_after_ms, self.step.level().saturating_sub(1)),
        };
        if now.saturating_duration_since(since) >= Duration::from_millis(pause) {
            (self.step, self.since) = (Degradation::at(level), Some((trend, now)));
        }
        self.step
    }

    /// Takes all steps back, for a server that is not to degrade.
    pub fn rest(&mut self) -> Degradation {
        *self = Self::default();
        self.step
    }
}

/// The step in force, where everybody can read it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct DegradationSignal(Arc<AtomicU8>);

impl DegradationSignal {
    /// The step in force.
    pub fn get(&self) -> Degradation {
        Degradation::at(self.0.load(Ordering::Acquire))
    }

    /// Puts a step in force; what was before.
    pub fn set(&self, step: Degradation) -> Degradation {
        Degradation::at(self.0.swap(step.level(), Ordering::AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The level after each second under these pressures.
    fn levels(pressures: impl IntoIterator<Item = f64>) -> Vec<u8> {
        let (mut governor, start) = (Governor::default(), Instant::now());
        let config =
            GovernorConfig { raise_after_ms: 2_000, lower_after_ms: 5_000, ..GovernorConfig::default() };
        let look = |(second, pressure): (usize, f64)| {
            governor.observe(pressure, &config, start + Duration::from_secs(second as u64)).level()
        };
        pressures.into_iter().enumerate().map(look).collect()
    }

    #[test]
    fn steps_up_one_by_one_while_pressure_lasts() {
        assert_eq!(levels([2.0; 13]), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]);
    }

    #[test]
    fn a_moment_of_pressure_changes_nothing() {
        assert_eq!(levels([2.0, 2.0, 0.8, 2.0, 2.0, 0.1, 2.0]), [0; 7]);
    }

    #[test]
    fn steps_down_slowly_and_not_in_between() {
        let up = [2.0; 5];
        let between = [0.8; 20];
        let down = [0.1; 12];
        let seen = levels(up.into_iter().chain(between).chain(down));
        assert_eq!(seen[4..25], [2; 21], "in between, the step stays");
        assert_eq!(seen[25..], [2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn the_signal_is_shared() {
        let signal = DegradationSignal::default();
        let reader = signal.clone();
        for step in Degradation::ALL {
            signal.set(step);
            assert_eq!(reader.get(), step);
        }
    }
}
