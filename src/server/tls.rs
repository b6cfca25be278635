//! HTTPS and WSS: a second listener beside the plain one, with the same routes. Browsers give a microphone to pages
//! of other machines only over it.
//!
//! Knows certificates and sockets, and nothing of what is served. Read [`TlsConfig`], then [`Certificate`].

mod certificate;
mod listener;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use certificate::{Certificate, TlsError};
pub use listener::TlsListener;

/// Where and with which certificate the server listens for HTTPS. Off by default.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct TlsConfig {
    /// Address and port of the HTTPS listener, beside `server.bind`; empty for none. Port 0 takes a free one.
    pub listen: String,
    /// PEM file with the certificate and those that it was signed with; empty for none.
    pub cert: PathBuf,
    /// PEM file with the certificate's private key; empty for none.
    pub key: PathBuf,
    /// Whether a certificate is made at start, which nobody trusts before they are told to.
    pub self_signed: bool,
    /// File that the self-signed certificate is written to, for clients that are to trust it; empty for none.
    pub self_signed_file: PathBuf,
    /// Names and addresses for which the self-signed certificate holds, beside `localhost`, `127.0.0.1`, `::1` and
    /// the address of `listen`.
    pub names: Vec<String>,
}

impl TlsConfig {
    /// Where to listen; `None` where HTTPS is off.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }
}
