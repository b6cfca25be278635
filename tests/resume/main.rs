//! Sessions that go on: after a cut in every state, on another socket while the old one is still there, after
//! kill -9; who may resume what; and sideband sockets. Whole servers, real sockets, scripted engines for timing.

mod cuts;
mod guests;
mod real;
mod restarts;
mod rights;
mod sidebands;
#[path = "../socket/mod.rs"]
#[expect(dead_code, reason = "a part of it is used here")]
mod socket;
