//! Connections: kept, renewed when the server closed them, shared by calls where HTTP/2 is offered, and made to nobody
//! who cannot show a certificate that is trusted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use antiphon::backend::openai::{OpenAiLlm, OpenAiLlmConfig};
use antiphon::engine::CancelFlag;
use antiphon::engine::EngineError;
use antiphon::engine::llm::LlmEngine;
use antiphon::pool::Probed;
use axum::Router;
use axum::extract::Request;
use axum::http::Version;
use axum::routing::post;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use futures::future::join_all;

use crate::llm::{all, ask, config, engine, text_of};
use crate::reply::{Act, Reply};
use crate::server::FaultServer;

#[tokio::test]
async fn a_probe_opens_the_connection_of_the_call_behind_it() {
    let server = FaultServer::start([Reply::answer("Yes.")]).await;
    let engine: Arc<dyn LlmEngine> = Arc::new(engine(&server));
    Arc::clone(&engine).probe(CancelFlag::new()).await.expect("it is well");
    assert_eq!(server.seen()[0].json()["max_tokens"], 1);
    Arc::clone(&engine).probe(CancelFlag::new()).await.expect("it is well");
    assert_eq!((server.seen().len(), server.connections()), (2, 1));
}

#[tokio::test]
async fn a_look_at_an_idle_endpoint_costs_no_answer_and_leaves_a_connection() {
    let replies = [Reply::answer("a list"), Reply::answer("Yes.")];
    let server = FaultServer::start(replies).await;
    let engine: Arc<dyn LlmEngine> = Arc::new(engine(&server));
    Arc::clone(&engine).look(CancelFlag::new()).await.expect("it is there");
    assert!(server.seen()[0].path.ends_with("/models"), "{:?}", server.seen()[0].path);
    Arc::clone(&engine).probe(CancelFlag::new()).await.expect("it is well");
    assert_eq!((server.seen().len(), server.connections()), (2, 1));
}

#[tokio::test]
async fn a_look_finds_out_who_takes_no_calls() {
    for (status, is_there) in
        [(404, true), (405, true), (401, false), (403, false), (500, false), (429, false)]
    {
        let server = FaultServer::start([Reply::error(status, "", "no")]).await;
        let engine: Arc<dyn LlmEngine> = Arc::new(engine(&server));
        assert_eq!(engine.look(CancelFlag::new()).await.is_ok(), is_there, "{status}");
    }
    let server = FaultServer::start([]).await;
    let engine: Arc<dyn LlmEngine> = Arc::new(engine(&server));
    drop(server);
    assert!(matches!(engine.look(CancelFlag::new()).await, Err(EngineError::Unavailable { .. })));
}

