//! A server that hears with Moonshine (random weights: what it writes means nothing), at home and in a process: what it
//! tells clients is what the engine makes of the same audio. The tokens themselves are tested beside the engine.

use antiphon::app::Server;
use antiphon::audio::pcm;
use antiphon::audio::wav::encode_wav;
use antiphon::backend::Placement;
use antiphon::backend::catalog::SttConfig;
use antiphon::backend::guards::GuardsConfig;
use antiphon::backend::moonshine::{MoonshineConfig, MoonshineEngine};
use antiphon::config::Config;
use antiphon::engine::CancelFlag;
use antiphon::engine::stt::{SttEngine, SttRequest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::socket::{Client, DEADLINE, config, get, start};
use super::{program, starter};

fn moonshine(placement: Placement) -> MoonshineConfig {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/moonshine").into();
    let guards = GuardsConfig { min_voice_ms: 0, ..GuardsConfig::default() };
    MoonshineConfig { model, guards, placement, slots: 1, ..MoonshineConfig::default() }
}

fn hearing(placement: Placement) -> Config {
    let mut config = config();
    config.engines.onnxruntime = starter(placement).onnxruntime;
    config.engines.program = program();
    config.engines.stt = vec![SttConfig::Moonshine(moonshine(placement))];
    config
}

/// A sound that changes.
fn sound(rate: f64, samples: usize) -> Vec<i16> {
    let place = |n: usize| n as f64 * 16_000.0 / rate;
    let tone = |n: usize| (place(n) * (0.02 + (place(n) / 3_000.0 % 7.0).floor() * 0.03)).sin() * 9_830.0;
    (0..samples).map(|n| tone(n) as i16).collect()
}

/// What the engine itself makes of it.
async fn heard(samples: &[i16]) -> String {
    let engine =
        MoonshineEngine::load(&moonshine(Placement::Server), &hearing(Placement::Server).engines.onnxruntime);
    let audio: Vec<f32> = samples.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
    let request = SttRequest { audio: audio.into(), language: None, prompt: None, word_times: false };
    let heard = engine.expect("the fixture loads").transcribe(request, CancelFlag::new()).await;
    heard.expect("a transcript").text
}

async fn transcribe(server: &Server, file: &[u8]) -> Value {
    let mut body =
        b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n".to_vec();
    body.extend(file);
    body.extend(b"\r\n--x--\r\n");
    let head = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: \
         multipart/form-data; boundary=x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(server.address()).await.expect("connects");
    stream.write_all(head.as_bytes()).await.expect("writes");
    stream.write_all(&body).await.expect("writes");
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("in time").expect("reads");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).expect("JSON")
}

/// A spoken turn; its transcript and its answer.
async fn turn(server: &Server, samples: &[i16]) -> (String, String) {
    let mut client = Client::admitted(server.address()).await;
    let input = json!({"turn_detection": null, "transcription": {"language": "en"}});
    let session = json!({"type": "realtime", "output_modalities": ["text"], "audio": {"input": input}});
    client.send(json!({"type": "session.update", "session": session})).await;
    client.until("session.updated").await;
    let audio = STANDARD.encode(pcm::to_le_bytes(samples));
    client.send(json!({"type": "input_audio_buffer.append", "audio": audio})).await;
    client.send(json!({"type": "input_audio_buffer.commit"})).await;
    let done = client.until("conversation.item.input_audio_transcription.completed").await;
    client.send(json!({"type": "response.create"})).await;
    (done["transcript"].as_str().expect("a text").to_owned(), client.answer().await)
}

#[tokio::test]
async fn a_server_hears_with_moonshine_at_home_and_in_a_process() {
    // Whole frames of the voice detector, all of them loud: one piece, as it is.
    let file = sound(16_000.0, 63 * 256);
    let speech = sound(24_000.0, 36_000);
    let expected = heard(&file).await;
    assert!(!expected.is_empty(), "else there is nothing to compare");
    let mut turns = Vec::new();
    for placement in [Placement::Server, Placement::Process] {
        let server = start(hearing(placement)).await;
        let answer = transcribe(&server, &encode_wav(&file, 16_000)).await;
        assert_eq!(answer["text"], expected, "{placement:?}");
        let (said, answer) = turn(&server, &speech).await;
        assert_eq!(answer, format!("You said: {said}"));
        turns.push(said);
        let models = get(server.address(), "/v1/models").await;
        let ears = &models["data"][0];
        assert_eq!(
            (&ears["id"], &ears["antiphon"]["languages"]),
            (&json!("moonshine"), &json!(["en"])),
            "{models}"
        );
        server.stop().await.expect("everything ends");
    }
    assert!(!turns[0].is_empty() && turns[0] == turns[1], "{turns:?}");
}
