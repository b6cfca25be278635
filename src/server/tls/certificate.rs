//! The certificate: read from files, which may be renewed, or made at start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, crypto::ring};
use thiserror::Error;

use super::TlsConfig;

/// Names of this machine that a self-signed certificate always holds for.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Who a self-signed certificate says it is.
const COMMON_NAME: &str = "Antiphon (self-signed)";

/// Why there is no certificate to listen with.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file that cannot be read or written.
    #[error("{key} = \"{}\": {source}. Check the path and its rights.", path.display())]
    File {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file without what it should hold.
    #[error("{key} = \"{}\": {problem}. It takes a PEM file with {wanted}.", path.display())]
    Content {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Certificate and key that do not belong together, or are of a kind that is not supported.
    #[error("server.tls.cert and server.tls.key cannot be used together: {0}")]
    Unusable(#[from] rustls::Error),
    /// A name that no certificate can hold for.
    #[error("server.tls.names: no certificate can be made for these names: {0}")]
    Names(#[from] rcgen::Error),
}

/// What the server shows clients. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Certificate {
    shown: RustlsConfig,
    /// Where it came from, if from files.
    files: Option<(PathBuf, PathBuf)>,
}

impl Certificate {
    /// Reads the certificate that is configured, or makes one.
    pub fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        if config.self_signed {
            let shown = RustlsConfig::from_config(Arc::new(self_signed(config)?));
            return Ok(Self { shown, files: None });
        }
        let shown = RustlsConfig::from_config(Arc::new(from_files(&config.cert, &config.key)?));
        Ok(Self { shown, files: Some((config.cert.clone(), config.key.clone())) })
    }

    /// Reads the files again: new connections see the new certificate. A self-signed one stays.
    pub fn renew(&self) -> Result<(), TlsError> {
        if let Some((cert, key)) = &self.files {
            self.shown.reload_from_config(Arc::new(from_files(cert, key)?));
        }
        Ok(())
    }

    /// As the listener takes it.
    pub(super) fn shown(&self) -> RustlsConfig {
        self.shown.clone()
    }
}

fn from_files(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    const CERT: &str = "server.tls.cert";
    const KEY: &str = "server.tls.key";
    let certificates = CertificateDer::pem_slice_iter(&read(CERT, cert)?).collect::<Result<Vec<_>, _>>();
    let content = |key, path: &Path, problem: String, wanted| TlsError::Content {
        key,
        path: path.to_owned(),
        problem,
        wanted,
    };
    let certificates = certificates
        .map_err(|error| error.to_string())
        .and_then(
            |found| if found.is_empty() { Err("no certificate is in it".to_owned()) } else { Ok(found) },
        )
        .map_err(|problem| content(CERT, cert, problem, "the certificate and those that signed it"))?;
    let private = PrivateKeyDer::from_pem_slice(&read(KEY, key)?)
        .map_err(|error| content(KEY, key, error.to_string(), "one private key (PKCS#8, PKCS#1 or SEC1)"))?;
    Ok(server_config(certificates, private)?)
}

fn self_signed(config: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let listen = config.address().map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
    let mut names: Vec<String> = LOCAL_NAMES.iter().map(ToString::to_string).collect();
    names.extend(listen.map(|ip| ip.to_string()).into_iter().chain(config.names.iter().cloned()));
    names.sort_unstable();
    names.dedup();
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, COMMON_NAME);
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    let file = &config.self_signed_file;
    if !file.as_os_str().is_empty() {
        std::fs::write(file, certificate.pem()).map_err(|source| TlsError::File {
            key: "server.tls.self_signed_file",
            path: file.clone(),
            source,
        })?;
    }
    let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Ok(server_config(vec![certificate.der().clone()], private)?)
}

fn server_config(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    // WebSockets begin with an upgrade, which HTTP/2 does not have.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { key, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_files(folder: &Path, cert: &str, key: &str) -> TlsConfig {
        TlsConfig { cert: folder.join(cert), key: folder.join(key), ..TlsConfig::default() }
    }

    /// Writes a certificate and its key as `NAME.pem` and `NAME.key`.
    fn write(folder: &Path, name: &str) {
        let pair = rcgen::generate_simple_self_signed(vec!["voice.example".to_owned()]).expect("it is made");
        std::fs::write(folder.join(format!("{name}.pem")), pair.cert.pem()).expect("writable");
        std::fs::write(folder.join(format!("{name}.key")), pair.signing_key.serialize_pem())
            .expect("writable");
    }

    #[test]
    fn bad_files_are_told_with_their_key() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "ours");
        write(folder.path(), "other");
        std::fs::write(folder.path().join("empty"), "nothing").expect("writable");
        assert!(Certificate::load(&of_files(folder.path(), "ours.pem", "ours.key")).is_ok());
        for (cert, key, told) in [
            ("missing.pem", "ours.key", "server.tls.cert = "),
            ("empty", "ours.key", "no certificate is in it"),
            ("ours.pem", "missing.key", "server.tls.key = "),
            ("ours.pem", "empty", "server.tls.key = "),
            ("ours.pem", "ours.pem", "one private key"),
            ("ours.pem", "other.key", "server.tls.cert and server.tls.key cannot be used together"),
        ] {
            let error = Certificate::load(&of_files(folder.path(), cert, key)).expect_err(told).to_string();
            assert!(error.contains(told), "{cert} {key}: {error}");
        }
    }

    #[test]
    fn a_self_signed_certificate_is_written_where_clients_find_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let config = TlsConfig { self_signed: true, self_signed_file: file.clone(), ..TlsConfig::default() };
        let certificate = Certificate::load(&config).expect("it is made");
        certificate.renew().expect("nothing to read");
        let text = std::fs::read_to_string(file).expect("it is there");
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----"), "{text}");
        assert!(!text.contains("PRIVATE"), "the key stays in memory");
        let nowhere = folder.path().join("no/ca.pem");
        let error =
            Certificate::load(&TlsConfig { self_signed_file: nowhere, ..config }).expect_err("no folder");
        assert!(error.to_string().starts_with("server.tls.self_signed_file = "), "{error}");
    }

    #[test]
    fn files_are_read_again_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "ours");
        let certificate =
            Certificate::load(&of_files(folder.path(), "ours.pem", "ours.key")).expect("good files");
        let before = certificate.shown.get_inner();
        std::fs::write(folder.path().join("ours.key"), "").expect("writable");
        assert!(certificate.renew().is_err());
        assert!(Arc::ptr_eq(&before, &certificate.shown.get_inner()), "it goes on with what it has");
        write(folder.path(), "ours");
        certificate.renew().expect("good files");
        assert!(!Arc::ptr_eq(&before, &certificate.shown.get_inner()));
    }
}
