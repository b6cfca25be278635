//! The protocol as this client reads and writes it. Pure.
//!
//! On purpose not the server's own types: a client that shared them would not notice a field that the server spells
//! wrongly. Only what is needed is read, everything else is skipped, as stock clients do.

use std::collections::BTreeMap;

use antiphon::audio::AudioFormat;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::args::{Transport, TurnDetection};

/// What the server says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum ServerEvent {
    #[serde(rename = "session.created")]
    SessionCreated { session: Id },
    #[serde(rename = "session.updated")]
    SessionUpdated { session: Id },
    #[serde(rename = "error")]
    Error { error: WireError },
    #[serde(rename = "input_audio_buffer.speech_started")]
    SpeechStarted { item_id: String },
    #[serde(rename = "input_audio_buffer.speech_stopped")]
    SpeechStopped { item_id: String },
    #[serde(rename = "input_audio_buffer.committed")]
    Committed { item_id: String },
    #[serde(rename = "conversation.item.added")]
    ItemAdded { item: Id },
    #[serde(rename = "conversation.item.done")]
    ItemDone { item: Id },
    #[serde(rename = "conversation.item.truncated")]
    ItemTruncated { item_id: String },
    #[serde(rename = "conversation.item.input_audio_transcription.delta")]
    TranscriptDelta { item_id: String },
    #[serde(rename = "conversation.item.input_audio_transcription.completed")]
    Transcript { item_id: String, transcript: String },
    #[serde(rename = "conversation.item.input_audio_transcription.failed")]
    TranscriptFailed { item_id: String, error: WireError },
    #[serde(rename = "response.created")]
    ResponseCreated { response: Response },
    #[serde(rename = "response.done")]
    ResponseDone { response: Response },
    #[serde(rename = "response.output_item.added")]
    OutputItemAdded { response_id: String, item: Id },
    #[serde(rename = "response.content_part.added")]
    PartAdded {
        response_id: String,
        item_id: String,
        #[serde(default)]
        antiphon: Option<PartExtension>,
    },
    /// A binary frame: the number of its audio stream, and audio.
    #[serde(skip)]
    BinaryAudio { stream: u32, audio: Vec<u8> },
    #[serde(rename = "response.output_audio.delta")]
    AudioDelta { response_id: String, item_id: String, delta: String },
    #[serde(rename = "response.output_audio_transcript.delta", alias = "response.output_text.delta")]
    TextDelta { response_id: String, item_id: String, delta: String },
    #[serde(rename = "response.output_audio_transcript.done")]
    TranscriptDone { response_id: String, transcript: String },
    #[serde(other)]
    Other,
}

/// An object of which only the id matters.
#[derive(Debug, Deserialize)]
pub(crate) struct Id {
    pub(crate) id: String,
}

/// A response at its beginning or end.
#[derive(Debug, Deserialize)]
pub(crate) struct Response {
    pub(crate) id: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) status_details: Option<Value>,
    #[serde(default)]
    pub(crate) antiphon: Option<Extension>,
}

/// What Antiphon adds to a part where audio is binary.
#[derive(Debug, Deserialize)]
pub(crate) struct PartExtension {
    pub(crate) audio_stream: u32,
}

/// What Antiphon adds to a finished response; other servers do not.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Extension {
    /// How long the parts of the turn took, in milliseconds.
    #[serde(default)]
    pub(crate) timings_ms: BTreeMap<String, Option<f64>>,
}

/// Why something failed.
#[derive(Debug, Deserialize)]
pub(crate) struct WireError {
    #[serde(default)]
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) message: Option<String>,
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.as_deref().unwrap_or("no code");
        write!(f, "{code}: {}", self.message.as_deref().unwrap_or("no message"))
    }
}

/// How the session is to be.
#[derive(Clone, Debug)]
pub(crate) struct SessionWish {
    pub(crate) format: AudioFormat,
    pub(crate) turn_detection: TurnDetection,
    pub(crate) silence_ms: Option<u32>,
    pub(crate) text: bool,
    pub(crate) instructions: Option<String>,
}

impl SessionWish {
    /// The `session.update` event.
    pub(crate) fn update(&self) -> String {
        let mut session = json!({
            "type": "realtime",
            "output_modalities": [if self.text { "text" } else { "audio" }],
            "audio": {
                "input": {
                    "format": format_object(self.format),
                    "transcription": {"model": "whisper-1"},
                    "turn_detection": self.turn_detection(),
                },
                "output": {"format": format_object(self.format)},
            },
        });
        if let Some(instructions) = &self.instructions {
            session["instructions"] = json!(instructions);
        }
        json!({"type": "session.update", "session": session}).to_string()
    }

    fn turn_detection(&self) -> Value {
        match self.turn_detection {
            _ if self.text => Value::Null,
            TurnDetection::Manual => Value::Null,
            TurnDetection::SemanticVad => {
                json!({"type": "semantic_vad", "create_response": true, "interrupt_response": true})
            }
            TurnDetection::ServerVad => {
                let mut detection =
                    json!({"type": "server_vad", "create_response": true, "interrupt_response": true});
                if let Some(silence_ms) = self.silence_ms {
                    detection["silence_duration_ms"] = json!(silence_ms);
                }
                detection
            }
        }
    }
}

