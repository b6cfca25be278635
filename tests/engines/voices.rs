//! A server that speaks with Piper's and Kokoro's graphs (random weights: what they say is noise of the right length),
//! over real sockets; speech-to-text and language model are scripted.

use std::path::Path;

use crate::socket::{Client, config, get, http};
use antiphon::app::Server;
use antiphon::backend::catalog::TtsConfig;
use antiphon::backend::kokoro::KokoroConfig;
use antiphon::backend::piper::PiperConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const TEXT: &str = "one two three four, five six seven eight. And some more words for a second sentence";

async fn serve(tts: TtsConfig) -> Server {
    let mut config = config();
    config.engines.tts = vec![tts];
    Server::start(config)
        .await
        .expect("the graphs are in the repository; scripts/setup installs ONNX Runtime")
}

fn piper() -> TtsConfig {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/piper/testdata/many.onnx").into();
    TtsConfig::Piper(PiperConfig { model, ..PiperConfig::default() })
}

/// With voices of these names, in `folder`.
fn kokoro(folder: &Path, names: &[&str]) -> TtsConfig {
    for (at, name) in names.iter().enumerate() {
        let number = |n: usize| (((n * (at + 3)) as f32).sin() * 0.2).to_le_bytes();
        let bytes: Vec<u8> = (0..510 * 256).flat_map(number).collect();
        std::fs::write(folder.join(format!("{name}.bin")), bytes).expect("written");
    }
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/kokoro/testdata/model.onnx").into();
    TtsConfig::Kokoro(KokoroConfig { model, voices: Some(folder.to_owned()), ..KokoroConfig::default() })
}

/// An answer as it came: milliseconds of audio, its transcript, its item.
async fn hear(client: &mut Client) -> (usize, String, Value) {
    let (mut bytes, mut transcript, mut loud) = (0, String::new(), false);
    loop {
        let event = client.event().await;
        match event["type"].as_str().expect("a type") {
            "response.output_audio.delta" => {
                let audio = STANDARD.decode(event["delta"].as_str().expect("audio")).expect("base64");
                loud |= audio
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .any(|two| i16::from_le_bytes(*two).unsigned_abs() > 1_000);
                bytes += audio.len();
            }
            "response.output_audio_transcript.delta" => transcript += event["delta"].as_str().expect("text"),
            "response.done" => {
                assert_eq!(event["response"]["status"], "completed", "{event}");
                assert!(loud, "silence");
                return (bytes / 48, transcript, event["response"]["output"][0].clone());
            }
            "error" => panic!("{event}"),
            _ => {}
        }
    }
}

/// Talks with a voice: an answer with word times, one that is cancelled, and another.
async fn talk(server: &Server, voice: &str) {
    let mut client = Client::admitted(server.address()).await;
    let audio = json!({"output": {"voice": voice}});
    client.send(json!({"type": "session.update", "session": {"type": "realtime", "audio": audio}})).await;
    client.until("session.updated").await;
    client.item(TEXT).await;
    client.send(json!({"type": "response.create"})).await;
    let (audio_ms, transcript, item) = hear(&mut client).await;
    assert_eq!(transcript, format!("You said: {TEXT}"));
    assert!((1_000..30_000).contains(&audio_ms), "{audio_ms} ms of audio");
    // What is cut at half its time keeps the words that were heard until then, by the voice's word times.
    let cut = json!({"type": "conversation.item.truncate", "item_id": item["id"], "content_index": 0,
                     "audio_end_ms": audio_ms / 2});
    client.send(cut).await;
    client.until("conversation.item.truncated").await;
    client.send(json!({"type": "conversation.item.retrieve", "item_id": item["id"]})).await;
    let kept = client.until("conversation.item.retrieved").await["item"]["content"][0]["transcript"].clone();
    let kept = kept.as_str().expect("a transcript").trim();
    assert!(transcript.starts_with(kept) && kept.len() < transcript.len() && kept.len() > 10, "{kept:?}");
    client.send(json!({"type": "response.create"})).await;
    client.until("response.output_audio.delta").await;
    client.send(json!({"type": "response.cancel"})).await;
    assert_eq!(client.until("response.done").await["response"]["status"], "cancelled");
    client.item("again").await;
    client.send(json!({"type": "response.create"})).await;
    assert_eq!(hear(&mut client).await.1, "You said: again");
    client.leave().await;
}

async fn models_voices(server: &Server, id: &str) -> Value {
    let model = get(server.address(), &format!("/v1/models/{id}")).await;
    assert_eq!(model["antiphon"]["kind"], "text_to_speech", "{model}");
    model["antiphon"].clone()
}

#[tokio::test]
async fn people_talk_with_a_voice_of_pipers() {
    let server = serve(piper()).await;
    talk(&server, "p228").await;
    let told = models_voices(&server, "piper").await;
    assert_eq!(
        (&told["languages"], &told["voices"][0], &told["voices"][14]),
        (&json!(["en"]), &json!("alloy"), &json!("p227"))
    );
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn people_talk_with_kokoro_in_the_languages_of_its_voices() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(kokoro(folder.path(), &["af_heart", "ef_dora"])).await;
    talk(&server, "marin").await;
    talk(&server, "ef_dora").await;
    let told = models_voices(&server, "kokoro").await;
    assert_eq!((&told["languages"], &told["voices"][13]), (&json!(["en", "es"]), &json!("af_heart")));
    let speech =
        |voice: &str| json!({"input": "Hola.", "voice": voice, "response_format": "pcm"}).to_string();
    let request = "POST /v1/audio/speech\nContent-Type: application/json";
    assert_eq!(http(server.address(), request, &speech("ef_dora")).await.0, 200);
    let (status, refused) = http(server.address(), request, &speech("ef_nobody")).await;
    assert_eq!(status, 400, "{refused}");
    assert!(refused["error"]["message"].as_str().expect("words").contains("af_heart, ef_dora"), "{refused}");
    server.stop().await.expect("everything ends");
}
