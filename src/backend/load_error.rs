//! Why an engine could not be built.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why an engine could not be built, and what to do about it.
#[derive(Clone, Debug, Deserialize, Error, PartialEq, Eq, Serialize)]
pub enum LoadError {
    /// A file that the configuration names is not there or cannot be read.
    #[error("{engine}: cannot read {}: {reason}. {next_step}", path.display())]
    FileMissing {
        /// The engine's name.
        engine: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
        /// What to run or which key to change.
        next_step: String,
    },
    /// A file is there, but it is not what the engine takes.
    #[error("{engine}: {} is not usable: {reason}. {next_step}", path.display())]
    FileInvalid {
        /// The engine's name.
        engine: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to run or which key to change.
        next_step: String,
    },
    /// A program or shared library that the engine needs is not installed or too old.
    #[error("{engine}: {what} is not usable: {reason}. {next_step}")]
    Dependency {
        /// The engine's name.
        engine: String,
        /// The program or library.
        what: String,
        /// What is wrong with it.
        reason: String,
        /// What to run or which key to change.
        next_step: String,
    },
    /// A value of the configuration cannot be used.
    #[error("{key} = {value}: {reason}")]
    Config {
        /// The key, from the engines' section down.
        key: String,
        /// Its value.
        value: String,
        /// What would be right.
        reason: String,
    },
    /// The engine's own start failed: out of memory, no thread.
    #[error("{engine} did not start: {reason}")]
    Start {
        /// The engine's name.
        engine: String,
        /// What happened.
        reason: String,
    },
}
