//! L5: the command line.
//!
//! Parses, calls, and turns what happened into a message with a next step and an exit code: 0 all well, 1 it
//! failed while running, 2 the command line or the configuration is wrong. Knows `app` and `config` and none of
//! what they put together. Read [`run`] first; each command has a file.

mod check;
mod engine;
mod models;
mod output;
mod plan;
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, FlagValue, Problems, Sources};

/// Exit code where something failed while running.
const FAILED: u8 = 1;
/// Exit code where the command line or the configuration is wrong; clap's own.
const BAD_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  antiphon serve                                   talk at http://127.0.0.1:8700
  antiphon serve --bind 127.0.0.1:9000             on another port
  antiphon serve --role engines                    its engines alone, for another Antiphon
  antiphon serve --set session.limits.idle_s=120   one setting, for this run
  antiphon check --print-defaults > antiphon.toml  a configuration file to start from
  antiphon check                                   what is wrong with it, all at once
  antiphon plan --users 30 --cores 16 --ram-gib 32  what that machine holds, and what limits first
  antiphon models pull cpu-en                      real models by name; `antiphon models list` shows all

Settings come from antiphon.toml, then ANTIPHON_* variables (ANTIPHON_SERVER__BIND sets
server.bind), then flags. docs/operations.md lists them all.";

/// A self-hosted real-time voice server that speaks the OpenAI Realtime protocol.
#[derive(Debug, Parser)]
#[command(name = "antiphon", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server; Ctrl-C stops it after the running turns
    #[command(after_help = EXAMPLES)]
    Serve(ConfigArgs),
    /// Say what is wrong with the configuration, without starting
    #[command(after_help = EXAMPLES)]
    Check(check::CheckArgs),
    /// Say how many users the configuration holds on a machine, and what limits first
    #[command(after_help = EXAMPLES)]
    Plan(plan::PlanArgs),
    /// List, download, check and remove models by name
    #[command(after_help = models::EXAMPLES)]
    Models(models::ModelsArgs),
    /// Run one engine for the server that starts this
    #[command(hide = true)]
    Engine(engine::EngineArgs),
}

/// Where configuration comes from.
#[derive(Args, Debug)]
struct ConfigArgs {
    /// Configuration file [default: antiphon.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "ANTIPHON_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    /// Address and port to listen on; short for --set server.bind=ADDR
    #[arg(long, value_name = "ADDR")]
    bind: Option<String>,
    /// What to serve: `all`, or `engines` alone to other servers; short for --set server.role=ROLE
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Values for a kind of machine to start from: `cpu`, `gpu-16gb`; short for --set preset=NAME
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Any setting by its key; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = FlagValue::set)]
    set: Vec<FlagValue>,
}

impl ConfigArgs {
    /// The configuration that this command line asks for.
    fn load(&self) -> Result<Config, Problems> {
        let short = |flag: &str, key: &str, value: &Option<String>| {
            let (flag, key) = (flag.to_owned(), key.to_owned());
            value.clone().map(|value| FlagValue { flag, key, value })
        };
        let bind = short("--bind", "server.bind", &self.bind);
        let role = short("--role", "server.role", &self.role);
        let preset = short("--preset", "preset", &self.preset);
        let flags = self.set.iter().cloned().chain(bind).chain(role).chain(preset).collect();
        Config::load(&Sources::of_process(self.config.as_deref(), flags)?)
    }
}

/// Runs the program with its arguments, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Engine(args) => engine::run(&args),
        Command::Models(args) => models::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bind_role_and_set_become_flags_of_configuration() {
        let args = ["antiphon", "serve", "--set", "server.max_sessions=7", "--bind", "127.0.0.1:1"];
        let Command::Serve(args) = Cli::try_parse_from(args).expect("as in the examples").command else {
            panic!("it is serve");
        };
        assert_eq!(args.set[0].key, "server.max_sessions");
        let config = args.load().expect("valid");
        assert_eq!((config.server.max_sessions, config.server.bind.port()), (7, 1));
        assert!(!config.serves_engines_alone());
        let load = |role: &str| {
            let args = ["antiphon", "serve", "--role", role];
            let Command::Serve(args) = Cli::try_parse_from(args).expect("as in the examples").command else {
                panic!("it is serve");
            };
            args.load()
        };
        assert!(load("engines").expect("valid").serves_engines_alone());
        let problem = load("engine").expect_err("no such role").to_string();
        assert!(problem.contains("--role") && problem.contains("engines"), "{problem}");
    }

    #[test]
    fn a_setting_without_a_value_is_bad_usage() {
        let error = Cli::try_parse_from(["antiphon", "serve", "--set", "server.bind"]).expect_err("no value");
        assert!(error.to_string().contains("--set server.max_sessions=50"), "{error}");
    }
}
