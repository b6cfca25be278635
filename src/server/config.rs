//! How the edge behaves: address, limits of connections, who may come in.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// How the edge behaves.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ServerConfig {
    /// Address and port to listen on. Addresses that others reach need API keys.
    pub bind: SocketAddr,
    /// Largest WebSocket message in bytes. 21 MiB: the 15 MiB of audio that OpenAI takes in one
    /// `input_audio_buffer.append`, in base64, and its envelope.
    pub max_frame_bytes: usize,
    /// Origins whose pages may connect, such as `https://voice.example`; `*` for any. The server's own page
    /// always may.
    pub allowed_origins: Vec<String>,
    /// Sessions at once; one more is refused with 503.
    pub max_sessions: usize,
    /// Milliseconds that turns have to finish when the server stops.
    pub shutdown_grace_ms: u64,
    /// Who may come in.
    pub auth: AuthConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8700)),
            max_frame_bytes: 21 * 1024 * 1024,
            allowed_origins: Vec::new(),
            max_sessions: 200,
            shutdown_grace_ms: 10_000,
            auth: AuthConfig::default(),
        }
    }
}

/// Who may come in.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct AuthConfig {
    /// API keys. Without any, everybody on this machine may come in and nobody else.
    pub keys: Vec<KeyConfig>,
}

/// One API key. The key itself is nowhere on the server, only its hash.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct KeyConfig {
    /// Whose key it is; stands in logs and status.
    pub name: String,
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: String,
    /// What its holder may do.
    #[serde(default)]
    pub role: Role,
}

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Talk, and see what is their own.
    #[default]
    User,
    /// See everything and change what may be changed at run time.
    Admin,
}
