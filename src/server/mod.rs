//! L4: the edge: HTTP, WebSocket, pages; maps the wire to session commands and back.
//!
//! Nothing here decides what a session does. Read [`mod@router`] for the routes, then `realtime` for a session's
//! socket, then `convert` for what its frames mean, then `api` for what operators ask.

mod access;
pub mod api;
mod audio;
mod audio_frames;
mod chat;
mod client_secrets;
pub mod config;
mod convert;
mod health;
mod models;
mod one_close;
mod opening;
mod outside;
mod pages;
mod realtime;
pub mod router;
mod secrets;
mod sideband;
mod socket;
pub mod tls;
mod unread;
mod waiting;
mod websocket;

pub use config::{AuthConfig, KeyConfig, KeyRole, ServerConfig, ServerRole, UploadsConfig};
pub use router::{ServerState, router};
