//! `/v1/audio` over real sockets: what is refused, what fails, who is cancelled, and that nothing is held for a
//! client that is gone or does not read. Scripted engines.

use std::net::SocketAddr;
use std::time::Duration;

use crate::socket::{DEADLINE, config, get, see, start};
use antiphon::app::Server;
use antiphon::audio::wav::encode_wav;
use antiphon::backend::catalog::{SttConfig, TtsConfig};
use antiphon::backend::scripted::{Hang, ScriptedSttConfig, ScriptedTtsConfig, Step};
use antiphon::config::Config;
use antiphon::server::{KeyConfig, KeyRole};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const BOUNDARY: &str = "----antiphon";

fn hearing(calls: Vec<Vec<Step>>) -> Config {
    let mut config = config();
    config.engines.stt = vec![SttConfig::Scripted(ScriptedSttConfig { calls, ..Default::default() })];
    config
}

fn speaking(calls: Vec<Vec<Step>>) -> Config {
    let mut config = config();
    config.engines.tts = vec![TtsConfig::Scripted(ScriptedTtsConfig { calls, ..Default::default() })];
    config
}

fn with_key(mut config: Config) -> Config {
    let sha256 = Sha256::digest("anna").iter().map(|byte| format!("{byte:02x}")).collect();
    config.server.auth.keys = vec![KeyConfig { name: "anna".to_owned(), sha256, role: KeyRole::Admin }];
    config
}

/// Spans of a loud tone or of silence, in milliseconds, at 16 kHz.
fn recording(spans: &[(bool, usize)]) -> Vec<u8> {
    let tone = |n: usize| if (n / 20).is_multiple_of(2) { 8_000 } else { -8_000 };
    let span = |(loud, ms): &(bool, usize)| {
        let loud = *loud;
        (0..ms * 16).map(move |n| if loud { tone(n) } else { 0 })
    };
    encode_wav(&spans.iter().flat_map(span).collect::<Vec<i16>>(), 16_000)
}

fn two_sentences() -> Vec<u8> {
    recording(&[(false, 500), (true, 1_000), (false, 1_000), (true, 2_000), (false, 500)])
}

fn form(file: Option<&[u8]>, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(head.as_bytes());
    }
    if let Some(file) = file {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n"
        );
        body.extend(head.as_bytes());
        body.extend(file);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

/// A request on its way; the answer may be read piece by piece, or never.
struct Request(TcpStream);

impl Request {
    async fn send(address: SocketAddr, (path, kind): (&str, &str), body: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer anna\r\nConnection: close\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("writes");
        // A server that refuses the body may close before it is whole.
        stream.write_all(body).await.ok();
        Self(stream)
    }

    async fn transcription(address: SocketAddr, file: Option<&[u8]>, fields: &[(&str, &str)]) -> Self {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        Self::send(address, ("/v1/audio/transcriptions", &kind), &form(file, fields)).await
    }

    async fn speech(address: SocketAddr, body: &Value) -> Self {
        Self::send(address, ("/v1/audio/speech", "application/json"), body.to_string().as_bytes()).await
    }

    /// What comes until `wanted` bytes are there, or the end.
    async fn read(&mut self, wanted: usize) -> Vec<u8> {
        let mut answer = Vec::new();
        let read = async {
            while answer.len() < wanted && self.0.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {}
        };
        timeout(DEADLINE, read).await.expect("in time");
        answer
    }

    /// The status and the body as it came, chunks and all.
    async fn answer(mut self) -> (u16, String) {
        let answer = self.read(usize::MAX).await;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    async fn json(self) -> (u16, Value) {
        let (status, body) = self.answer().await;
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}")))
    }
}

async fn transcribe(server: &Server, fields: &[(&str, &str)]) -> (u16, Value) {
    Request::transcription(server.address(), Some(&two_sentences()), fields).await.json().await
}

/// Waits until nothing is under way and no slot is held.
async fn idle(server: &Server, status: &str) {
    let requests =
        see(server.address(), "/api/requests", |seen| seen["requests"][0]["status"] == status).await;
    assert_eq!(requests["requests"].as_array().map(Vec::len), Some(1), "{requests}");
    see(server.address(), "/api/status", |seen| {
        let pools = seen["pools"].as_array().expect("pools");
        seen["requests"]["active"] == 0 && pools.iter().all(|pool| pool["in_use"] == 0)
    })
    .await;
}

