//! Engines behind a URL against real HTTP servers on loopback.

mod server;

mod cancel;
mod connections;
mod faults;
mod keys;
mod llm;
mod speech;
mod talks;
mod transcription;
