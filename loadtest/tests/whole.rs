//! The load tester as people run it, against a server of a few lines that behaves, is silent, or mixes sessions up.
#![expect(clippy::unwrap_used, reason = "a test says enough by where it panics")]

use std::process::{Command, Output};

use antiphon::audio::pcm;
use antiphon::audio::wav::write_wav;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// What the user says, and what the server understands.
const WORDS: &str = "Hello there.";

/// How the server behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manner {
    Good,
    /// Hears, and never answers.
    Silent,
    /// Answers about an item of somebody else.
    Leaky,
    /// Gives two seconds of audio and falls silent only when it is interrupted, or after a while.
    Talkative,
    /// Turns everybody away.
    Full,
}

/// Finds speech by loudness and answers each utterance with half a second of audio.
struct Session {
    socket: WebSocketStream<TcpStream>,
    manner: Manner,
    number: usize,
    turn: usize,
    /// Whether the client says when a turn ends.
    manual: bool,
    /// Silence since the last speech, in milliseconds; `None` before there was any.
    quiet_ms: Option<usize>,
    /// The answer that is not over, and for how long it has been going on.
    open: Option<(String, String, usize)>,
}

impl Session {
    async fn serve(mut self) {
        let session = json!({"id": format!("sess_{}", self.number)});
        if self.manner == Manner::Full {
            let error = json!({"code": "overloaded", "message": "full"});
            return self.send(json!({"type": "error", "error": error})).await;
        }
        self.send(json!({"type": "session.created", "session": session})).await;
        while let Some(Ok(Message::Text(text))) = self.socket.next().await {
            let event: Value = serde_json::from_str(&text).unwrap();
            match event["type"].as_str().unwrap() {
                "session.update" => {
                    self.manual = event["session"]["audio"]["input"]["turn_detection"].is_null();
                    self.send(json!({"type": "session.updated", "session": session})).await;
                }
                "input_audio_buffer.commit" => self.commit().await,
                "input_audio_buffer.append" if !self.manual => {
                    self.listen(event["audio"].as_str().unwrap()).await
                }
                "conversation.item.truncate" => {
                    let heard = event["audio_end_ms"].as_u64().unwrap();
                    assert!((300..1_900).contains(&heard), "{event}");
                }
                "response.create" => self.answer().await,
                _ => {}
            }
        }
    }

    async fn listen(&mut self, audio: &str) {
        let samples = pcm::from_le_bytes(&STANDARD.decode(audio).unwrap()).unwrap();
        let item = self.user_item();
        self.go_on(samples.len() / 24).await;
        if samples.iter().any(|sample| sample.unsigned_abs() > 1_000) {
            if self.quiet_ms.is_none() {
                self.send(json!({"type": "input_audio_buffer.speech_started", "item_id": item})).await;
                self.finish("cancelled").await;
            }
            self.quiet_ms = Some(0);
        } else if let Some(quiet) = &mut self.quiet_ms {
            *quiet += samples.len() / 24;
            if *quiet >= 100 {
                self.quiet_ms = None;
                self.send(json!({"type": "input_audio_buffer.speech_stopped", "item_id": item})).await;
                self.commit().await;
                self.answer().await;
            }
        }
    }

    fn user_item(&self) -> String {
        format!("user_{}_{}", self.number, self.turn)
    }

    async fn commit(&mut self) {
        let item = self.user_item();
        let transcribed = "conversation.item.input_audio_transcription.completed";
        self.send(json!({"type": "input_audio_buffer.committed", "item_id": item})).await;
        self.send(json!({"type": transcribed, "item_id": item, "transcript": WORDS})).await;
    }

    async fn answer(&mut self) {
        let (response, item) =
            (format!("resp_{}_{}", self.number, self.turn), format!("item_{}_{}", self.number, self.turn));
        self.turn += 1;
        if self.manner == Manner::Silent {
            return;
        }
        let told = if self.manner == Manner::Leaky { "item_of_another" } else { item.as_str() };
        let created = json!({"id": response, "status": "in_progress"});
        let text = "response.output_audio_transcript.delta";
        for event in [
            json!({"type": "response.created", "response": created}),
            json!({"type": "response.output_item.added", "response_id": response, "item": {"id": item}}),
            json!({"type": text, "response_id": response, "item_id": item, "delta": "Hi."}),
        ] {
            self.send(event).await;
        }
        let ms = if self.manner == Manner::Talkative { 2_000 } else { 500 };
        self.sound(&response, told, ms).await;
        self.open = Some((response, item, 0));
        if self.manner != Manner::Talkative {
            self.finish("completed").await;
        }
    }

    async fn sound(&mut self, response: &str, item: &str, ms: usize) {
        let delta = STANDARD.encode(vec![0; 48 * ms]);
        let kind = "response.output_audio.delta";
        self.send(json!({"type": kind, "response_id": response, "item_id": item, "delta": delta})).await;
    }

