//! Where a local engine runs.

use serde::{Deserialize, Serialize};

/// Where a local engine runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// In the server: nothing is copied, and a crash of native code ends the server.
    #[default]
    Server,
    /// In a child process of the same program: a crash of native code costs the calls that it runs.
    Process,
}
