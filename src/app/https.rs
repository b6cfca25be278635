//! The HTTPS listener of a server: its certificate and address are taken before engines load, so that what is wrong
//! with them is told at once; it serves the same routes as the plain listener.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;

use super::StartError;
use crate::config::Config;
use crate::runtime::Runtime;
use crate::server::tls::{Certificate, TlsConfig, TlsError, TlsListener};

/// Whether the files of the certificate hold one. Makes and writes nothing.
pub fn check_certificate(config: &Config) -> Result<(), TlsError> {
    let tls = &config.server.tls;
    if tls.address().is_some() && !tls.self_signed {
        Certificate::load(tls)?;
    }
    Ok(())
}

/// A listener that serves nothing yet.
#[derive(Debug)]
pub(super) struct Bound {
    listener: TlsListener,
    address: SocketAddr,
    certificate: Certificate,
}

/// Takes the address; `None` where HTTPS is off.
pub(super) fn bind(config: &TlsConfig) -> Result<Option<Bound>, StartError> {
    let Some(address) = config.address() else { return Ok(None) };
    let certificate = Certificate::load(config)?;
    let error = |source| StartError::BindTls { address, source };
    let listener = TlsListener::bind(address, certificate.clone()).map_err(error)?;
    let address = listener.address().map_err(error)?;
    Ok(Some(Bound { listener, address, certificate }))
}

impl Bound {
    /// Serves as a task of `runtime` until it shuts down.
    pub(super) fn serve(self, runtime: &Runtime, routes: Router, grace: Duration) -> Https {
        let serving = self.listener.serve(routes, runtime.shutdown_token().clone(), grace);
        let task = runtime.spawn("https listener", async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the HTTPS listener failed");
            }
        });
        Https { address: self.address, certificate: self.certificate, task }
    }
}

/// A listener that serves.
#[derive(Debug)]
pub(super) struct Https {
    pub(super) address: SocketAddr,
    certificate: Certificate,
    task: JoinHandle<()>,
}

impl Https {
    /// Reads the certificate's files again; with bad ones it goes on as before.
    pub(super) fn renew(&self) {
        match self.certificate.renew() {
            Ok(()) => tracing::info!("the certificate was read anew"),
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }

    /// Ends with the runtime's shutdown.
    pub(super) async fn join(self) {
        if self.task.await.is_err() {
            tracing::error!("the HTTPS listener panicked");
        }
    }
}
