//! Keys: sent where they belong, found nowhere else.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use antiphon::backend::openai::{OpenAiLlm, OpenAiLlmConfig};
use serde_json::json;

use crate::llm::{all, ask, config, text_of};
use crate::reply::Reply;
use crate::server::FaultServer;

pub(crate) const KEY: &str = "sk-test-0123456789abcdef";

pub(crate) fn key_file(folder: &Path, mode: u32) -> std::path::PathBuf {
    let path = folder.join("key");
    std::fs::write(&path, format!("{KEY}\n")).expect("writable");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
    path
}

fn with_file(server: &FaultServer, folder: &Path) -> OpenAiLlmConfig {
    OpenAiLlmConfig { api_key_file: Some(key_file(folder, 0o600)), ..config(server) }
}

#[tokio::test]
async fn the_key_is_sent_as_a_bearer_and_printed_nowhere() {
    let server = FaultServer::start([Reply::answer("Yes.")]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = with_file(&server, folder.path());
    let engine = OpenAiLlm::open(&config).expect("it opens");
    assert_eq!(text_of(&all(&engine, ask("Hi.")).await), "Yes.");
    assert_eq!(server.seen()[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let printed = format!("{engine:?} {config:?} {}", serde_json::to_string(&config).expect("it serializes"));
    assert!(!printed.contains("sk-test"), "{printed}");
}

#[tokio::test]
async fn a_server_that_echoes_key_and_words_is_not_repeated() {
    let words = "my password is hunter2 and my name is Ada";
    let said = format!("cannot serve key {KEY} (sk-test-***cdef): '{words}'");
    let folder = tempfile::tempdir().expect("a folder");
    for status in [400, 401, 403, 404, 422, 429, 500, 503] {
        let server = FaultServer::start([Reply::error(status, KEY, &said)]).await;
        let engine = OpenAiLlm::open(&with_file(&server, folder.path())).expect("it opens");
        let error = all(&engine, ask(words)).await.remove(0).expect_err("refused");
        let told = format!("{error} {error:?}");
        for part in ["sk-test", "cdef", "hunter2", "Ada"] {
            assert!(!told.contains(part), "{status}: {told}");
        }
    }
    let within = json!({ "error": { "message": said } }).to_string();
    let server = FaultServer::start([Reply::events().event(&within).end()]).await;
    let engine = OpenAiLlm::open(&with_file(&server, folder.path())).expect("it opens");
    let told = format!("{:?}", all(&engine, ask(words)).await);
    assert!(!told.contains("sk-test") && !told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_redirect_does_not_get_the_key() {
    let thief = FaultServer::start([Reply::answer("Thanks.")]).await;
    let location = format!("{}/chat/completions", thief.url());
    let server = FaultServer::start([Reply::whole(307, "", &[("location", &location)], b"")]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let engine = OpenAiLlm::open(&with_file(&server, folder.path())).expect("it opens");
    assert!(all(&engine, ask("Hi.")).await.remove(0).is_err());
    assert_eq!(thief.connections(), 0);
}

#[tokio::test]
async fn keys_and_addresses_that_cannot_be_used_are_told_at_the_start() {
    let server = FaultServer::start([]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let open = key_file(folder.path(), 0o644);
    let base = config(&server);
    let table = [
        (OpenAiLlmConfig { api_key_file: Some(open), ..base.clone() }, "chmod 600"),
        (OpenAiLlmConfig { api_key_file: Some("/nowhere/key".into()), ..base.clone() }, "/nowhere/key"),
        (
            OpenAiLlmConfig { api_key_env: Some("ANTIPHON_TEST_NOT_SET".into()), ..base.clone() },
            "ANTIPHON_TEST_NOT_SET",
        ),
        (
            OpenAiLlmConfig { api_key_env: Some(KEY.into()), ..base.clone() },
            "to name an environment variable",
        ),
        (
            OpenAiLlmConfig {
                api_key_env: Some("HOME".into()),
                api_key_file: Some("/key".into()),
                ..base.clone()
            },
            "one place",
        ),
        (OpenAiLlmConfig { model: String::new(), ..base.clone() }, "llm.openai.model"),
        (OpenAiLlmConfig { url: String::new(), ..base.clone() }, "llm.openai.url"),
        (OpenAiLlmConfig { url: format!("http://me:{KEY}@127.0.0.1/v1"), ..base.clone() }, "api_key_env"),
        (
            OpenAiLlmConfig { url: format!("http://127.0.0.1/v1?key={KEY}"), ..base.clone() },
            "behind its path",
        ),
        (
            OpenAiLlmConfig { url: "https://h/v1".into(), ca_file: Some("/nowhere/ca.pem".into()), ..base },
            "ca_file",
        ),
    ];
    for (config, part) in table {
        let error = OpenAiLlm::open(&config).expect_err(part).to_string();
        assert!(error.contains(part) && !error.contains("sk-test"), "{part}: {error}");
    }
}
