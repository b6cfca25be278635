//! How the server listens.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::tls::TlsConfig;
use crate::session::AdmissionConfig;

/// How the server listens.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ServerConfig {
    /// What it serves.
    pub role: ServerRole,
    /// Address and port; port 0 takes a free one.
    pub bind: SocketAddr,
    /// The same over TLS.
    pub tls: TlsConfig,
    /// Sessions at once; one more waits in line.
    pub max_sessions: usize,
    /// What becomes of those for whom there is no place.
    pub admission: AdmissionConfig,
    /// The largest frame that a client may send, in bytes. 21 MiB: the 15 MiB of audio that OpenAI allows in one
    /// event, in base64, and what surrounds it.
    pub max_frame_bytes: usize,
    /// Origins of web pages that may open sessions, beside the server's own.
    pub allowed_origins: Vec<String>,
    /// How long sessions may take to end at shutdown, in milliseconds.
    pub shutdown_grace_ms: u64,
    /// How often each client is pinged, in seconds; one that has sent nothing for three of these is gone.
    pub ping_interval_s: u64,
    /// Who may come in.
    pub auth: AuthConfig,
    /// Audio files that are sent to be transcribed.
    pub uploads: UploadsConfig,
}

/// What a server serves.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerRole {
    /// People who talk, and everything else.
    #[default]
    All,
    /// Its engines alone, to other servers: no sessions, no pages.
    Engines,
}

/// Audio files that are sent to be transcribed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct UploadsConfig {
    /// The largest file, in bytes. 25 MiB: OpenAI's limit.
    pub max_bytes: usize,
    /// The longest audio of a file, in seconds. 7,200: what 25 MiB hold of speech as MP3 at 32 kbit/s.
    pub max_audio_s: u64,
    /// Files at once, over all users; one more is answered 503. 8: 200 MiB of memory at most.
    pub max_at_once: usize,
}

impl Default for UploadsConfig {
    fn default() -> Self {
        Self { max_bytes: 25 * 1024 * 1024, max_audio_s: 7_200, max_at_once: 8 }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            role: ServerRole::default(),
            bind: SocketAddr::from(([127, 0, 0, 1], 8700)),
            tls: TlsConfig::default(),
            max_sessions: 200,
            admission: AdmissionConfig::default(),
            max_frame_bytes: 21 * 1024 * 1024,
            allowed_origins: Vec::new(),
            shutdown_grace_ms: 10_000,
            ping_interval_s: 20,
            auth: AuthConfig::default(),
            uploads: UploadsConfig::default(),
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
    pub role: KeyRole,
}

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// Talk, and see what is their own.
    #[default]
    User,
    /// See everything and change what may be changed at run time.
    Admin,
}
