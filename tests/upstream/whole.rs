//! The whole server with its language model behind a URL, in a process of its own: what a client hears, and that the
//! key of the endpoint is nowhere to be found.

use std::path::Path;

use serde_json::Value;

use crate::keys::{KEY, key_file};
use crate::reply::{Reply, Seen};
use crate::server::FaultServer;
use crate::socket::{Client, Program, get};

/// What the person says; no log may hold it.
const WORDS: &str = "my cat is called Zerberus";

fn configure(folder: &Path, server: &FaultServer) {
    let key = key_file(folder, 0o600);
    let text = format!(
        "[store]\nkind = \"memory\"\n[telemetry]\nlog = \"trace\"\n[engines.vad]\nkind = \"scripted\"\n\
         [[engines.stt]]\nkind = \"scripted\"\n[[engines.tts]]\nkind = \"scripted\"\n\
         [[engines.llm]]\nkind = \"openai\"\nname = \"remote\"\nmodel = \"m\"\nurl = \"{}\"\n\
         api_key_file = \"{}\"\n[engines.llm.limits]\nretries = 0\nrequests_per_minute = 1000\n",
        server.url(),
        key.display()
    );
    std::fs::write(folder.join("antiphon.toml"), text).expect("writable");
}

/// What the last message of a request says; nothing where the server only asks for the models.
fn last_words(seen: &Seen) -> String {
    if seen.method == "GET" {
        return String::new();
    }
    let body = seen.json();
    let messages = body["messages"].as_array().expect("messages");
    messages.last().expect("one")["content"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_client_is_answered_from_afar_and_the_key_is_nowhere() {
    let server = FaultServer::answering(|seen| match last_words(seen).as_str() {
        words if words.contains("fail") => Reply::error(
            401,
            "invalid_api_key",
            &format!("Incorrect API key provided: {KEY}. You said: {WORDS}"),
        ),
        _ => Reply::answer("That is a fine name."),
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    configure(folder.path(), &server);
    let program = Program::start(folder.path());
    let mut client = Client::admitted(program.address).await;
    client.ask(WORDS).await;
    assert_eq!(client.answer().await, "That is a fine name.");
    client.ask("fail now").await;
    let failed = client.until("response.done").await;
    assert_eq!(failed["response"]["status"], "failed", "{failed}");
    let spoken = server.seen().into_iter().find(|seen| last_words(seen) == WORDS).expect("it was asked");
    assert_eq!(spoken.header("authorization"), Some(format!("Bearer {KEY}").as_str()));

    let mut told = vec![("the client", failed.to_string())];
    for path in ["/api/status", "/api/requests", "/api/config", "/api/alerts", "/metrics", "/v1/models"] {
        told.push((path, as_text(&get(program.address, path).await)));
    }
    assert!(told.iter().any(|(path, text)| *path == "/api/status" && text.contains("remote")), "it is shown");
    client.leave().await;
    drop(program);
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log.contains("HTTP 401"), "what happened is in the log:\n{log}");
    told.push(("the log", log));
    for (place, text) in told {
        for part in [KEY, "sk-test", WORDS, "Zerberus"] {
            let line = text.lines().find(|line| line.contains(part));
            assert!(line.is_none(), "{part} in {place}: {}", line.unwrap_or_default());
        }
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
