//! The HTTP client of one endpoint: connections that stay open, HTTP/2 where TLS offers it, rustls with ring.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_platform_verifier::Verifier;

use super::address::is_loopback;

/// How long an unused connection is kept: longer than pools leave an instance untried (`pools.probe_interval_s`,
/// 30 s), so that the look at an idle endpoint keeps it open.
const IDLE: Duration = Duration::from_secs(300);
/// How often a silent connection is asked whether it is still there: a router that forgot it is found out before a
/// person waits for it.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long the answer to that may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("antiphon/", env!("CARGO_PKG_VERSION"));

/// A client for `base`. `ca_file` holds certificates to trust beside the system's.
pub(super) fn build(base: &Url, ca_file: Option<&Path>, connect: Duration) -> Result<Client, String> {
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(connect)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        // A key goes where the configuration says, and nowhere else.
        .redirect(Policy::none())
        .tls_backend_preconfigured(tls(base, ca_file)?);
    let builder = if is_loopback(base) { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| error.without_url().to_string())
}

fn tls(base: &Url, ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| error.to_string())?;
    let mut config = if base.scheme() == "https" {
        let verifier = Verifier::new_with_extra_roots(roots(ca_file)?, provider);
        let verifier = verifier.map_err(|error| format!("no certificates to trust: {error}"))?;
        versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
    } else {
        // Without TLS nobody is to be trusted, and the system's certificates need not be read.
        versions.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(ca_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    let Some(path) = ca_file else { return Ok(Vec::new()) };
    let wrong = |reason: String| format!("ca_file = \"{}\": {reason}", path.display());
    let file = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let found = file.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        Err(wrong("no certificate is in it; it takes a PEM file".to_owned()))
    } else {
        Ok(found)
    }
}