#[tokio::test]
async fn a_file_is_cut_at_its_pauses_and_each_piece_is_a_call() {
    let server = start(config()).await;
    let (status, answer) =
        transcribe(&server, &[("response_format", "verbose_json"), ("language", "de")]).await;
    assert_eq!(
        (status, &answer["duration"], &answer["language"]),
        (200, &json!(5.0), &json!("de")),
        "{answer}"
    );
    let segments = answer["segments"].as_array().expect("a list");
    let near = |value: &Value, expected: f64| (value.as_f64().expect("a time") - expected).abs() < 0.05;
    assert_eq!(segments.len(), 2, "{answer}");
    assert!(near(&segments[0]["start"], 0.5) && near(&segments[0]["end"], 1.5), "{answer}");
    assert!(near(&segments[1]["start"], 2.5) && near(&segments[1]["end"], 4.5), "{answer}");
    let text = answer["text"].as_str().expect("a text");
    assert!(text.starts_with("utterance 1 of 1") && text.contains(" utterance 2 of 2"), "{text}");
    let record = get(server.address(), "/api/requests").await["requests"][0].clone();
    assert_eq!(
        (&record["kind"], &record["status"]),
        (&json!("transcription"), &json!("COMPLETED")),
        "{record}"
    );
    assert_eq!((&record["session"], &record["stages"][0]["calls"]), (&Value::Null, &json!(2)));
    let silence = recording(&[(false, 3_000)]);
    let (status, answer) = Request::transcription(server.address(), Some(&silence), &[]).await.json().await;
    assert_eq!((status, &answer["text"]), (200, &json!("")), "no engine is asked for silence");
    assert_eq!(get(server.address(), "/api/requests").await["requests"][0]["stages"], json!([]));
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_field() {
    let mut config = config();
    config.server.uploads.max_bytes = 200_000;
    config.server.uploads.max_audio_s = 6;
    let server = start(config).await;
    let address = server.address();
    for (fields, status, param, code) in [
        (&[("response_format", "yaml")][..], 400, "response_format", "invalid_value"),
        (&[("stream", "true"), ("response_format", "srt")], 400, "response_format", "invalid_value"),
        (&[("include[]", "words")], 400, "include", "invalid_value"),
        (&[("timestamp_granularities[]", "word")], 400, "timestamp_granularities", "invalid_value"),
        // The engine does not know them.
        (
            &[("timestamp_granularities[]", "word"), ("response_format", "verbose_json")],
            400,
            "timestamp_granularities",
            "invalid_value",
        ),
        (&[("model", "wisper")], 404, "model", "model_not_found"),
    ] {
        let (found, answer) = transcribe(&server, fields).await;
        let error = &answer["error"];
        assert_eq!(
            (found, &error["param"], &error["code"]),
            (status, &json!(param), &json!(code)),
            "{answer}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    let long = recording(&[(true, 1_000), (false, 5_100)]);
    let large = vec![0; 300_000];
    for (file, status, code) in [
        (None, 400, "invalid_value"),
        (Some(b"no audio".as_slice()), 400, "invalid_value"),
        (Some(&long), 413, "audio_too_long"),
        (Some(&large), 413, "request_too_large"),
    ] {
        let (found, answer) = Request::transcription(address, file, &[]).await.json().await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{answer}");
        assert_eq!(answer["error"]["param"], "file");
    }
    let no_form = Request::send(address, ("/v1/audio/transcriptions", "application/json"), b"{}").await;
    let (status, answer) = no_form.json().await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_request")), "{answer}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn an_engine_that_fails_is_told_with_a_status_or_in_the_stream() {
    let fails = || vec![Step::error(1, "broken")];
    let server = start(hearing(vec![fails(), fails(), vec![Step::text(1, "First.")], fails()])).await;
    let (status, answer) = transcribe(&server, &[]).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (502, &json!("server_error")),
        "both tries failed: {answer}"
    );
    let record = get(server.address(), "/api/requests").await["requests"][0].clone();
    assert_eq!(record["status"], "ERROR", "{record}");
    let (status, body) =
        Request::transcription(server.address(), Some(&two_sentences()), &[("stream", "true")])
            .await
            .answer()
            .await;
    let events: Vec<Value> = body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    assert_eq!((status, events.len()), (200, 2), "{body}");
    assert_eq!(events[0], json!({"type": "transcript.text.delta", "delta": "First."}));
    assert_eq!((&events[1]["type"], &events[1]["error"]["code"]), (&json!("error"), &json!("server_error")));
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let mut config = hearing(vec![vec![Step::hang(Hang::UntilCancelled)]]);
    config.server.uploads.max_at_once = 1;
    let server = start(config).await;
    let request = Request::transcription(server.address(), Some(&two_sentences()), &[]).await;
    see(server.address(), "/api/status", |seen| seen["pools"][0]["in_use"] == 1).await;
    let (status, answer) = transcribe(&server, &[]).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("overloaded")), "one file at once: {answer}");
    assert!(
        answer["error"]["message"].as_str().is_some_and(|text| text.contains("server.uploads.max_at_once"))
    );
    drop(request);
    see(server.address(), "/api/status", |seen| {
        seen["requests"]["active"] == 0
            && seen["requests"]["cancelled"] == 1
            && seen["pools"][0]["in_use"] == 0
    })
    .await;
    let next = Request::transcription(server.address(), Some(&two_sentences()), &[]).await;
    see(server.address(), "/api/status", |seen| seen["pools"][0]["in_use"] == 1).await;
    drop(next);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_transcription_counts_against_its_user_and_can_be_cancelled() {
    let mut config = with_key(hearing(vec![vec![Step::hang(Hang::UntilCancelled)]]));
    config.session.per_user.max_concurrent_requests = 1;
    let server = start(config).await;
    let running = Request::transcription(server.address(), Some(&two_sentences()), &[]).await;
    let list = "GET /api/requests?active=true\nAuthorization: Bearer anna";
    let id = loop {
        let (_, seen) = crate::socket::http(server.address(), list, "").await;
        if let Some(id) = seen["requests"][0]["id"].as_str() {
            break id.to_owned();
        }
    };
    let (status, refused) = transcribe(&server, &[]).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (429, &json!("user_concurrency_limit_exceeded")),
        "{refused}"
    );
    let cancel = format!("DELETE /api/requests/{id}\nAuthorization: Bearer anna");
    assert_eq!(crate::socket::http(server.address(), &cancel, "").await.0, 200);
    let (status, answer) = running.json().await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("request_cancelled")), "{answer}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_server_that_stops_answers_what_is_under_way() {
    let mut config = hearing(vec![vec![Step::hang(Hang::UntilCancelled)]]);
    config.session.limits.drain_ms = 0;
    let server = start(config).await;
    let request = Request::transcription(server.address(), Some(&two_sentences()), &[]).await;
    see(server.address(), "/api/status", |seen| seen["pools"][0]["in_use"] == 1).await;
    let (answer, stopped) = tokio::join!(request.json(), server.stop());
    stopped.expect("everything ends");
    assert_eq!((answer.0, &answer.1["error"]["code"]), (503, &json!("server_shutting_down")), "{answer:?}");
}

