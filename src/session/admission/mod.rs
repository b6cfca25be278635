//! Who may begin a session now, who waits, and who is told to come back later.
//!
//! [`decide`] (the rule for a newcomer), [`mod@line`] (those who wait and those who are in), [`meter`] (measured
//! latency) and [`turnover`] (how fast places come free) are pure and take `now`; [`AdmissionGate`] is the
//! async shell around them. Nothing here knows sockets, the wire, or what a session does. Read [`decide`] first.

pub mod decide;
mod gate;
pub mod line;
pub mod meter;
mod place;
pub mod turnover;

pub use decide::{AdmissionLimits, Decision, Load};
pub use gate::{AdmissionGate, AdmissionStats, Entry};
pub use meter::FirstAudioMeter;
pub use place::{Outcome, Permit, Position, Refusal, WaitStep, Waiting};

use serde::{Deserialize, Serialize};

/// How the server meets more people than it can serve.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct AdmissionConfig {
    /// Sockets at once: sessions, those who wait, and those who are being told to come back. One more is
    /// answered 503 before it becomes a socket. 400: twice the sessions.
    pub max_connections: usize,
    /// How many may wait for a place. 100: with conversations of some minutes, more would wait in vain.
    pub max_queue: usize,
    /// How long one may wait for a place, in seconds. 60: few people look at a busy page for longer.
    pub max_wait_s: u64,
    /// The first audio of an answer should come within this time of the end of the turn, for 95 of 100 turns,
    /// in milliseconds. 1,000: silences of up to about a second pass in conversation, longer ones are taken as
    /// trouble (Jefferson, "Notes on a possible metric for a 'standard maximum' silence", 1989).
    pub first_audio_target_ms: u64,
    /// Headroom is `1 - p95 / target`. Below this share, newcomers wait even if places are free. 0.1: at 0.9 s
    /// of a target of 1 s, so that those who talk keep what they have.
    pub min_headroom: f64,
    /// Headroom from which on they are let in again. 0.3: far enough above the floor that the few who are let
    /// in do not push it below at once.
    pub resume_headroom: f64,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            max_connections: 400,
            max_queue: 100,
            max_wait_s: 60,
            first_audio_target_ms: 1_000,
            min_headroom: 0.1,
            resume_headroom: 0.3,
        }
    }
}
