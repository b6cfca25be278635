//! `antiphon plan`: how many users this configuration holds, and what limits first.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, output};
use crate::app::plan::sizing::Talk;
use crate::app::plan::{self, Request, table};

/// Flags of `antiphon plan`.
#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Users who talk at once
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    users: u32,
    /// GPU memory in GiB [default: this machine's]
    #[arg(long, value_name = "GIB", value_parser = amount)]
    vram_gib: Option<f64>,
    /// RAM in GiB [default: this machine's]
    #[arg(long, value_name = "GIB", value_parser = amount)]
    ram_gib: Option<f64>,
    /// Cores, as fast as this machine's [default: this machine's]
    #[arg(long, value_name = "NUMBER", value_parser = amount)]
    cores: Option<f64>,
    /// Load the engines and time a few real calls, instead of relying on declared costs
    #[arg(long)]
    measure: bool,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    talk: TalkArgs,
}

/// What each user does. The defaults are what `antiphon-loadtest` does.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "What each user does (the defaults are what antiphon-loadtest does)")]
struct TalkArgs {
    /// Turns a minute
    #[arg(long, value_name = "NUMBER", value_parser = amount, default_value_t = Talk::default().turns_a_minute)]
    turns_a_minute: f64,
    /// Seconds of speech in a turn
    #[arg(long, value_name = "SECONDS", value_parser = amount, default_value_t = Talk::default().speech_s)]
    speech_s: f64,
    /// Tokens of instructions and history read for an answer; estimated for the first five minutes
    #[arg(long, value_name = "NUMBER", value_parser = amount, default_value_t = Talk::default().prompt_tokens)]
    prompt_tokens: f64,
    /// Tokens of an answer
    #[arg(long, value_name = "NUMBER", value_parser = amount, default_value_t = Talk::default().answer_tokens)]
    answer_tokens: f64,
    /// Seconds of speech of an answer
    #[arg(long, value_name = "SECONDS", value_parser = amount, default_value_t = Talk::default().answer_speech_s)]
    answer_speech_s: f64,
    /// Calls of text-to-speech for an answer
    #[arg(long, value_name = "NUMBER", value_parser = amount, default_value_t = Talk::default().clauses)]
    clauses: f64,
    /// Share of cores and slots that may be busy on average, above 0 and up to 1
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = Talk::default().busy)]
    busy: f64,
}

impl From<TalkArgs> for Talk {
    fn from(args: TalkArgs) -> Self {
        let TalkArgs {
            turns_a_minute,
            speech_s,
            prompt_tokens,
            answer_tokens,
            answer_speech_s,
            clauses,
            busy,
        } = args;
        Self { turns_a_minute, speech_s, prompt_tokens, answer_tokens, answer_speech_s, clauses, busy }
    }
}

pub(super) fn run(args: &PlanArgs) -> ExitCode {
    let request = Request {
        users: args.users,
        talk: args.talk.into(),
        cores: args.cores,
        ram_gib: args.ram_gib,
        vram_gib: args.vram_gib,
        measure: args.measure,
    };
    let config = match args.config.load() {
        Ok(config) => config,
        Err(problems) => return output::bad_config(&problems),
    };
    let plan = match plan::make(&config, &request) {
        Ok(plan) => plan,
        Err(error) => return output::failed(error),
    };
    if args.json {
        match serde_json::to_string_pretty(&plan) {
            Ok(text) => output::show(&format!("{text}\n")),
            Err(error) => return output::failed(error),
        }
    } else {
        output::show(&table::render(&plan));
    }
    ExitCode::SUCCESS
}

/// A number that is not negative.
fn amount(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1e6).contains(&number) { Ok(number) } else { Err(format!("{text} is not from 0 to 1000000")) }
}

/// A part of one.
fn share(text: &str) -> Result<f64, String> {
    let number = amount(text)?;
    if number > 0.0 && number <= 1.0 { Ok(number) } else { Err(format!("{text} is not above 0 and up to 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_judged() {
        for (text, right) in [("16", true), ("0.5", true), ("-1", false), ("NaN", false), ("many", false)] {
            assert_eq!(amount(text).is_ok(), right, "{text}");
        }
        for (text, right) in [("0.7", true), ("1", true), ("0", false), ("1.5", false)] {
            assert_eq!(share(text).is_ok(), right, "{text}");
        }
    }
}
