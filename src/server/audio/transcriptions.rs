//! `POST /v1/audio/transcriptions`: the text of an audio file, whole or as it is heard.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde_json::{Value, json};

use super::form::Form;
use super::formats::{Segment, Transcription};
use super::hearing::{Heard, Listener, Recording};
use crate::engine::model::{ModelInfo, ModelKind};
use crate::server::access::{api_error, caller};
use crate::server::models;
use crate::server::outside::{self, Outside, RequestError};
use crate::server::router::ServerState;
use crate::session::lifecycle::{RequestKind, Stage};

/// How long it may take as a whole: what stock clients wait at most.
const DEADLINE: Duration = Duration::from_secs(600);

/// Transcribes a file.
pub(super) async fn transcribe(
    State(state): State<ServerState>,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Response {
    if let Err(refusal) = caller(&headers, &state.config) {
        return *refusal;
    }
    let form = match form {
        Ok(form) => form,
        Err(error) => {
            let message =
                format!("{} Send a form: multipart/form-data with a part 'file'.", error.body_text());
            return api_error(StatusCode::BAD_REQUEST, "invalid_request", &message);
        }
    };
    // Before the file is read, so that files that are on their way count.
    let outside = match Outside::begin(&state, &headers, RequestKind::Transcription) {
        Ok(outside) => outside,
        Err(refusal) => return *refusal,
    };
    let uploads = state.config.uploads;
    let Ok(place) = Arc::clone(&state.uploads).try_acquire_owned() else {
        let most = uploads.max_at_once;
        let message =
            format!("{most} files are being transcribed, the most at once (server.uploads.max_at_once).");
        return refused(&outside, &RequestError::Busy(message));
    };
    let form = match Form::read(form, uploads.max_bytes).await {
        Ok(form) => form,
        Err(error) => return refused(&outside, &error),
    };
    if let Err(refusal) = models::check(&state.models, form.model.as_deref(), ModelKind::SpeechToText) {
        return *refusal;
    }
    if form.wanted.times.words
        && let Err(error) = knows_word_times(&state.models)
    {
        return refused(&outside, &error);
    }
    let (wanted, stream) = (form.wanted.clone(), form.stream);
    let results = start(&state, outside, form, place);
    match outside::begun(results).await {
        Err(error) => error.response(),
        Ok(heard) if stream => events(heard, wanted.logprobs).into_response(),
        Ok(heard) => match collect(heard).await {
            Ok(transcription) => transcription.response(&wanted),
            Err(error) => error.response(),
        },
    }
}

/// Whoever hears a request has to know: any engine of the list may.
fn knows_word_times(models: &[ModelInfo]) -> Result<(), RequestError> {
    let ears = models.iter().filter(|model| model.kind == ModelKind::SpeechToText && !model.word_times);
    let ignorant: Vec<&str> = ears.map(|model| model.name.as_str()).collect();
    if ignorant.is_empty() {
        return Ok(());
    }
    let message = format!(
        "'timestamp_granularities' holds 'word', and the server's speech-to-text tells no times of words ({}). \
         'segment' is possible: what is said between two pauses. Whisper tells them with `word_times = true` \
         (engines.stt[*]), engines behind URLs with `response_format = \"verbose_json\"`.",
        ignorant.join(", ")
    );
    Err(RequestError::field("timestamp_granularities", message))
}

fn refused(outside: &Outside, error: &RequestError) -> Response {
    outside.tracker.finish(&error.outcome());
    error.response()
}

fn start(
    state: &ServerState,
    outside: Outside,
    form: Form,
    place: impl Send + 'static,
) -> tokio::sync::mpsc::Receiver<Result<Heard, RequestError>> {
    let max_audio_s = state.config.uploads.max_audio_s;
    let Form { file, prompt, wanted, .. } = form;
    let (language, word_times) = (wanted.language, wanted.times.words);
    let recording = Recording { file, language, prompt, word_times, max_audio_s };
    let (pools, runtime, detector) = (state.pools.clone(), state.runtime.clone(), state.sessions.detector());
    let (holder, tracker) = (outside.holder, outside.tracker.stage(Stage::Stt));
    outside.start("transcription", DEADLINE, |results| {
        let listener = Listener { pools, runtime, holder, tracker, detector, results };
        async move {
            let _place = place; // until it is over
            listener.hear(recording).await
        }
    })
}

async fn collect(
    heard: impl Stream<Item = Result<Heard, RequestError>>,
) -> Result<Transcription, RequestError> {
    let mut transcription = Transcription::default();
    let mut heard = std::pin::pin!(heard);
    while let Some(next) = heard.next().await {
        match next? {
            Heard::Segment(segment) => transcription.segments.push(segment),
            Heard::End(seconds) => transcription.seconds = seconds,
        }
    }
    Ok(transcription)
}

/// `transcript.text.delta` for what is said between two pauses, and at last `transcript.text.done`.
fn events(
    heard: impl Stream<Item = Result<Heard, RequestError>> + Send + 'static,
    logprobs: bool,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let events = heard.scan(Transcription::default(), move |transcription, heard| {
        let (segment, mut event) = event(transcription, heard);
        if logprobs && event["type"] != "error" {
            let sure = segment.map_or_else(|| transcription.logprobs(), |segment| segment.logprobs());
            event["logprobs"] = sure.into();
        }
        std::future::ready(Some(event))
    });
    Sse::new(events.map(|event| Event::default().json_data(event))).keep_alive(KeepAlive::default())
}

/// The event, and the segment that it is about.
fn event(transcription: &mut Transcription, heard: Result<Heard, RequestError>) -> (Option<Segment>, Value) {
    match heard {
        Ok(Heard::Segment(segment)) => {
            let space = if transcription.segments.is_empty() { "" } else { " " };
            let delta = format!("{space}{}", segment.text);
            transcription.segments.push(segment.clone());
            (Some(segment), json!({"type": "transcript.text.delta", "delta": delta}))
        }
        Ok(Heard::End(seconds)) => {
            transcription.seconds = seconds;
            let (text, usage) = (transcription.text(), transcription.usage());
            (None, json!({"type": "transcript.text.done", "text": text, "usage": usage}))
        }
        Err(error) => (None, error.event()),
    }
}
