//! Where snapshots are kept, and how much of them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where snapshots are kept, and how much of them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct StoreConfig {
    /// What keeps them.
    pub kind: StoreKind,
    /// The file of `sqlite`; its folder is made if it is not there. `antiphon-data/sessions.sqlite`: beside
    /// `antiphon.toml`, in the working directory.
    pub path: PathBuf,
    /// Sessions kept at most, those that run included. 10,000: fifty times `server.max_sessions`.
    pub max_sessions: usize,
    /// Bytes kept at most. 1,073,741,824: 1 GiB, some 100 KB for each of 10,000 sessions.
    pub max_bytes: u64,
}

/// What keeps snapshots.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// A file; sessions survive the server.
    #[default]
    Sqlite,
    /// This process; sessions survive cuts, not the server.
    Memory,
    /// Nothing; a cut ends a session.
    Off,
}

impl StoreKind {
    /// As it stands in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Memory => "memory",
            Self::Off => "off",
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::default(),
            path: PathBuf::from("antiphon-data/sessions.sqlite"),
            max_sessions: 10_000,
            max_bytes: 1024 * 1024 * 1024,
        }
    }
}
