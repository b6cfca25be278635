//! Models by name, pulled from a stand-in hub on loopback.

mod hub;
mod place;
#[path = "../socket/mod.rs"]
mod socket;

mod cli;
mod downloads;
mod sources;
