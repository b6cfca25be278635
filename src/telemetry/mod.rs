//! L0: logs and metrics: how they are set up and what the metrics are called.
//!
//! Knows nothing of the rest of the crate. Modules that measure something name a constant of [`metrics`] in
//! the macros of the `metrics` crate; `app` calls [`init`] and [`Metrics::install`] once and serves what
//! [`Metrics::render`] returns.
//!
//! Labels come from small closed sets (a pool, an error code). A session's id, a user's name or anything that
//! a user said is never a label and never in a log line above DEBUG.

pub mod alerts;
pub mod clock;
mod exporter;
pub mod gpus;
pub mod machine;
pub mod metrics;
pub mod process;

pub use alerts::{AlertBoard, AlertsConfig};
pub use exporter::Metrics;

use std::io::IsTerminal;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};

/// How the server reports on itself.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct TelemetryConfig {
    /// Which log lines are written; whisper.cpp tells its model's every dimension at `info` and every call that was cancelled as an error, so it is off; what fails is told by its engine. In `tracing` filter syntax: `info`, or `warn,antiphon::pool=debug`.
    pub log: String,
    /// How a log line looks.
    pub log_format: LogFormat,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info,whisper_rs=off".to_owned(), log_format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter does not parse.
    #[error("`{filter}` is no log filter: {reason}; examples: `info`, `warn,antiphon::pool=debug`")]
    BadFilter {
        /// The filter as given.
        filter: String,
        /// What the parser said.
        reason: String,
    },
    /// Another part of the process has set up logs or metrics before.
    #[error("{what} were already set up in this process: {reason}")]
    AlreadySet {
        /// `logs` or `metrics`.
        what: &'static str,
        /// What the library said.
        reason: String,
    },
}

/// Writes logs to stderr from now on, for the whole process. Programs call it once; tests need not.
pub fn init(config: &TelemetryConfig) -> Result<LogFilter, TelemetryError> {
    let (filter, handle) = reload::Layer::new(parse_filter(&config.log)?);
    let registry = tracing_subscriber::registry().with(filter);
    let to_stderr = fmt::layer().with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => registry.with(to_stderr.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(to_stderr.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| TelemetryError::AlreadySet { what: "logs", reason: error.to_string() })?;
    Ok(LogFilter { set: Some(Arc::new(move |filter| handle.reload(filter))) })
}

type SetFilter = dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync;

/// Changes which log lines are written, from now on. One that is made by default changes nothing: the process
/// has set up no logs, as tests do.
#[derive(Clone, Default)]
pub struct LogFilter {
    set: Option<Arc<SetFilter>>,
}

impl LogFilter {
    /// Writes the lines that the configuration wants from now on. Their format stays.
    pub fn reconfigure(&self, config: &TelemetryConfig) {
        let Some(set) = &self.set else { return };
        let filter = match parse_filter(&config.log) {
            Ok(filter) => filter,
            Err(error) => return tracing::error!(%error, "the log filter stays as it was"),
        };
        if let Err(error) = set(filter) {
            tracing::error!(%error, "the log filter stays as it was");
        }
    }
}

impl std::fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFilter").field("is_set", &self.set.is_some()).finish()
    }
}

/// Whether `filter` is a log filter that [`init`] takes.
pub fn check_filter(filter: &str) -> Result<(), TelemetryError> {
    parse_filter(filter).map(drop)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(filter)
        .map_err(|error| TelemetryError::BadFilter { filter: filter.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        for filter in ["info", "warn,antiphon::pool=debug", "off"] {
            assert!(check_filter(filter).is_ok(), "{filter}");
        }
        let error = check_filter("antiphon=loud").expect_err("no such level").to_string();
        assert!(error.contains("`antiphon=loud` is no log filter"), "{error}");
        assert!(error.contains("examples"), "{error}");
    }
}
