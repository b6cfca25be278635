//! `antiphon serve`: the server, until Ctrl-C or SIGTERM.

use std::process::ExitCode;

use super::{ConfigArgs, output};
use crate::config::Config;
use crate::{app, telemetry};

pub(super) fn run(args: ConfigArgs) -> ExitCode {
    let config = match args.load() {
        Ok(config) => config,
        Err(problems) => return output::bad_config(&problems),
    };
    match telemetry::init(&config.telemetry) {
        Ok(()) => serve(config),
        Err(error) => output::failed(error),
    }
}

fn serve(config: Config) -> ExitCode {
    let workers = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(workers) => workers,
        Err(error) => return output::failed(format!("no threads to run on: {error}")),
    };
    match workers.block_on(app::serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::failed(error),
    }
}