    async fn go_on(&mut self, ms: usize) {
        if let Some((_, _, age_ms)) = &mut self.open {
            *age_ms += ms;
            if *age_ms > 1_600 {
                self.finish("completed").await;
            }
        }
    }

    async fn finish(&mut self, status: &str) {
        let Some((response, item, _)) = self.open.take() else { return };
        self.sound(&response, &item, 20).await;
        let timings = json!({"timings_ms": {"stt": 12.5}});
        let done = json!({"id": response, "status": status, "antiphon": timings});
        self.send(json!({"type": "response.done", "response": done})).await;
    }

    async fn send(&mut self, event: Value) {
        // The client may have hung up, which ends the loop above.
        drop(self.socket.send(Message::text(event.to_string())).await);
    }
}

async fn accept(listener: TcpListener, manner: Manner) {
    let mut sessions = JoinSet::new();
    for number in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let socket = accept_async(stream).await.unwrap();
        sessions.spawn(
            Session { socket, manner, number, turn: 0, manual: false, quiet_ms: None, open: None }.serve(),
        );
    }
}

/// Runs the load tester against a server of this manner; gives what it printed and the JSON it wrote.
async fn load_test(manner: Manner, flags: &[&str]) -> (Output, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1/realtime", listener.local_addr().unwrap());
    let mut server = JoinSet::new();
    server.spawn(accept(listener, manner));
    let dir = tempfile::tempdir().unwrap();
    let tone: Vec<i16> = (0..6_000).map(|i| (8_000.0 * (f64::from(i) * 0.1).sin()) as i16).collect();
    write_wav(&dir.path().join("hello.wav"), &tone, 24_000).unwrap();
    std::fs::write(dir.path().join("hello.txt"), WORDS).unwrap();
    let json = dir.path().join("result.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon-loadtest"));
    command.args(["--url", &url, "--users", "2", "--ramp", "0.1", "--verbose"]).args(flags);
    command.arg("--json").arg(&json);
    // Only the scenario has answers that are worth interrupting.
    if !flags.contains(&"--text") && !flags.contains(&"--barge-in") {
        command.arg("--wav-dir").arg(dir.path());
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let report = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    (output, report)
}

#[tokio::test]
async fn users_talk_with_a_good_server() {
    let (output, report) = load_test(Manner::Good, &["--duration", "2"]).await;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("PASSED"), "{printed}");
    let totals = &report["totals"];
    assert!(totals["answered"].as_u64() >= Some(2), "{totals}");
    assert_eq!((&totals["failed"], &totals["word_edits"]), (&json!(0), &json!(0)), "{totals}");
    assert!(
        totals["latency_ms"]["p50"].as_f64() >= Some(80.0),
        "the silence before the answer counts: {totals}"
    );
    assert_eq!(totals["server_ms"]["stt"]["p50"], 12.5);
    assert_eq!(report["server"]["pid"], std::process::id(), "found by its port");
}

#[tokio::test]
async fn users_push_to_talk() {
    let flags = ["--duration", "1.5", "--turn-detection", "manual", "--format", "pcm"];
    let (output, report) = load_test(Manner::Good, &flags).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(report["totals"]["answered"].as_u64() >= Some(2), "{}", report["totals"]);
}

#[tokio::test]
async fn users_type() {
    let (output, report) = load_test(Manner::Good, &["--duration", "1.5", "--text"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(report["totals"]["answered"].as_u64() >= Some(2), "{}", report["totals"]);
}

#[tokio::test]
async fn users_interrupt() {
    let flags = ["--duration", "4", "--barge-in", "1"];
    let (output, report) = load_test(Manner::Talkative, &flags).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let totals = &report["totals"];
    assert!(totals["interrupted"].as_u64() >= Some(2), "{totals}");
    assert_eq!(totals["barge_in_ms"]["count"], totals["interrupted"], "{totals}");
}

#[tokio::test]
async fn silence_is_a_failed_turn() {
    let (output, report) = load_test(Manner::Silent, &["--duration", "1", "--turn-timeout", "0.5"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(report["totals"]["failed"].as_u64() >= Some(2), "{}", report["totals"]);
}

#[tokio::test]
async fn ids_of_others_are_cross_talk() {
    let (output, report) = load_test(Manner::Leaky, &["--duration", "1"]).await;
    assert_eq!(output.status.code(), Some(1));
    let cross_talk = report["totals"]["verdict"]["cross_talk"].to_string();
    assert!(cross_talk.contains("item_of_another"), "{cross_talk}");
}

#[tokio::test]
async fn a_full_server_is_reported() {
    let (output, report) = load_test(Manner::Full, &["--duration", "0.5"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(report["users"][0]["lost"].as_str().is_some_and(|why| why.contains("overloaded")), "{report}");
}
