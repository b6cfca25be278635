//! HTTPS and WSS: a client that trusts the certificate talks, one that does not is refused, and nobody waits for a
//! client that never finishes its handshake.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::socket::{DEADLINE, config, start};
use antiphon::app::{Server, StartError};
use antiphon::config::Config;
use futures::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// With a certificate made at start, written to `ca.pem` in `folder`.
fn self_signed(folder: &Path) -> Config {
    let mut config = config();
    config.server.tls.listen = "127.0.0.1:0".to_owned();
    config.server.tls.self_signed = true;
    config.server.tls.self_signed_file = folder.join("ca.pem");
    config.server.tls.names = vec!["voice.test".to_owned()];
    config
}

/// With the files `cert.pem` and `key.pem` of `folder`.
fn of_files(folder: &Path) -> Config {
    let mut config = config();
    config.server.tls.listen = "127.0.0.1:0".to_owned();
    config.server.tls.cert = folder.join("cert.pem");
    config.server.tls.key = folder.join("key.pem");
    config
}

fn write_files(folder: &Path) {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("it is made");
    std::fs::write(folder.join("cert.pem"), pair.cert.pem()).expect("writable");
    std::fs::write(folder.join("key.pem"), pair.signing_key.serialize_pem()).expect("writable");
}

/// A client that trusts the certificate in `file` and nobody else.
fn trusting(file: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    server: SocketAddr,
    connector: &TlsConnector,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let shaken = connector.connect(name, TcpStream::connect(server).await?);
    timeout(DEADLINE, shaken).await.expect("a handshake in time")
}

async fn status_of(mut stream: TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("in time").expect("reads");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

fn https(server: &Server) -> SocketAddr {
    server.https_address().expect("HTTPS is on")
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_talks_over_wss() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(self_signed(folder.path())).await;
    let connector = trusting(&folder.path().join("ca.pem"));
    for name in ["localhost", "127.0.0.1", "::1", "voice.test"] {
        let stream = connect(https(&server), &connector, name).await.expect(name);
        assert_eq!(status_of(stream, "/healthz").await, "HTTP/1.1 200 OK", "{name}");
    }
    let stream = connect(https(&server), &connector, "localhost").await.expect("a handshake");
    let (mut socket, _) =
        client_async("wss://localhost/v1/realtime?model=test", stream).await.expect("the upgrade");
    let content = json!([{"type": "input_text", "text": "Over TLS."}]);
    let item = json!({"type": "message", "role": "user", "content": content});
    let response = json!({"type": "response.create", "response": {"output_modalities": ["text"]}});
    for event in [json!({"type": "conversation.item.create", "item": item}), response] {
        socket.send(Message::Text(event.to_string().into())).await.expect("the socket is open");
    }
    let done = async {
        loop {
            let frame = socket.next().await.expect("the socket is open").expect("a good frame");
            let Message::Text(text) = frame else { continue };
            let event: Value = serde_json::from_str(&text).expect("JSON");
            if event["type"] == "response.done" {
                return event;
            }
        }
    };
    let done = timeout(DEADLINE, done).await.expect("an answer in time");
    assert_eq!(done["response"]["status"], "completed", "{done}");
    server.stop().await.expect("sessions over TLS are drained too");
    let end = timeout(DEADLINE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
    end.expect("the socket is closed");
}

#[tokio::test]
async fn a_client_that_trusts_others_is_gone_and_so_is_one_of_another_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(self_signed(folder.path())).await;
    let ours = trusting(&folder.path().join("ca.pem"));
    assert!(connect(https(&server), &ours, "other.test").await.is_err(), "not a name of the certificate");
    write_files(folder.path());
    let others = trusting(&folder.path().join("cert.pem"));
    assert!(connect(https(&server), &others, "localhost").await.is_err(), "another certificate");
    assert!(connect(server.address(), &ours, "localhost").await.is_err(), "the plain listener stays plain");
    server.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_stalled_handshake_holds_up_nobody_and_no_shutdown() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = self_signed(folder.path());
    config.server.shutdown_grace_ms = 20_000;
    let server = start(config).await;
    let mut stalled = TcpStream::connect(https(&server)).await.expect("connects");
    let connector = trusting(&folder.path().join("ca.pem"));
    let stream = connect(https(&server), &connector, "localhost").await.expect("a handshake");
    assert_eq!(status_of(stream, "/readyz").await, "HTTP/1.1 200 OK");
    timeout(DEADLINE, server.stop()).await.expect("in time").expect("it stops within its grace");
    let mut rest = [0; 1];
    let end = timeout(Duration::from_secs(20), stalled.read(&mut rest)).await.expect("it is let go");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn renewed_files_are_shown_to_new_connections() {
    let folder = tempfile::tempdir().expect("a folder");
    write_files(folder.path());
    let config = of_files(folder.path());
    let server = start(config.clone()).await;
    let first = trusting(&folder.path().join("cert.pem"));
    connect(https(&server), &first, "localhost").await.expect("the first certificate");
    write_files(folder.path());
    let second = trusting(&folder.path().join("cert.pem"));
    assert!(connect(https(&server), &second, "localhost").await.is_err(), "not read again yet");
    server.reload(Ok(config));
    connect(https(&server), &second, "localhost").await.expect("the second certificate");
    assert!(connect(https(&server), &first, "localhost").await.is_err(), "the first is gone");
    server.stop().await.expect("it stops");
}

#[tokio::test]
async fn bad_files_and_taken_addresses_are_told_before_engines_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Server::start(of_files(folder.path())).await.expect_err("no files");
    assert!(matches!(error, StartError::Tls(_)), "{error:?}");
    assert!(error.to_string().starts_with("server.tls.cert = "), "{error}");
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut config = self_signed(folder.path());
    config.server.tls.listen = taken.local_addr().expect("bound").to_string();
    let error = Server::start(config).await.expect_err("the port is taken").to_string();
    assert!(error.contains("(server.tls.listen)"), "{error}");
}
