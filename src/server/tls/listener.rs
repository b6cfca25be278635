//! The HTTPS listener. A client that does not finish its handshake holds up nobody and is let go.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::RustlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Certificate;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens, and serves when it is told what.
#[derive(Debug)]
pub struct TlsListener {
    socket: TcpListener,
    certificate: Certificate,
}

impl TlsListener {
    /// Takes the address.
    pub fn bind(address: SocketAddr, certificate: Certificate) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, certificate })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves `routes` until `shutdown`; requests that run may go on for `grace`. Upgraded sockets are not waited
    /// for: sessions are tasks of their own.
    pub async fn serve(self, routes: Router, shutdown: CancellationToken, grace: Duration) -> io::Result<()> {
        let handle = Handle::new();
        let acceptor = RustlsAcceptor::new(self.certificate.shown())
            .handshake_timeout(HANDSHAKE_TIMEOUT)
            .acceptor(NoDelayAcceptor::new());
        let server = axum_server::from_tcp(self.socket)?.handle(handle.clone()).acceptor(acceptor);
        let serving = server.serve(routes.into_make_service_with_connect_info::<SocketAddr>());
        let stopping = async {
            shutdown.cancelled().await;
            handle.graceful_shutdown(Some(grace));
            std::future::pending().await
        };
        tokio::select! {
            served = serving => served,
            () = stopping => Ok(()),
        }
    }
}
