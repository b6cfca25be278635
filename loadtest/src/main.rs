//! `antiphon-loadtest`: talks to a realtime voice server as many users at once and reports what they heard.
//!
//! Pure parts (plan, words, score, record, judge, stats, report, ear, exchange, mic) know no clock and no I/O; `user`,
//! `line`, `voice`, `process` and `run` are thin shells around them. Imports of the server: its sample layer only.
//! To follow one turn, read `user`, then `exchange`, then `ear`. `conversation` is a test set of its own.

mod args;
mod conversation;
mod ear;
mod exchange;
mod judge;
mod line;
mod mic;
mod plan;
mod process;
mod record;
mod report;
mod run;
mod scenario;
mod score;
mod script;
mod stats;
mod user;
mod voice;
mod wire;
mod words;

use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use serde::Serialize;

use crate::args::Args;

/// Wrong usage, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = match Args::parse().validated() {
        Ok(args) => args,
        Err(error) => return fail(&error),
    };
    match perform(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // Where standard error is closed, the exit code still tells.
    drop(writeln!(std::io::stderr(), "error: {error:#}"));
    ExitCode::from(USAGE)
}

fn perform(args: Args) -> anyhow::Result<bool> {
    let threads = usize::try_from(args.threads)?;
    let json = args.json.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    if args.conversation.is_some() {
        let report = runtime.block_on(conversation::run(args))?;
        publish(&report, json.as_deref())?;
        return Ok(report.passed);
    }
    let report = runtime.block_on(run::run(args))?;
    publish(&report, json.as_deref())?;
    Ok(report.passed)
}

/// Prints a report, and writes it to `json` if that is wanted.
fn publish<R: Display + Serialize>(report: &R, json: Option<&Path>) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{report}")?;
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
