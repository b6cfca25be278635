//! Changes of the configuration while the server runs: which part of it each subsystem is told.
//!
//! Judging is `config`'s work. A change is applied under one lock, whole or not at all.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::config::{Config, KeyChange, Patch, PatchFormat, Problems};
use crate::pool::{PoolsConfig, ResourcePoolManager};
use crate::server::api::config::{BodyFormat, ConfigControl, ConfigRefusal, RefusedKey};
use crate::session::admission::AdmissionLimits;
use crate::session::{AdmissionGate, LiveSettings, SessionRouter};
use crate::telemetry::{AlertBoard, LogFilter, metrics as names};

/// What follows a change of the configuration.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) sessions: SessionRouter,
    pub(super) admission: AdmissionGate,
    pub(super) pools: ResourcePoolManager,
    pub(super) logs: LogFilter,
    pub(super) alerts: AlertBoard,
}

impl Live {
    /// Tells every subsystem its part.
    fn reconfigure(&self, config: &Config) {
        self.logs.reconfigure(&config.telemetry);
        self.alerts.reconfigure(config.alerts);
        self.pools.reconfigure(&pools_config(config));
        self.sessions.reconfigure(LiveSettings::new(config.session.clone(), config.features));
        let limits = AdmissionLimits::new(config.server.max_sessions, &config.server.admission);
        self.admission.reconfigure(limits);
    }
}

/// How pools behave: as configured, but on one core where nothing is to be computed side by side.
pub(super) fn pools_config(config: &Config) -> PoolsConfig {
    let mut pools = config.pools.clone();
    if !config.features.concurrent_processing {
        pools.cpu_permits = 1;
    }
    pools
}

/// Holds the effective configuration and changes it.
#[derive(Debug)]
pub(super) struct Reloader {
    live: Live,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    effective: Config,
    /// Keys that were changed where the configuration is written, and act at the next start.
    waiting: Vec<String>,
}

impl Reloader {
    pub(super) fn new(effective: Config, live: Live) -> Self {
        Self { live, state: Mutex::new(State { effective, waiting: Vec::new() }) }
    }

    /// Goes over to `newer` as far as that needs no restart.
    pub(super) fn reload(&self, newer: Result<Config, Problems>) {
        let mut state = self.lock();
        let applied = newer.and_then(|newer| Ok((state.effective.with_live_of(&newer)?, newer)));
        let (config, newer) = match applied {
            Ok(configs) => configs,
            Err(problems) => {
                count("signal", "refused");
                tracing::error!(%problems, "the configuration stays as it was");
                return;
            }
        };
        let changes = state.effective.changes(&newer);
        self.live.reconfigure(&config); // the log filter too, so that what is told is written by the new one
        changes.iter().for_each(tell);
        state.waiting = changes.iter().filter_map(KeyChange::restart_needed).map(|key| key.key).collect();
        tracing::info!(
            changed = changes.len() - state.waiting.len(),
            waiting = state.waiting.len(),
            "the configuration was read anew"
        );
        state.effective = config;
        count("signal", "applied");
    }

    fn apply_patch(&self, patch: Patch<'_>) -> Result<Vec<KeyChange>, ConfigRefusal> {
        let mut state = self.lock();
        let newer = state.effective.patched(patch).map_err(|problems| invalid(&problems))?;
        let changes = state.effective.changes(&newer);
        let refused: Vec<RefusedKey> = changes.iter().filter_map(restart_needed).collect();
        if !refused.is_empty() {
            return Err(ConfigRefusal::RestartNeeded(refused));
        }
        self.live.reconfigure(&newer);
        changes.iter().for_each(tell);
        state.effective = newer;
        Ok(changes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigControl for Reloader {
    fn show(&self) -> Value {
        let state = self.lock();
        json!({"config": state.effective.shown(), "waiting_for_restart": state.waiting})
    }

    fn change(&self, text: &str, format: BodyFormat) -> Result<Value, ConfigRefusal> {
        let format = match format {
            BodyFormat::Json => PatchFormat::Json,
            BodyFormat::Toml => PatchFormat::Toml,
        };
        let changes = self.apply_patch(Patch { text, format });
        count("api", if changes.is_ok() { "applied" } else { "refused" });
        Ok(json!({"changed": changes?}))
    }
}

fn tell(change: &KeyChange) {
    let KeyChange { key, from, to, acts } = change;
    match change.restart_needed() {
        None => tracing::info!(key, %from, %to, acts = acts.as_str(), "a setting changed"),
        Some(needed) => tracing::warn!(
            key,
            reason = needed.reason,
            "a setting changed that waits for a restart; until then it stays as it was"
        ),
    }
}

fn restart_needed(change: &KeyChange) -> Option<RefusedKey> {
    let needed = change.restart_needed()?;
    Some(RefusedKey { key: needed.key, reason: needed.reason.to_owned(), advice: needed.advice.to_owned() })
}

fn invalid(problems: &Problems) -> ConfigRefusal {
    let key = |problem: &crate::config::Problem| RefusedKey {
        key: problem.key.clone(),
        reason: match &problem.found {
            Some(found) => format!("{found}: {}", problem.what),
            None => problem.what.clone(),
        },
        advice: problem.advice.clone(),
    };
    ConfigRefusal::Invalid(problems.0.iter().map(key).collect())
}

fn count(source: &'static str, outcome: &'static str) {
    metrics::counter!(names::CONFIG_RELOADS_TOTAL, "source" => source, "outcome" => outcome).increment(1);
}