fn format_object(format: AudioFormat) -> Value {
    match format {
        AudioFormat::Pcm16 => json!({"type": "audio/pcm", "rate": 24_000}),
        AudioFormat::Pcmu => json!({"type": "audio/pcmu"}),
        AudioFormat::Pcma => json!({"type": "audio/pcma"}),
        AudioFormat::Opus => json!({"type": "audio/opus"}),
    }
}

/// One frame of the microphone.
pub(crate) fn append(transport: Transport, audio: Vec<u8>) -> Message {
    match transport {
        Transport::Json => Message::Text(append_event(&audio).into()),
        Transport::Binary => Message::Binary(audio.into()),
    }
}

/// Written by hand: it is the hottest path of this program.
pub(crate) fn append_event(audio: &[u8]) -> String {
    let mut event = String::with_capacity(audio.len() * 4 / 3 + 64);
    event.push_str(r#"{"type":"input_audio_buffer.append","audio":""#);
    STANDARD.encode_string(audio, &mut event);
    event.push_str("\"}");
    event
}

/// An event without fields.
pub(crate) fn bare(kind: &str) -> String {
    json!({"type": kind}).to_string()
}

/// A typed message of the user.
pub(crate) fn user_text(text: &str) -> String {
    let content = json!([{"type": "input_text", "text": text}]);
    let item = json!({"type": "message", "role": "user", "content": content});
    json!({"type": "conversation.item.create", "item": item}).to_string()
}

/// Tells how much of an answer was heard.
pub(crate) fn truncate(item_id: &str, heard_ms: u64) -> String {
    let kind = "conversation.item.truncate";
    json!({"type": kind, "item_id": item_id, "content_index": 0, "audio_end_ms": heard_ms}).to_string()
}

/// The bytes of a base64 text; none where it is no base64.
pub(crate) fn decoded(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap_or_default()
}

/// A binary frame of the server; `None` where it is too short for one.
pub(crate) fn binary_audio(frame: &[u8]) -> Option<ServerEvent> {
    let (stream, audio) = frame.split_first_chunk::<4>()?;
    Some(ServerEvent::BinaryAudio { stream: u32::from_be_bytes(*stream), audio: audio.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> SessionWish {
        SessionWish {
            format: AudioFormat::Pcm16,
            turn_detection: TurnDetection::ServerVad,
            silence_ms: None,
            text: false,
            instructions: None,
        }
    }

    #[test]
    fn the_session_is_asked_for_as_the_reference_says() {
        let event: Value = serde_json::from_str(&wish().update()).unwrap();
        let session = &event["session"];
        assert_eq!((&event["type"], &session["type"]), (&json!("session.update"), &json!("realtime")));
        let input = &session["audio"]["input"];
        assert_eq!(input["format"], json!({"type": "audio/pcm", "rate": 24_000}));
        assert_eq!(input["turn_detection"]["type"], "server_vad");
        assert!(input["turn_detection"].get("silence_duration_ms").is_none(), "the server's default holds");
        let manual = SessionWish { turn_detection: TurnDetection::Manual, ..wish() };
        let event: Value = serde_json::from_str(&manual.update()).unwrap();
        assert!(event["session"]["audio"]["input"]["turn_detection"].is_null());
    }

    #[test]
    fn the_server_reads_what_is_sent() {
        use antiphon::protocol::{ClientEvent, parse_client_event};
        for detection in [TurnDetection::ServerVad, TurnDetection::SemanticVad, TurnDetection::Manual] {
            let wish = SessionWish { turn_detection: detection, silence_ms: Some(400), ..wish() };
            let message = parse_client_event(&wish.update()).unwrap();
            assert!(matches!(message.event, ClientEvent::SessionUpdate(_)), "{message:?}");
        }
        let typing = SessionWish { text: true, format: AudioFormat::Pcma, ..wish() };
        let kinds =
            ["input_audio_buffer.commit", "input_audio_buffer.clear", "response.create", "response.cancel"];
        let events = [typing.update(), append_event(&[1, 2]), user_text("Hello."), truncate("item_1", 700)];
        for event in events.into_iter().chain(kinds.map(bare)) {
            assert!(parse_client_event(&event).is_ok(), "{event}");
        }
    }

    #[test]
    fn audio_frames_are_json_and_their_length_is_known() {
        for length in [0, 1, 2, 3, 960] {
            let audio = vec![7; length];
            let event: Value = serde_json::from_str(&append_event(&audio)).unwrap();
            let text = event["audio"].as_str().unwrap();
            assert_eq!(STANDARD.decode(text).unwrap(), audio);
            assert_eq!(decoded(text).len(), length);
        }
    }

    #[test]
    fn events_are_read_and_strangers_skipped() {
        let done = r#"{"type":"response.done","event_id":"e","response":{"id":"r","status":"completed",
            "status_details":null,"antiphon":{"timings_ms":{"stt":41.5,"queue":null}}}}"#;
        let ServerEvent::ResponseDone { response } = serde_json::from_str(done).unwrap() else {
            panic!("{done}")
        };
        assert_eq!(response.antiphon.unwrap().timings_ms["stt"], Some(41.5));
        let other: ServerEvent =
            serde_json::from_str(r#"{"type":"rate_limits.updated","rate_limits":[]}"#).unwrap();
        assert!(matches!(other, ServerEvent::Other));
    }
}
