//! Engines behind a URL against real HTTP servers on loopback.

mod reply;
mod server;
#[path = "../socket/mod.rs"]
#[expect(dead_code, reason = "a part of it is used here")]
mod socket;

mod cancel;
mod connections;
mod faults;
mod keys;
mod llm;
mod speech;
mod talks;
mod transcription;
mod whole;
