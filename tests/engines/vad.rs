//! Voice activity that is judged elsewhere, in a batch with other sessions: a graph of Silero's contract in ONNX
//! Runtime, whole servers and their sockets.

use std::net::SocketAddr;

use crate::socket::{Client, config, start};
use antiphon::backend::catalog::VadConfig;
use antiphon::backend::silero::SileroConfig;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// So much audio as JSON: a loud square wave, or silence.
fn append(voice: bool, ms: usize) -> Value {
    let level = if voice { 8_000_i16 } else { 0 };
    let samples = (0..ms * 24).map(|n| if n / 60 % 2 == 0 { level } else { -level });
    let audio = BASE64_STANDARD.encode(samples.flat_map(i16::to_le_bytes).collect::<Vec<u8>>());
    json!({"type": "input_audio_buffer.append", "audio": audio})
}

async fn server() -> antiphon::app::Server {
    let mut config = config();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/silero/tests.onnx").into();
    config.engines.vad = VadConfig::Silero(SileroConfig { model, ..SileroConfig::default() });
    config.engines.onnxruntime =
        concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/onnxruntime/libonnxruntime.so").into();
    start(config).await
}

/// A client that is told what was heard.
async fn listener(address: SocketAddr) -> Client {
    let mut client = Client::admitted(address).await;
    update(&mut client, json!({"transcription": {"model": "scripted-stt"}})).await;
    client
}

async fn update(client: &mut Client, input: Value) {
    client
        .send(json!({"type": "session.update", "session": {"type": "realtime", "audio": {"input": input}}}))
        .await;
    client.until("session.updated").await;
}

/// How much of an utterance was heard, from what the scripted engine says of it.
fn heard_ms(event: &Value) -> u64 {
    let text = event["transcript"].as_str().expect("a transcript");
    let words: Vec<&str> = text.split(' ').collect();
    words[words.len() - 2].parse().expect("utterance N of M milliseconds")
}

#[tokio::test]
async fn sessions_that_share_a_graph_are_heard_each_by_itself() {
    let server = server().await;
    let talk = |ms: usize| {
        let address = server.address();
        async move {
            let mut client = listener(address).await;
            for _ in 0..ms / 100 {
                client.send(append(true, 100)).await;
            }
            for _ in 0..15 {
                client.send(append(false, 100)).await;
            }
            client.until("input_audio_buffer.speech_started").await;
            let told = client.until("conversation.item.input_audio_transcription.completed").await;
            client.until("response.done").await;
            heard_ms(&told)
        }
    };
    let spoken = [600, 1_000, 1_500, 2_200, 3_000, 4_000];
    let heard = futures::future::join_all(spoken.map(talk)).await;
    for (spoken, heard) in spoken.into_iter().zip(heard) {
        // The pre-roll before and some of the silence behind are heard too.
        assert!(
            (spoken as u64..spoken as u64 + 1_200).contains(&heard),
            "{spoken} ms spoken, {heard} ms heard"
        );
    }
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn what_is_said_after_the_audio_counts_after_it() {
    let server = server().await;
    let mut client = listener(server.address()).await;
    // One burst that takes several runs of the graph, and a commit right behind.
    client.send(append(true, 9_000)).await;
    client.send(json!({"type": "input_audio_buffer.commit"})).await;
    let started = client.until("input_audio_buffer.speech_started").await;
    let committed = client.until("input_audio_buffer.committed").await;
    assert_eq!(
        started["item_id"], committed["item_id"],
        "the speech was seen before the commit was followed"
    );
    let told = client.until("conversation.item.input_audio_transcription.completed").await;
    assert!((8_900..=9_400).contains(&heard_ms(&told)), "{told}");
    // Without turn detection nothing is judged; with it again, from there on.
    update(&mut client, json!({"turn_detection": null})).await;
    client.send(append(true, 1_000)).await;
    client.send(json!({"type": "input_audio_buffer.clear"})).await;
    client.until("input_audio_buffer.cleared").await;
    update(&mut client, json!({"turn_detection": {"type": "server_vad", "create_response": false}})).await;
    for voice in [true, false] {
        client.send(append(voice, 1_500)).await;
    }
    let told = client.until("conversation.item.input_audio_transcription.completed").await;
    assert!((1_500..2_700).contains(&heard_ms(&told)), "{told}");
    server.stop().await.expect("everything ends");
}
