//! `antiphon engine`: one engine in a process of its own. Servers start it; people have no use for it.

use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::app;
use crate::telemetry::{self, LogFormat, TelemetryConfig};

#[derive(Args, Debug)]
pub(super) struct EngineArgs {
    /// The engine's name, for who looks at the list of processes
    name: String,
}

pub(super) fn run(args: &EngineArgs) -> ExitCode {
    // The server passes these lines on, each with its level.
    let logs = TelemetryConfig { log_format: LogFormat::Json, ..TelemetryConfig::default() };
    if let Err(error) = telemetry::init(&logs) {
        return output::failed(error);
    }
    match app::serve_engine() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::failed(format!("engine {}: {error}", args.name)),
    }
}