#[tokio::test]
async fn speech_leaves_while_the_rest_is_made() {
    let say = || vec![Step::text(1, "{text}")];
    let server = start(speaking(vec![say(), vec![Step::hang(Hang::UntilCancelled)]])).await;
    let body = json!({"input": "Good morning, everybody. This is the second sentence.", "voice": "tone"});
    let mut request = Request::speech(server.address(), &body).await;
    let begin = request.read(20_000).await;
    let head = String::from_utf8_lossy(&begin);
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("chunked") && head.contains("audio/wav"),
        "{head}"
    );
    let wav = begin.windows(4).position(|bytes| bytes == b"RIFF").expect("a header");
    assert_eq!(&begin[wav + 8..wav + 12], b"WAVE");
    assert_eq!(get(server.address(), "/api/status").await["requests"]["active"], 1, "the rest is still made");
    drop(request);
    idle(&server, "CANCELLED").await;
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn speech_that_fails_has_a_status_at_first_and_breaks_off_later() {
    let (say, fails) = (|| vec![Step::text(1, "{text}")], || vec![Step::error(1, "broken")]);
    let mut config = speaking(vec![fails(), fails(), say(), fails()]);
    config.pools.breaker_failures = 100;
    let server = start(config).await;
    let body = json!({"input": "Good morning, everybody. This is the second sentence."});
    let (status, answer) = Request::speech(server.address(), &body).await.json().await;
    assert_eq!((status, &answer["error"]["code"]), (502, &json!("server_error")), "{answer}");
    let (status, sent) = Request::speech(server.address(), &body).await.answer().await;
    assert_eq!(status, 200);
    assert!(!sent.ends_with("0\r\n\r\n"), "a body that broke off does not look whole");
    let sse = json!({"input": "Good morning, everybody.", "stream_format": "sse"});
    let (_, events) = Request::speech(server.address(), &sse).await.answer().await;
    assert!(events.contains(r#""code":"server_error""#) && !events.contains("speech.audio.done"), "{events}");
    let record = get(server.address(), "/api/requests").await["requests"][0].clone();
    assert_eq!(record["status"], "ERROR", "{record}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_no_voice() {
    let server = start(config()).await;
    // About 250 s of speech, 12 MB: more than sockets hold.
    let input = "This sentence is here to be spoken and then not heard. ".repeat(70);
    let request = Request::speech(server.address(), &json!({"input": input, "response_format": "pcm"})).await;
    let mut quiet = 0;
    while quiet < 50 {
        let status = get(server.address(), "/api/status").await;
        assert_eq!(status["requests"]["active"], 1);
        quiet = if status["pools"][2]["in_use"] == 0 { quiet + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (_, body) = request.answer().await;
    assert!(body.ends_with("0\r\n\r\n"), "it is all there when the client reads on");
    idle(&server, "COMPLETED").await;
    server.stop().await.expect("everything ends");
}
