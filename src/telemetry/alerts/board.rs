//! `AlertBoard`: all alerts of a server, what became of them lately, and who is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::AlertsConfig;
use super::rules::{AlertKind, Observation, Observations, Reading};
use super::state::{Alert, AlertState, Delays, Transition};
use crate::telemetry::metrics as names;

/// Transitions that are remembered.
pub const HISTORY_CAPACITY: usize = 100;

/// The alerts of a server. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct AlertBoard(Arc<Mutex<Board>>);

/// An alert as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertView {
    /// Where it is; `None` while it is switched off.
    pub state: Option<AlertState>,
    /// Since when.
    pub since: Instant,
    /// What was measured last, against which threshold.
    pub reading: Reading,
}

/// A transition that took place.
#[derive(Clone, Debug, PartialEq)]
pub struct TransitionView {
    /// When.
    pub at: Instant,
    /// From where to where.
    pub transition: Transition,
    /// What was measured then.
    pub reading: Reading,
}

/// What an alert is about: the kind, and the engine or pool.
type Key = (AlertKind, Option<Arc<str>>);

#[derive(Debug, Default)]
struct Board {
    config: AlertsConfig,
    observations: Observations,
    alerts: BTreeMap<Key, (Alert, Reading)>,
    history: VecDeque<TransitionView>,
}

impl AlertBoard {
    /// A board with nothing on it.
    pub fn new(config: AlertsConfig) -> Self {
        let board = Self::default();
        board.reconfigure(config);
        board
    }

    /// Other thresholds from the next observation on.
    pub fn reconfigure(&self, config: AlertsConfig) {
        self.lock().config = config;
    }

    /// Takes in what is measured now: states change, transitions are logged and counted.
    pub fn observe(&self, observation: Observation, now: Instant) {
        let transitions = self.lock().observe(observation, now);
        for TransitionView { transition, reading, .. } in &transitions {
            tell(*transition, reading);
        }
        let board = self.lock();
        for kind in AlertKind::ALL {
            let firing = board
                .alerts
                .iter()
                .filter(|((of, _), (alert, _))| *of == kind && alert.state() == AlertState::Firing);
            metrics::gauge!(names::ALERTS_FIRING, "alert" => kind.as_str()).set(firing.count() as f64);
        }
    }

    /// All alerts, by name and what they are about.
    pub fn alerts(&self) -> Vec<AlertView> {
        let view = |(alert, reading): &(Alert, Reading)| AlertView {
            state: reading.is_on().then(|| alert.state()),
            since: alert.since(),
            reading: reading.clone(),
        };
        self.lock().alerts.values().map(view).collect()
    }

