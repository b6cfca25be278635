//! Servers that are killed and started again on the same store; stores that cannot be used.

use std::path::Path;

use antiphon::app::Server;
use antiphon::store::{StoreConfig, StoreKind};
use serde_json::{Value, json};

use crate::cuts::{assert_cut, committed, listening, text_of};
use crate::guests::{Gone, Guest, config, echo, hears, open_sessions};
use crate::socket::{Program, SCRIPTED, get, see, start};

/// An answer of some six seconds.
const LONG: &str =
    "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen.";

fn folder(engines: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    configure(folder.path(), engines);
    folder
}

fn configure(folder: &Path, engines: &str) {
    std::fs::write(folder.join("antiphon.toml"), engines).expect("writable");
}

/// Scripted engines with these calls.
fn scripted(stt: &str, llm: &str) -> String {
    format!(
        "[[engines.stt]]\nkind = \"scripted\"\ncalls = [[{stt}]]\n[[engines.llm]]\nkind = \"scripted\"\nword_ms = 2\n\
         calls = [[{llm}]]\n[[engines.tts]]\nkind = \"scripted\"\n[engines.vad]\nkind = \"scripted\"\n"
    )
}

/// Waits until the store has all that sessions gave it.
async fn written(server: &Program) {
    see(server.address, "/api/status", |status| status["store"]["pending_sessions"] == 0).await;
}

#[tokio::test]
async fn killed_in_mid_answer_nothing_committed_is_lost() {
    let engines = scripted("{ text = \"I was heard.\" }", &format!("{{ text = \"{LONG}\" }}"));
    let folder = folder(&engines);
    let mut server = Program::start(folder.path());
    let mut guest = Guest::new(server.address).await;
    guest.update(json!({"instructions": "Count."})).await;
    let spoken = committed(&mut guest).await;
    guest.client.until("response.done").await;
    let item = listening(&mut guest, 25).await;
    written(&server).await;
    server.child.kill().expect("it runs"); // SIGKILL
    server.child.wait().expect("it ends");
    let gone = guest.cut();

    let server = Program::start(folder.path());
    let mut guest = gone.back(server.address).await;
    assert_eq!(guest.session["instructions"], "Count.");
    assert_eq!(text_of(&guest.item(&spoken).await), "I was heard.");
    assert_eq!(guest.left_off()["last_item_id"], item.as_str());
    assert_cut(&mut guest, &item).await;
    guest.client.send(json!({"type": "response.create", "response": {"output_modalities": ["text"]}})).await;
    assert_eq!(guest.client.answer().await, LONG, "it goes on");
}

#[tokio::test]
async fn killed_before_a_transcript_the_audio_is_transcribed_after_the_start() {
    let folder = folder(&scripted("{ hang = \"until_cancelled\" }", "{ text = \"You said: {user}\" }"));
    let mut server = Program::start(folder.path());
    let mut guest = Guest::new(server.address).await;
    let item = committed(&mut guest).await;
    guest.item(&item).await; // the session has done with the commit, and has given its snapshot away
    written(&server).await;
    server.child.kill().expect("it runs");
    server.child.wait().expect("it ends");
    let gone = guest.cut();

    configure(
        folder.path(),
        &scripted("{ text = \"{ms} milliseconds\" }", "{ text = \"You said: {user}\" }"),
    );
    let server = Program::start(folder.path());
    let mut guest = gone.back(server.address).await;
    let done = guest.client.until("conversation.item.input_audio_transcription.completed").await;
    assert_eq!(done["item_id"], item.as_str());
    guest.client.send(json!({"type": "response.create", "response": {"output_modalities": ["text"]}})).await;
    let answer = guest.client.answer().await;
    assert_eq!(answer, format!("You said: {}", done["transcript"].as_str().expect("text")));
    let ms = answer.split(' ').nth(2).and_then(|ms| ms.parse::<u64>().ok()).expect("a number");
    assert!((600..2_400).contains(&ms), "the audio came back whole: {answer}");
}

#[tokio::test]
async fn stopped_politely_the_session_is_there_after_the_start() {
    let folder = folder(SCRIPTED);
    let mut server = Program::start(folder.path());
    let mut guest = Guest::new(server.address).await;
    guest.client.ask("Hello").await;
    assert_eq!(guest.client.answer().await, "You said: Hello");
    server.signal("-TERM");
    assert_eq!(guest.client.close_code().await, 1012);
    assert!(server.child.wait().expect("it ends").success());
    let gone = guest.cut();

    let server = Program::start(folder.path());
    assert_eq!(get(server.address, "/api/status").await["store"]["sessions"], 1);
    let mut guest = gone.back(server.address).await;
    guest.client.ask("Again").await;
    assert_eq!(guest.client.answer().await, "You said: Again");
}

fn sqlite(folder: &Path) -> antiphon::config::Config {
    let mut config = config(hears("x"), echo());
    let path = folder.join("data/sessions.sqlite");
    config.store = StoreConfig { kind: StoreKind::Sqlite, path, ..StoreConfig::default() };
    config
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_told_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = sqlite(folder.path());
    let first = start(config.clone()).await;
    let error = Server::start(config.clone()).await.expect_err("it is in use").to_string();
    assert!(error.contains("another process uses it"), "{error}");
    first.stop().await.expect("it stops");

    std::fs::write(&config.store.path, vec![b'x'; 10_000]).expect("writable");
    let error = Server::start(config.clone()).await.expect_err("it is damaged").to_string();
    assert!(error.contains("damaged") && error.contains("Move it away"), "{error}");

    config.store.path = "/proc/nowhere/sessions".into();
    let error = Server::start(config).await.expect_err("it is not writable").to_string();
    assert!(error.contains("/proc/nowhere/sessions") && error.contains("store.path"), "{error}");
}

/// Fills the disk, as the store sees it: its file may not grow.
async fn fill(server: &Server) -> Vec<Gone> {
    let mut gone = Vec::new();
    let full = |status: &Value| !status["store"]["failing"].is_null();
    let long = "x".repeat(300_000);
    for _ in 0..20 {
        let mut guest = Guest::new(server.address()).await;
        guest.client.item(&long).await;
        guest.client.until("conversation.item.done").await;
        gone.push(guest.cut());
        if full(&get(server.address(), "/api/status").await) {
            return gone;
        }
    }
    see(server.address(), "/api/status", full).await;
    gone
}

#[tokio::test]
async fn on_a_full_disk_sessions_go_on_and_status_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = sqlite(folder.path());
    config.store.max_bytes = 1_048_576;
    let server = start(config).await;
    let mut guest = Guest::new(server.address()).await;
    fill(&server).await;
    guest.client.ask("Do you still talk?").await;
    assert_eq!(guest.client.answer().await, "You said: Do you still talk?");
    // What is over the bound is forgotten now and then, ended sessions first; then there is room again.
    see(server.address(), "/api/status", |status| status["store"]["failing"].is_null()).await;
    see(server.address(), "/api/status", |status| status["store"]["pending_sessions"] == 0).await;
    let gone = guest.cut();
    let mut guest = gone.back_later(server.address()).await;
    guest.client.send(json!({"type": "response.create", "response": {"output_modalities": ["text"]}})).await;
    assert_eq!(guest.client.answer().await, "You said: Do you still talk?");
    open_sessions(server.address(), 1).await;
}
