//! Models by name, pulled from a stand-in hub on loopback.

mod hub;
mod place;
#[path = "../socket/mod.rs"]
#[expect(dead_code, reason = "a part of it is used here")]
mod socket;

mod cli;
mod downloads;
mod sources;
