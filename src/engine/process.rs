//! An engine that runs in a process of its own.

use serde::Serialize;

/// The process of an engine that does not run in this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct EngineProcess {
    /// The number that the operating system gave it.
    pub pid: u32,
    /// False once it has ended. It does not come back: its calls fail, and only a new engine helps.
    pub is_running: bool,
}
