//! The same with the engines that the server comes with: whisper.cpp, the starter language model, espeak-ng.

use antiphon::config::Config;
use antiphon::store::{StoreConfig, StoreKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::cuts::text_of;
use crate::guests::{Guest, open_sessions};
use crate::socket::start;

/// The server says it, 24 kHz 16 bit.
async fn spoken(address: std::net::SocketAddr, text: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = json!({"input": text, "voice": "alloy", "response_format": "pcm"}).to_string();
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let head = format!(
        "POST /v1/audio/speech HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("reads");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&answer[..end]));
    answer.split_off(end)
}

async fn append(guest: &mut Guest, audio: &[u8]) {
    for chunk in audio.chunks(48_000) {
        guest
            .client
            .send(json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(chunk)}))
            .await;
    }
}

#[tokio::test]
async fn a_spoken_conversation_goes_on_after_a_cut_in_mid_answer_and_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.server.bind = "127.0.0.1:0".parse().expect("an address");
    let path = folder.path().join("sessions.sqlite");
    config.store = StoreConfig { kind: StoreKind::Sqlite, path, ..StoreConfig::default() };
    let server = start(config.clone()).await;
    let question = spoken(server.address(), "What is the capital of France?").await;
    let mut guest = Guest::new(server.address()).await;
    append(&mut guest, &question).await;
    append(&mut guest, &vec![0; 48_000 * 3 / 2]).await;
    let item = guest.client.until("input_audio_buffer.committed").await["item_id"].clone();
    let answer = guest.client.until("response.output_audio.delta").await["item_id"].clone();
    let gone = guest.cut();
    open_sessions(server.address(), 0).await;
    server.stop().await.expect("it stops");

    let server = start(config).await;
    let mut guest = gone.back(server.address()).await;
    assert_eq!(guest.left_off()["last_item_id"], answer);
    let heard = guest.item(item.as_str().expect("an id")).await;
    assert!(!text_of(&heard).is_empty(), "{heard}");
    let cut = guest.item(answer.as_str().expect("an id")).await;
    assert_eq!(cut["status"], "incomplete", "{cut}");
    append(&mut guest, &question).await;
    append(&mut guest, &vec![0; 48_000 * 3 / 2]).await;
    let done = guest.client.until("response.done").await;
    assert_eq!(done["response"]["status"], "completed", "{done}");
    assert!(!text_of(&done["response"]["output"][0]).is_empty());
}
