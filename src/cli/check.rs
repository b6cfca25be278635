//! `antiphon check`: what is wrong with the configuration, without starting.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, output};
use crate::app::{check_certificate, check_memory, missing_gpus};
use crate::config::Config;

/// Flags of `antiphon check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print a configuration file that lists every key with its meaning, range and default
    #[arg(long)]
    print_defaults: bool,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    if args.print_defaults {
        output::show(&Config::example_toml());
        return ExitCode::SUCCESS;
    }
    match args.config.load() {
        Ok(config) => {
            if let Err(over) = check_memory(&config) {
                return output::over_budget(&over);
            }
            if let Err(error) = check_certificate(&config) {
                return output::bad_certificate(error);
            }
            output::show(&format!("The configuration is valid. It listens on {}.\n", config.server.bind));
            missing_gpus(&config).iter().for_each(|note| output::note(Some(note)));
            ExitCode::SUCCESS
        }
        Err(problems) => output::bad_config(&problems),
    }
}
