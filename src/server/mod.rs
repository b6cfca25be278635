//! L4: the edge: HTTP, WebSocket, pages; maps the wire to session commands and back.

mod config;

pub use config::{AuthConfig, KeyConfig, Role, ServerConfig};
