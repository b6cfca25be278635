//! A server and its engines' processes live and die together.

use antiphon::backend::Placement;
use antiphon::config::Config;
use antiphon::store::StoreKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::{Client, Program, get, see, start};
use super::{exists, runs, signal, starter, until};

/// Scripted engines, each in a process.
const APART: &str = "[[engines.stt]]\nkind = \"scripted\"\nplacement = \"process\"\n\
                     [[engines.llm]]\nkind = \"scripted\"\nplacement = \"process\"\n\
                     [[engines.tts]]\nkind = \"scripted\"\nplacement = \"process\"\n\
                     [engines.vad]\nkind = \"scripted\"\n";

fn pids(status: &Value) -> Vec<u64> {
    let pools = status["pools"].as_array().expect("a list").iter();
    let instances = pools.flat_map(|pool| pool["instances"].as_array().expect("a list"));
    instances.filter_map(|instance| instance["process"]["pid"].as_u64()).collect()
}

/// The server says it, 24 kHz 16 bit.
async fn spoken(address: std::net::SocketAddr, text: &str) -> Vec<u8> {
    let body = json!({"input": text, "voice": "alloy", "response_format": "pcm"}).to_string();
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let length = body.len();
    let head = format!(
        "POST /v1/audio/speech HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("reads");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    answer.split_off(end)
}

/// A person speaks, and is answered aloud: three processes hear, think and speak. Then the server stops, and they are
/// gone, and their ends seen to.
#[tokio::test]
async fn a_spoken_turn_through_three_processes_of_which_none_is_left() {
    let mut config = Config { engines: starter(Placement::Process), ..Config::default() };
    config.server.bind = "127.0.0.1:0".parse().expect("an address");
    config.store.kind = StoreKind::Memory;
    let server = start(config).await;
    let address = server.address();
    let pids = pids(&get(address, "/api/status").await);
    assert_eq!(pids.len(), 3);
    let question = spoken(address, "What is the capital of France?").await;
    let mut client = Client::admitted(address).await;
    for chunk in [question, vec![0; 48_000 * 3 / 2]].concat().chunks(48_000) {
        client.send(json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(chunk)})).await;
    }
    let delta = client.until("response.output_audio.delta").await;
    assert!(delta["delta"].as_str().is_some_and(|audio| !audio.is_empty()));
    let done = client.until("response.done").await["response"].clone();
    assert_eq!(done["status"], "completed", "{done}");
    assert!(!done["output"][0]["content"][0]["transcript"].as_str().unwrap_or_default().is_empty(), "{done}");
    for (pid, name) in pids.iter().zip(["whisper", "onnx", "espeak"]) {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
        assert!(
            line.ends_with(&format!("\0engine\0{name}\0")),
            "the process's name and nothing else: {line:?}"
        );
    }
    drop(client);
    server.stop().await.expect("everything ends");
    assert!(!pids.iter().any(|pid| exists(*pid)), "neither a process nor a zombie is left");
}

#[tokio::test]
async fn a_server_that_is_killed_takes_its_engines_along() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("antiphon.toml"), APART).expect("writable");
    let server = Program::start(folder.path());
    let pids = pids(&get(server.address, "/api/status").await);
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| runs(*pid)));
    server.signal("-KILL");
    until("all gone", || !pids.iter().any(|pid| runs(*pid))).await;
}

/// A terminal's Ctrl-C, and a service manager's SIGTERM, reach every process of the group: they are for the server,
/// whose running answers need the engines still.
#[tokio::test]
async fn signals_for_the_server_do_not_end_its_engines_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("antiphon.toml"), APART).expect("writable");
    let mut server = Program::start(folder.path());
    let pids = pids(&get(server.address, "/api/status").await);
    assert_eq!(pids.len(), 3);
    for name in ["-INT", "-TERM", "-HUP"] {
        pids.iter().for_each(|pid| signal(*pid, name));
    }
    let mut client = Client::admitted(server.address).await;
    client.ask("still there?").await;
    assert_eq!(client.answer().await, "You said: still there?");
    let restarts = |status: &Value| status["pools"][1]["instances"][0]["restarts"] == 0;
    see(server.address, "/api/status", restarts).await;
    drop(client);
    server.signal("-INT");
    assert!(server.child.wait().expect("it ends").success());
    assert!(!pids.iter().any(|pid| exists(*pid)), "all were waited for");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(!log.contains("killed") && !log.contains("has died"), "{log}");
}

/// A remote engine's key is none of a local engine's business. The variable is one that every test has.
#[tokio::test]
async fn keys_of_remote_engines_are_not_in_the_environment_of_processes() {
    const VARIABLE: &str = "CARGO_MANIFEST_DIR";
    let folder = tempfile::tempdir().expect("a folder");
    let remote = format!(
        "[[engines.llm]]\nkind = \"openai\"\nname = \"far\"\nurl = \"http://127.0.0.1:9/v1\"\nmodel = \"m\"\n\
         fallback = true\napi_key_env = \"{VARIABLE}\"\n"
    );
    std::fs::write(folder.path().join("antiphon.toml"), format!("{APART}{remote}")).expect("writable");
    let server = Program::start(folder.path());
    let status = get(server.address, "/api/status").await;
    let holds = |pid: u64| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("it runs");
        String::from_utf8_lossy(&environment).contains(VARIABLE)
    };
    assert!(holds(server.child.id().into()), "the server has it");
    let pids = pids(&status);
    assert_eq!(pids.len(), 3);
    assert!(!pids.iter().any(|pid| holds(*pid)), "its engines do not");
}
