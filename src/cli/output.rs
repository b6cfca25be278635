//! What the program prints. A reader that closes the pipe (`antiphon check | head`) is no error.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use super::{BAD_USAGE, FAILED};
use crate::config::Problems;

/// Prints to stdout: what was asked for.
pub(super) fn show(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
}

/// The command line does not parse, or asks for help or the version.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    error.print().ok();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(BAD_USAGE))
}

/// The configuration is wrong.
pub(super) fn bad_config(problems: &Problems) -> ExitCode {
    complain(problems, BAD_USAGE)
}

/// The configuration takes more memory than there is.
pub(super) fn over_budget(over: impl Display) -> ExitCode {
    complain(over, BAD_USAGE)
}

/// The configuration names a certificate that cannot be used.
pub(super) fn bad_certificate(error: impl Display) -> ExitCode {
    complain(error, BAD_USAGE)
}

/// Prints to stderr what the reader must know beside the answer, if anything.
pub(super) fn note(text: Option<&str>) {
    if let Some(text) = text {
        writeln!(std::io::stderr(), "antiphon: {text}").ok();
    }
}

/// It failed while running.
pub(super) fn failed(error: impl Display) -> ExitCode {
    complain(error, FAILED)
}

/// Prints to stderr what is wrong.
pub(super) fn complain(message: impl Display, code: u8) -> ExitCode {
    let message = message.to_string();
    writeln!(std::io::stderr(), "antiphon: {}", message.trim_end()).ok();
    ExitCode::from(code)
}
