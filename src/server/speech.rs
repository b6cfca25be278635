//! `POST /v1/audio/speech`: speech of a text through the shared voices, for pages without a microphone and for
//! tools. WAV or raw PCM at 24 kHz.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::Instant;

use super::access::{api_error, authenticate, over_quota};
use super::router::ServerState;
use crate::audio::wav::encode_wav;
use crate::audio::{AudioFormat, Resampler, pcm};
use crate::engine::tts::{TtsEvent, TtsRequest};
use crate::pool::{HolderId, LeaseRequest, WorkClass};
use crate::session::SessionError;
use crate::session::lifecycle::{Outcome, RequestTracker};

/// Longest text, in characters: OpenAI's limit.
const MAX_INPUT_CHARS: usize = 4_096;
/// Requests without a session share one place in the pools' order.
const NO_SESSION: HolderId = HolderId(u64::MAX);

/// The request's body.
#[derive(Debug, Deserialize)]
pub(super) struct SpeechRequest {
    input: String,
    #[serde(default = "default_voice")]
    voice: String,
    #[serde(default)]
    response_format: SpeechFormat,
    #[serde(default = "normal_speed")]
    speed: f32,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum SpeechFormat {
    #[default]
    Wav,
    Pcm,
}

fn default_voice() -> String {
    "alloy".to_owned()
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
    let owner = match authenticate(&headers, &state.config) {
        Ok(owner) => owner,
        Err(refusal) => return *refusal,
    };
    let request = match body {
        Ok(Json(request)) => request,
        Err(error) => return api_error(StatusCode::BAD_REQUEST, "invalid_request", &error.body_text()),
    };
    if let Some(message) = problem(&request) {
        return api_error(StatusCode::BAD_REQUEST, "invalid_value", &message);
    }
    let _permit = match state.sessions.quotas().begin_outside(&owner) {
        Ok(permit) => permit,
        Err(error) => return over_quota(&error),
    };
    let (format, tracker) = (request.response_format, state.sessions.requests().track_speech(&owner));
    let result = tokio::select! {
        () = tracker.cancelled() => Err(SessionError::RequestCancelled),
        result = synthesize(&state, request, &tracker) => result,
    };
    tracker.finish(&Outcome::of_result(&result));
    match result {
        Ok(samples) => audio_response(format, &samples),
        Err(error) => failed(&error),
    }
}

fn failed(error: &SessionError) -> Response {
    let (status, code) = match error {
        SessionError::Overloaded(_) => (StatusCode::SERVICE_UNAVAILABLE, "server_error"),
        SessionError::RequestCancelled => (StatusCode::CONFLICT, "request_cancelled"),
        _ => (StatusCode::BAD_GATEWAY, "server_error"),
    };
    api_error(status, code, &error.to_string())
}

fn problem(request: &SpeechRequest) -> Option<String> {
    let length = request.input.chars().count();
    if request.input.trim().is_empty() {
        Some("'input' is empty; give the text to speak.".to_owned())
    } else if length > MAX_INPUT_CHARS {
        Some(format!("'input' has {length} characters, the limit is {MAX_INPUT_CHARS}."))
    } else if !(0.25..=4.0).contains(&request.speed) {
        Some(format!("'speed' is {}, it must be from 0.25 to 4.0.", request.speed))
    } else {
        None
    }
}

async fn synthesize(
    state: &ServerState,
    request: SpeechRequest,
    tracker: &RequestTracker,
) -> Result<Vec<i16>, SessionError> {
    let lease = LeaseRequest {
        holder: NO_SESSION,
        class: WorkClass::Background,
        deadline: Instant::now() + std::time::Duration::from_secs(30),
    };
    let request = TtsRequest { text: request.input, voice: request.voice, speed: request.speed };
    let mut stream = state.pools.tts.synthesize(lease, request, Box::new(tracker.clone())).await?;
    let (mut samples, mut resampler) = (Vec::new(), None::<Resampler>);
    while let Some(event) = stream.next().await {
        let TtsEvent::Audio(chunk) = event? else { continue };
        if resampler.is_none() {
            let to = AudioFormat::Pcm16.sample_rate();
            resampler = Some(Resampler::new(chunk.sample_rate, to)?);
        }
        samples.extend(resampler.iter_mut().flat_map(|resampler| resampler.push(&chunk.samples)));
    }
    samples.extend(resampler.iter_mut().flat_map(Resampler::flush));
    Ok(samples)
}

fn audio_response(format: SpeechFormat, samples: &[i16]) -> Response {
    match format {
        SpeechFormat::Pcm => {
            let pcm = pcm::to_le_bytes(samples);
            ([(header::CONTENT_TYPE, "audio/pcm")], Bytes::from(pcm)).into_response()
        }
        SpeechFormat::Wav => {
            let wav = encode_wav(samples, AudioFormat::Pcm16.sample_rate());
            ([(header::CONTENT_TYPE, "audio/wav")], Bytes::from(wav)).into_response()
        }
    }
}
