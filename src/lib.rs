//! Antiphon: a self-hosted real-time voice server. Many people talk with it at once, each in a session of
//! their own, while speech-to-text, language model and text-to-speech are shared through pools.
//!
//! The modules are layers, and imports go down only (`tests/architecture.rs` checks it):
//!
//! ```text
//! L5  cli ── app ── config
//! L4  server
//! L3  session
//! L2  pool      backend      store     models
//! L1  engine (traits)
//! L0  protocol   audio   telemetry   runtime   secret
//! ```
//!
//! To follow one spoken turn, read `session::actor`, then `session::speech_pipeline`, then `pool::pool`.

pub mod app;
pub mod backend;
pub mod cli;
pub mod config;
pub mod engine;
pub mod models;
pub mod pool;
pub mod protocol;
pub mod runtime;
pub mod secret;
pub mod server;
pub mod session;
pub mod store;
pub mod telemetry;

pub use antiphon_audio as audio;
