//! Speech-to-text behind a URL.

use std::sync::Arc;

use antiphon::audio::wav::decode_wav;
use antiphon::backend::openai::{OpenAiStt, OpenAiSttConfig, TranscriptFormat};
use antiphon::engine::stt::{SttEngine, SttRequest, Transcript};
use antiphon::engine::{CancelFlag, EngineError};
use serde_json::json;
use tokio::time::timeout;

use crate::reply::{Act, Reply, Seen};
use crate::server::{DEADLINE, FaultServer};

fn config(server: &FaultServer) -> OpenAiSttConfig {
    OpenAiSttConfig { url: server.url(), model: "whisper-1".into(), ..OpenAiSttConfig::default() }
}

async fn hear(config: &OpenAiSttConfig, request: SttRequest) -> Result<Transcript, EngineError> {
    let engine = OpenAiStt::open(config).expect("it opens");
    timeout(DEADLINE, engine.transcribe(request, CancelFlag::new())).await.expect("in time")
}

fn speech() -> SttRequest {
    let audio: Vec<f32> = (0..3200).map(|n| (n as f32 / 10.0).sin() / 2.0).collect();
    SttRequest { audio: Arc::from(audio), language: None, prompt: None, word_times: false }
}

/// The fields of a form: name and value.
fn fields(seen: &Seen) -> Vec<(String, Vec<u8>)> {
    let kind = seen.header("content-type").expect("a form");
    let boundary = format!("--{}", kind.split_once("boundary=").expect("a boundary").1);
    let (body, mut found) = (&seen.body, Vec::new());
    let mut places: Vec<usize> =
        (0..body.len()).filter(|at| body[*at..].starts_with(boundary.as_bytes())).collect();
    places.dedup();
    for pair in places.windows(2) {
        let part = &body[pair[0] + boundary.len() + 2..pair[1] - 2];
        let end = part.windows(4).position(|four| four == b"\r\n\r\n").expect("its head ends");
        let head = String::from_utf8_lossy(&part[..end]).into_owned();
        let name = head.split("name=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a name");
        found.push((name.to_owned(), part[end + 4..].to_vec()));
    }
    found
}

#[tokio::test]
async fn an_utterance_is_sent_as_a_wav_and_its_text_comes_back() {
    let server = FaultServer::start([Reply::json(200, &json!({ "text": " Good morning. " }))]).await;
    for _ in 0..2 {
        let request = SttRequest { language: Some("de".into()), prompt: Some("Antiphon".into()), ..speech() };
        assert_eq!(hear(&config(&server), request).await.expect("heard").text, "Good morning.");
    }
    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/v1/audio/transcriptions");
    let fields = fields(seen);
    let text = |name: &str| {
        let (_, value) = fields.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("{name}"));
        String::from_utf8_lossy(value).into_owned()
    };
    assert_eq!(
        (text("model"), text("language"), text("prompt"), text("response_format")),
        ("whisper-1".into(), "de".into(), "Antiphon".into(), "json".into())
    );
    let (_, file) = fields.iter().find(|(name, _)| name == "file").expect("a file");
    let audio = decode_wav(file).expect("a WAV");
    assert_eq!((audio.sample_rate, audio.samples.len()), (16_000, 3200));
    let expected = (100.0_f32 / 10.0).sin() / 2.0 * 32_767.0;
    assert!((f32::from(audio.samples[100]) - expected).abs() < 2.0, "{}", audio.samples[100]);
}

#[tokio::test]
async fn times_of_words_are_asked_for_and_handed_on() {
    let word =
        json!([{ "word": "Good", "start": 0.02, "end": 0.1 }, { "word": "day.", "start": 0.1, "end": 0.2 }]);
    let server = FaultServer::start([
        Reply::json(200, &json!({ "text": "Good day.", "words": word })),
        Reply::json(200, &json!({ "text": "Good day." })),
    ])
    .await;
    let verbose = OpenAiSttConfig { response_format: TranscriptFormat::VerboseJson, ..config(&server) };
    let asked = SttRequest { word_times: true, ..speech() };
    let heard = hear(&verbose, asked.clone()).await.expect("heard");
    let times: Vec<_> =
        heard.words.iter().map(|word| (word.text.as_str(), word.start_ms, word.end_ms)).collect();
    assert_eq!(times, [("Good", 20, 100), ("day.", 100, 200)]);
    let EngineError::Failed { reason, .. } = hear(&verbose, asked.clone()).await.expect_err("none came")
    else {
        panic!("not a failure")
    };
    assert!(reason.contains("no times of words"), "{reason}");
    // Who asks for `json` alone is not told that there are any.
    assert_eq!(hear(&config(&server), asked).await.expect("heard").words, []);
    let granularities = |seen: &Seen| {
        let fields = fields(seen);
        let named = fields.iter().filter(|(name, _)| name == "timestamp_granularities[]");
        named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
    };
    let seen = server.seen();
    assert_eq!(granularities(&seen[0]), ["word", "segment"]);
    assert_eq!(granularities(&seen[2]), Vec::<String>::new());
    assert!(OpenAiStt::open(&verbose).expect("it opens").tells_word_times());
    assert!(!OpenAiStt::open(&config(&server)).expect("it opens").tells_word_times());
}

#[tokio::test]
async fn one_connection_serves_many_utterances() {
    let server = FaultServer::start([Reply::json(200, &json!({ "text": "Yes." }))]).await;
    let engine = OpenAiStt::open(&config(&server)).expect("it opens");
    for _ in 0..3 {
        engine.transcribe(speech(), CancelFlag::new()).await.expect("heard");
    }
    assert_eq!((server.seen().len(), server.connections()), (3, 1));
}

#[tokio::test]
async fn more_is_asked_for_where_it_is_configured() {
    let verbose = json!({
        "text": "Guten Tag.", "language": "german",
        "segments": [{ "no_speech_prob": 0.25 }],
    });
    let server = FaultServer::start([Reply::json(200, &verbose)]).await;
    let config = OpenAiSttConfig {
        language: Some("de".into()),
        response_format: TranscriptFormat::VerboseJson,
        ..config(&server)
    };
    let heard = hear(&config, speech()).await.expect("heard");
    assert_eq!((heard.language.as_deref(), heard.no_speech_probability), (Some("de"), Some(0.25)));
    let body = server.seen()[0].text();
    assert!(body.contains("verbose_json") && body.contains("\r\nde\r\n"));
}

#[tokio::test]
async fn faults_are_told() {
    let table = [
        (Reply::whole(200, "text/html", &[], b"<html>"), "failed", "no transcript"),
        (Reply::json(200, &json!({ "words": [] })), "failed", "no transcript"),
        (Reply::error(429, "rate_limit_exceeded", "slow down"), "rate_limited", "slow down"),
        (Reply::error(400, "invalid", "audio too short"), "bad_request", "audio too short"),
        (Reply::default().then(Act::Reset), "failed", "the connection broke"),
    ];
    for (reply, kind, part) in table {
        let server = FaultServer::start([reply]).await;
        let error = hear(&config(&server), speech()).await.expect_err(part);
        assert!(error.kind() == kind && error.to_string().contains(part), "{error}");
    }
    let server = FaultServer::start([Reply::error(400, "bad", "prompt 'Dr. Smith called' is bad")]).await;
    let request = SttRequest { prompt: Some("Dr. Smith called".into()), ..speech() };
    let error = hear(&config(&server), request).await.expect_err("bad").to_string();
    assert!(!error.contains("Smith"), "{error}");
}
