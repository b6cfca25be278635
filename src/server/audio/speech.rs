//! `POST /v1/audio/speech`: speech of a text through the shared voices, sent as it is made.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::speaking::{Speaker, Speaking};
use crate::engine::model::ModelKind;
use crate::engine::tts::OPENAI_VOICES;
use crate::pool::ResourcePoolManager;
use crate::server::access::caller;
use crate::server::models;
use crate::server::outside::{self, Outside, RequestError};
use crate::server::router::ServerState;
use crate::session::lifecycle::RequestKind;

/// Longest text, in characters: OpenAI's limit.
const MAX_INPUT_CHARS: usize = 4_096;
/// How long it may take as a whole: what stock clients wait at most.
const DEADLINE: Duration = Duration::from_secs(600);
/// The formats that are made.
const FORMATS: [&str; 2] = ["wav", "pcm"];
/// OpenAI's other formats. Its default is `mp3`; here it is `wav`, which every player knows as well.
const UNSERVED: [&str; 4] = ["mp3", "opus", "aac", "flac"];

/// The request's body.
#[derive(Debug, Deserialize)]
pub(super) struct SpeechRequest {
    input: String,
    model: Option<String>,
    voice: Option<VoiceName>,
    #[serde(default = "wav")]
    response_format: String,
    #[serde(default = "normal_speed")]
    speed: f32,
    #[serde(default)]
    stream_format: StreamFormat,
}

/// A name, or an object that holds one, as newer clients send.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum VoiceName {
    Name(String),
    Object { id: String },
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum StreamFormat {
    /// The audio itself.
    #[default]
    Audio,
    /// Events that hold it in base64.
    Sse,
}

fn wav() -> String {
    FORMATS[0].to_owned()
}

const fn normal_speed() -> f32 {
    1.0
}

/// Speaks a text.
pub(super) async fn speech(
    State(state): State<ServerState>,
    headers: HeaderMap,
    body: Result<Json<SpeechRequest>, JsonRejection>,
) -> Response {
    // Who asks comes before what is asked.
    if let Err(refusal) = caller(&headers, &state.config) {
        return *refusal;
    }
    let request = match outside::json_body(body) {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    if let Err(refusal) = models::check(&state.models, request.model.as_deref(), ModelKind::TextToSpeech) {
        return *refusal;
    }
    let speaking = match speaking(&request, &state.pools) {
        Ok(speaking) => speaking,
        Err(error) => return error.response(),
    };
    let outside = match Outside::begin(&state, &headers, RequestKind::Speech) {
        Ok(outside) => outside,
        Err(refusal) => return *refusal,
    };
    let (pools, holder, tracker) = (state.pools.clone(), outside.holder, outside.tracker.clone());
    let is_wav = speaking.wav;
    let results = outside
        .start("speech", DEADLINE, |results| Speaker { pools, holder, tracker, results }.speak(speaking));
    match (outside::begun(results).await, request.stream_format) {
        (Err(error), _) => error.response(),
        (Ok(audio), StreamFormat::Audio) => {
            let kind = if is_wav { "audio/wav" } else { "audio/pcm" };
            ([(header::CONTENT_TYPE, kind)], Body::from_stream(audio)).into_response()
        }
        (Ok(audio), StreamFormat::Sse) => events(audio).into_response(),
    }
}

fn speaking(request: &SpeechRequest, pools: &ResourcePoolManager) -> Result<Speaking, RequestError> {
    let length = request.input.chars().count();
    if request.input.trim().is_empty() {
        return Err(RequestError::field("input", "'input' is empty; give the text to speak."));
    }
    if length > MAX_INPUT_CHARS {
        let message = format!("'input' has {length} characters, the limit is {MAX_INPUT_CHARS}.");
        return Err(RequestError::field("input", message));
    }
    if !(0.25..=4.0).contains(&request.speed) {
        let message = format!("'speed' is {}, it must be from 0.25 to 4.0.", request.speed);
        return Err(RequestError::field("speed", message));
    }
    let voice = match &request.voice {
        None => OPENAI_VOICES[0].to_owned(),
        Some(VoiceName::Name(name) | VoiceName::Object { id: name }) => known_voice(name, pools)?,
    };
    let wav = is_wav(&request.response_format)?;
    Ok(Speaking { text: request.input.clone(), voice, speed: request.speed, wav })
}

fn is_wav(format: &str) -> Result<bool, RequestError> {
    if FORMATS.contains(&format) {
        return Ok(format == FORMATS[0]);
    }
    let what = if UNSERVED.contains(&format) { "is not made here" } else { "is unknown" };
    let message = format!("'response_format' is '{format}', which {what}. Use 'wav' (the default) or 'pcm'.");
    Err(RequestError::field("response_format", message))
}

/// OpenAI's names are spoken by every voice engine in some voice of its own; others must be known.
fn known_voice(name: &str, pools: &ResourcePoolManager) -> Result<String, RequestError> {
    let voices: Vec<String> = pools.tts.engines().iter().flat_map(|engine| engine.voices()).collect();
    let base = name.split('+').next().unwrap_or(name); // espeak-ng: language+variant
    if OPENAI_VOICES.contains(&name) || voices.iter().any(|voice| voice == name || voice == base) {
        return Ok(name.to_owned());
    }
    let others = voices.iter().map(String::as_str).filter(|voice| !OPENAI_VOICES.contains(voice));
    let known: Vec<&str> = OPENAI_VOICES.into_iter().chain(others).collect();
    let message = format!("There is no voice '{name}'. There is: {}.", known.join(", "));
    Err(RequestError::field("voice", message))
}

/// The audio as server-sent events, `speech.audio.delta` and at last `speech.audio.done`.
fn events(
    audio: impl Stream<Item = Result<Bytes, RequestError>> + Send + 'static,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let done = stream::iter([Ok::<Option<Bytes>, RequestError>(None)]);
    let pieces = audio.map(|piece| piece.map(Some)).chain(done);
    // After an error nothing follows.
    let events = pieces.scan(false, |failed, piece| {
        let event = (!*failed).then(|| event(&piece));
        *failed |= piece.is_err();
        std::future::ready(event)
    });
    Sse::new(events.map(|event| Event::default().json_data(event))).keep_alive(KeepAlive::default())
}

fn event(piece: &Result<Option<Bytes>, RequestError>) -> Value {
    match piece {
        Ok(Some(bytes)) => json!({"type": "speech.audio.delta", "audio": STANDARD.encode(bytes)}),
        // Voices have no tokens; the field is one that clients read.
        Ok(None) => {
            let usage = json!({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0});
            json!({"type": "speech.audio.done", "usage": usage})
        }
        Err(error) => error.event(),
    }
}
