//! L5: configuration: TOML file, environment, flags; validated whole.
//!
//! Raw, then valid: [`Sources`] are read into one tree whose values know where they were written, the tree is
//! decoded into [`Config`], and values are judged. Every problem is told at once. A module's own settings are a
//! struct in that module; what a key means to people and which values it takes stands in `keys.rs`.
//!
//! Knows the settings of every module and nothing of how they are used. Read [`Config::load`] first.

mod change;
mod check;
mod decode;
mod keys;
mod model_names;
mod preset;
mod problem;
mod reader;
mod reference;
mod role;
mod source;
mod tree;
mod validate;

pub use change::{Change, KeyChange, Patch, PatchFormat, RestartNeeded};
pub use problem::{Problem, Problems};
pub use source::{FlagValue, Sources};
pub use tree::Origin;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::catalog::EnginesConfig;
use crate::models::ModelsConfig;
use crate::pool::PoolsConfig;
use crate::pool::memory::MemoryConfig;
use crate::server::{ServerConfig, ServerRole};
use crate::session::{FeaturesConfig, SessionConfig};
use crate::store::StoreConfig;
use crate::telemetry::{AlertsConfig, TelemetryConfig};

/// The file that is read where no other is named.
pub const DEFAULT_FILE: &str = "antiphon.toml";

/// The settings of the whole server. A value of this type that came from [`load`](Self::load) is valid.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Config {
    /// Where values start from that are set nowhere.
    pub preset: Preset,
    /// The edge: address, connections, who may come in.
    pub server: ServerConfig,
    /// How sessions behave.
    pub session: SessionConfig,
    /// Which features are on.
    pub features: FeaturesConfig,
    /// Where sessions are kept to be resumed.
    pub store: StoreConfig,
    /// How engines are shared.
    pub pools: PoolsConfig,
    /// Which engines there are.
    pub engines: EnginesConfig,
    /// Where models lie that are pulled by name.
    pub models: ModelsConfig,
    /// How much memory it all may take.
    pub memory: MemoryConfig,
    /// Logs and metrics.
    pub telemetry: TelemetryConfig,
    /// When alerts fire.
    pub alerts: AlertsConfig,
}

/// Values for a kind of machine, below everything that is set explicitly.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Any machine: embedded engines on the CPU. The defaults.
    #[default]
    Cpu,
    /// 30 users on 16 GiB of GPU memory, 32 GiB of RAM and 16 cores.
    #[serde(rename = "gpu-16gb")]
    Gpu16Gb,
}

impl Config {
    /// Merges, decodes and judges. On failure it tells everything that is wrong.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let tree = source::read(sources, &reference::known_keys(), &mut problems);
        let tree = role::under(tree, &mut problems);
        let mut tree = preset::under(tree, &mut problems);
        model_names::resolve_all(&mut tree, &sources.env, &mut problems);
        let (config, tree) = decode::decode::<Self>(tree, &mut problems);
        problems.extend(validate::validate(&config, &tree));
        problems.sort_by_key(|problem| problem.origin.rank());
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// Whether it serves its engines and no sessions.
    pub fn serves_engines_alone(&self) -> bool {
        self.server.role == ServerRole::Engines
    }

    /// Where models lie, whatever else is right or wrong: for those who are about to pull what the rest names.
    pub fn load_models(sources: &Sources) -> Result<ModelsConfig, Problems> {
        let mut problems = Vec::new();
        let mut tree = source::read(sources, &reference::known_keys(), &mut problems);
        tree.keep("models");
        problems.retain(|problem| problem.key.is_empty());
        let (config, _) = decode::decode::<Self>(tree, &mut problems);
        if problems.is_empty() { Ok(config.models) } else { Err(Problems(problems)) }
    }

    /// A configuration file that lists every key with its meaning, range and default, all commented out.
    pub fn example_toml() -> String {
        reference::example_toml()
    }

    /// The same as a table in Markdown, for `docs/operations.md`.
    pub fn reference_markdown() -> String {
        reference::markdown()
    }
}

impl Sources {
    /// What this process was started with. `file` is the one that was asked for; without it, `antiphon.toml`
    /// in the working directory is read if it is there.
    pub fn of_process(file: Option<&Path>, flags: Vec<FlagValue>) -> Result<Self, Problems> {
        let path = file.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_path_buf);
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => None,
            Err(error) => return Err(unreadable(path, &error)),
        };
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let env = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        Ok(Self { file, env, flags })
    }
}

fn unreadable(path: PathBuf, error: &io::Error) -> Problems {
    let origin = Origin::File { path: path.into(), line: 1 };
    let advice =
        "check the path; `antiphon check --print-defaults > antiphon.toml` writes a file to start from";
    Problems(vec![Problem::with_source(origin, format!("the file cannot be read: {error}"), advice)])
}

#[cfg(test)]
mod tests;
