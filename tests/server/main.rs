//! The server as its clients reach it: sockets and HTTP, over scripted engines.

#[path = "../socket/mod.rs"]
mod socket;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "a part of it is used here")]
mod support;

mod admission;
mod alerts;
mod api;
mod audio;
mod chat;
mod closing;
mod gpus;
mod realtime;
mod reload;
mod secrets;
mod stream;
mod tls;
mod transcription;
mod wire;
