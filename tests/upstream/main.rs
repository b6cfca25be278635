//! Engines behind a URL against real HTTP servers on loopback.

mod reply;
mod server;
#[path = "../socket/mod.rs"]
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