#[tokio::test]
async fn what_a_failed_call_leaves_is_not_used_again() {
    let replies = [Reply::events().text("Half").end(), Reply::error(500, "", "oops"), Reply::answer("Yes.")];
    let server = FaultServer::start(replies).await;
    let engine = engine(&server);
    assert!(all(&engine, ask("Hi.")).await.last().expect("an end").is_err());
    assert!(all(&engine, ask("Hi.")).await.remove(0).is_err());
    assert_eq!(text_of(&all(&engine, ask("Hi.")).await), "Yes.");
    // All three were read to their ends: a failure of the answer is none of the connection.
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_replaced_unseen() {
    let closing = Reply::answer("Yes.").then(Act::HalfClose);
    let server = FaultServer::start([closing.clone(), closing, Reply::answer("Yes.")]).await;
    let engine = engine(&server);
    for count in 1..=3 {
        assert_eq!(text_of(&all(&engine, ask("Hi.")).await), "Yes.");
        if count < 3 {
            server.closed(count).await;
        }
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn calls_at_once_have_a_connection_each() {
    let server =
        FaultServer::start([Reply::answer("Yes.").after(std::time::Duration::from_millis(30))]).await;
    let engine = engine(&server);
    for _ in 0..2 {
        let answers = join_all((0..4).map(|_| all(&engine, ask("Hi.")))).await;
        assert!(answers.iter().all(|events| text_of(events) == "Yes."));
    }
    assert_eq!((server.seen().len(), server.connections()), (8, 4));
}

/// A server with a certificate of its own, which it writes to `folder`, and what it saw.
struct Tls {
    url: String,
    ca_file: PathBuf,
    seen: Arc<Mutex<Vec<(Version, std::net::SocketAddr)>>>,
    handle: Handle<std::net::SocketAddr>,
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

async fn tls(folder: &Path, protocols: &[&[u8]]) -> Tls {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("it is made");
    let ca_file = folder.join("ca.pem");
    std::fs::write(&ca_file, pair.cert.pem()).expect("writable");
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .expect("they belong together");
    tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let seen: Arc<Mutex<Vec<(Version, std::net::SocketAddr)>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let answer = move |request: Request| {
        let client = request.extensions().get::<axum::extract::ConnectInfo<std::net::SocketAddr>>();
        noted.lock().expect("whole").push((request.version(), client.expect("noted").0));
        let text =
            "data: {\"choices\": [{\"delta\": {\"content\": \"Yes.\"}, \"finish_reason\": \"stop\"}]}\n\n";
        async move { ([("content-type", "text/event-stream")], format!("{text}data: [DONE]\n\n")) }
    };
    let app = Router::new().route("/v1/chat/completions", post(answer));
    let handle = Handle::new();
    let acceptor =
        RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls))).acceptor(NoDelayAcceptor::new());
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let serving = axum_server::bind(address)
        .acceptor(acceptor)
        .handle(handle.clone())
        .serve(app.into_make_service_with_connect_info::<std::net::SocketAddr>());
    crate::server::spawn(async move { serving.await.expect("it serves") });
    let port = handle.listening().await.expect("it listens").port();
    Tls { url: format!("https://localhost:{port}/v1"), ca_file, seen, handle }
}

fn trusting(tls: &Tls) -> OpenAiLlmConfig {
    OpenAiLlmConfig {
        url: tls.url.clone(),
        model: "m".into(),
        ca_file: Some(tls.ca_file.clone()),
        ..OpenAiLlmConfig::default()
    }
}

#[tokio::test]
async fn http_2_is_taken_where_it_is_offered() {
    for (protocols, version) in
        [(&[b"h2".as_slice(), b"http/1.1"][..], Version::HTTP_2), (&[b"http/1.1"], Version::HTTP_11)]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let server = tls(folder.path(), protocols).await;
        let engine = OpenAiLlm::open(&trusting(&server)).expect("it opens");
        assert_eq!(text_of(&all(&engine, ask("Hi.")).await), "Yes.");
        let answers = join_all((0..4).map(|_| all(&engine, ask("Hi.")))).await;
        assert!(answers.iter().all(|events| text_of(events) == "Yes."), "{answers:?}");
        let seen = server.seen.lock().expect("whole").clone();
        assert!(seen.len() == 5 && seen.iter().all(|(found, _)| *found == version), "{seen:?}");
        let clients: std::collections::BTreeSet<_> = seen.iter().map(|(_, client)| *client).collect();
        assert!(version != Version::HTTP_2 || clients.len() == 1, "one connection for all: {clients:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = tls(folder.path(), &[b"h2"]).await;
    let config = OpenAiLlmConfig { ca_file: None, ..trusting(&server) };
    let engine = OpenAiLlm::open(&config).expect("it opens");
    let error = all(&engine, ask("Hi.")).await.remove(0).expect_err("not trusted");
    assert!(
        matches!(error, EngineError::Unavailable { .. }) && error.to_string().contains("certificate"),
        "{error}"
    );
    assert!(server.seen.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = tls(folder.path(), &[b"h2"]).await;
    let config = trusting(&server);
    let config = OpenAiLlmConfig { url: config.url.replace("localhost", "127.0.0.1"), ..config };
    let engine = OpenAiLlm::open(&config).expect("it opens");
    let error = all(&engine, ask("Hi.")).await.remove(0).expect_err("another name");
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn text_that_is_no_certificate_is_told_at_the_start() {
    let server = FaultServer::start([]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "no certificate").expect("writable");
    let config = OpenAiLlmConfig { url: "https://h/v1".into(), ca_file: Some(path), ..config(&server) };
    let error = OpenAiLlm::open(&config).expect_err("no certificate").to_string();
    assert!(error.contains("ca.pem") && error.contains("PEM"), "{error}");
}