    /// The latest transitions, newest first.
    pub fn history(&self) -> Vec<TransitionView> {
        self.lock().history.iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn observe(&mut self, observation: Observation, now: Instant) -> Vec<TransitionView> {
        let readings = self.observations.add(observation, &self.config, now);
        let keys: Vec<_> = readings.iter().map(|reading| (reading.kind, reading.subject.clone())).collect();
        let mut seen: Vec<Reading> = readings;
        // What is gone holds no more; it is forgotten when its alert is over.
        for (key, (alert, reading)) in &self.alerts {
            if !keys.contains(key) && alert.state() == AlertState::Firing {
                seen.push(Reading { value: None, ..reading.clone() });
            }
        }
        let alerts = std::mem::take(&mut self.alerts);
        let mut transitions = Vec::new();
        for reading in seen {
            let key = (reading.kind, reading.subject.clone());
            let mut alert = alerts.get(&key).map_or_else(|| Alert::new(now), |(alert, _)| *alert);
            if let Some(transition) = alert.observe(reading.holds(), self.delays(reading.kind), now) {
                transitions.push(TransitionView { at: now, transition, reading: reading.clone() });
            }
            self.alerts.insert(key, (alert, reading));
        }
        self.history.extend(transitions.iter().cloned());
        let excess = self.history.len().saturating_sub(HISTORY_CAPACITY);
        self.history.drain(..excess);
        transitions
    }

    fn delays(&self, kind: AlertKind) -> Delays {
        let fire = if kind.waits() { self.config.for_s } else { 0 };
        Delays { fire: Duration::from_secs(fire), resolve: Duration::from_secs(self.config.resolve_s) }
    }
}

fn tell(transition: Transition, reading: &Reading) {
    let Reading { kind, subject, value, threshold } = reading;
    let (alert, of) = (kind.as_str(), subject.as_deref().unwrap_or("server"));
    let (unit, next_step) = (kind.unit(), kind.next_step());
    match transition.to {
        AlertState::Firing if kind.is_grave() => {
            tracing::error!(alert, of, ?value, threshold, unit, next_step, "an alert fires");
        }
        AlertState::Firing => {
            tracing::warn!(alert, of, ?value, threshold, unit, next_step, "an alert fires");
        }
        AlertState::Resolved => tracing::warn!(alert, of, ?value, threshold, unit, "an alert is resolved"),
        AlertState::Pending | AlertState::Inactive => {
            tracing::debug!(alert, of, ?value, threshold, unit, state = ?transition.to, "an alert changes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::EngineCalls;
    use super::*;

    fn queued(queued: usize) -> Observation {
        Observation { queued, ..Observation::default() }
    }

    fn state(board: &AlertBoard, kind: AlertKind) -> Option<AlertState> {
        board.alerts().into_iter().find(|view| view.reading.kind == kind).expect("each kind").state
    }

    #[test]
    fn alerts_fire_resolve_and_are_remembered() {
        let board = AlertBoard::new(AlertsConfig { for_s: 2, resolve_s: 2, ..AlertsConfig::default() });
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        for (s, length, expected) in [
            (0, 0, AlertState::Inactive),
            (1, 30, AlertState::Pending),
            (3, 31, AlertState::Firing),
            (4, 0, AlertState::Firing),
            (6, 0, AlertState::Resolved),
        ] {
            board.observe(queued(length), at(s));
            assert_eq!(state(&board, AlertKind::QueueLength), Some(expected), "at {s} s");
        }
        let history = board.history();
        let seen: Vec<_> =
            history.iter().map(|view| (view.transition.to, view.reading.value, view.at)).collect();
        let expected = [
            (AlertState::Resolved, Some(0.0), at(6)),
            (AlertState::Firing, Some(31.0), at(3)),
            (AlertState::Pending, Some(30.0), at(1)),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn thresholds_change_under_it_and_0_switches_off() {
        let board = AlertBoard::new(AlertsConfig { for_s: 0, resolve_s: 0, ..AlertsConfig::default() });
        let now = Instant::now();
        board.observe(queued(10), now);
        assert_eq!(state(&board, AlertKind::QueueLength), Some(AlertState::Inactive));
        let config = AlertsConfig { for_s: 0, resolve_s: 0, queue_length: 10.0, ..AlertsConfig::default() };
        board.reconfigure(config);
        board.observe(queued(10), now);
        assert_eq!(state(&board, AlertKind::QueueLength), Some(AlertState::Firing));
        board.reconfigure(AlertsConfig { queue_length: 0.0, ..config });
        board.observe(queued(10), now);
        assert_eq!(state(&board, AlertKind::QueueLength), None);
        assert_eq!(board.history()[0].transition.to, AlertState::Resolved);
    }

    #[test]
    fn an_engine_that_is_gone_is_forgotten_when_its_alert_is_over() {
        let board = AlertBoard::new(AlertsConfig { for_s: 0, resolve_s: 5, ..AlertsConfig::default() });
        let start = Instant::now();
        let engine = |name: &str| EngineCalls { engine: name.into(), succeeded: 0, failed: 9 };
        let observe = |engines: Vec<EngineCalls>, s| {
            board.observe(Observation { engines, ..Observation::default() }, start + Duration::from_secs(s));
        };
        observe(vec![], 0);
        observe(vec![engine("extra")], 1);
        assert_eq!(state(&board, AlertKind::EngineErrors), Some(AlertState::Firing));
        for s in 2..8 {
            observe(vec![], s);
        }
        assert_eq!(board.history()[0].transition.to, AlertState::Resolved);
        observe(vec![], 9);
        assert!(board.alerts().iter().all(|view| view.reading.subject.is_none()));
    }

    #[test]
    fn the_history_is_bounded() {
        let board = AlertBoard::new(AlertsConfig { for_s: 0, resolve_s: 0, ..AlertsConfig::default() });
        for tick in 0..1_000 {
            board.observe(queued(if tick % 2 == 0 { 50 } else { 0 }), Instant::now());
        }
        assert_eq!(board.history().len(), HISTORY_CAPACITY);
    }
}
