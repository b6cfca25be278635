//! A server that speaks OpenAI's API as far as it is asked here, with latencies and limits of its own: chat
//! completions that give the text back word by word, and transcripts of tones. Knows nothing of who asks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use antiphon::audio::wav::decode_wav;
use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future::BoxFuture;
use futures::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::words::understand;

/// The model's name.
pub(crate) const MODEL: &str = "stand-in";
/// Answers that it gives a minute, and at once; it refuses more.
pub(crate) const REQUESTS_PER_MINUTE: u32 = 90;
const AT_ONCE: usize = 4;
/// From a request to its answer's first word, and from word to word.
const FIRST: Duration = Duration::from_millis(250);
const BETWEEN: Duration = Duration::from_millis(20);
/// How long a transcript takes.
const TRANSCRIPT: Duration = Duration::from_millis(30);
const MINUTE: Duration = Duration::from_secs(60);

/// Its latencies and limits in words.
pub(crate) fn described() -> String {
    format!(
        "first token after {} ms, {} ms between tokens, {AT_ONCE} answers at once and {REQUESTS_PER_MINUTE} a minute \
         for each endpoint",
        FIRST.as_millis(),
        BETWEEN.as_millis()
    )
}

/// One endpoint.
#[derive(Clone)]
pub(crate) struct StandIn {
    address: SocketAddr,
    state: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    /// When the answers of the last minute began.
    begun: VecDeque<Instant>,
    busy: usize,
    calls: usize,
    refused: usize,
}

/// An answer that is being given.
struct Place(Arc<Mutex<Counts>>);

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.0).busy -= 1;
    }
}

impl StandIn {
    /// Listens on loopback; the future serves.
    pub(crate) async fn bind() -> Result<(Self, BoxFuture<'static, Result<()>>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let this = Self { address: listener.local_addr()?, state: Arc::default() };
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/audio/transcriptions", post(transcribe))
            .route("/v1/models", get(models))
            .layer(DefaultBodyLimit::disable())
            .with_state(this.clone());
        let serve = async move { axum::serve(listener, router).await.context("a stand-in") };
        Ok((this, Box::pin(serve)))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// A new minute begins.
    pub(crate) fn reset(&self) {
        let mut counts = lock(&self.state);
        *counts = Counts { busy: counts.busy, ..Counts::default() };
    }

    /// Answers begun.
    pub(crate) fn calls(&self) -> usize {
        lock(&self.state).calls
    }

    /// Requests refused.
    pub(crate) fn refused(&self) -> usize {
        lock(&self.state).refused
    }

    /// A place, or after how long there may be one.
    fn admit(&self) -> Result<Place, Duration> {
        let (now, mut counts) = (Instant::now(), lock(&self.state));
        while counts.begun.front().is_some_and(|begun| now.duration_since(*begun) >= MINUTE) {
            counts.begun.pop_front();
        }
        let room_in = match counts.begun.front() {
            Some(oldest) if counts.begun.len() >= REQUESTS_PER_MINUTE as usize => {
                Some((*oldest + MINUTE).duration_since(now))
            }
            _ => (counts.busy >= AT_ONCE).then_some(FIRST),
        };
        if let Some(wait) = room_in {
            counts.refused += 1;
            return Err(wait);
        }
        counts.begun.push_back(now);
        counts.busy += 1;
        counts.calls += 1;
        Ok(Place(Arc::clone(&self.state)))
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn models() -> Json<Value> {
    Json(json!({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
}

async fn chat(State(stand_in): State<StandIn>, Json(request): Json<Value>) -> Response {
    let place = match stand_in.admit() {
        Ok(place) => place,
        Err(wait) => return refusal(wait),
    };
    let said = request["messages"].as_array().and_then(|messages| messages.last()?["content"].as_str());
    let mut chunks: VecDeque<Bytes> = said.unwrap_or_default().split_inclusive(' ').map(word).collect();
    chunks.push_back(event(
        &json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string(),
    ));
    chunks.push_back(event("[DONE]"));
    let body = stream::unfold((chunks, FIRST, place), |(mut chunks, pause, place)| async move {
        let chunk = chunks.pop_front()?;
        sleep(pause).await;
        let pause = if chunks.len() > 2 { BETWEEN } else { Duration::ZERO };
        Some((Ok::<_, Infallible>(chunk), (chunks, pause, place)))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}

fn word(word: &str) -> Bytes {
    let choice = json!({"index": 0, "delta": {"content": word}, "finish_reason": null});
    event(&json!({"choices": [choice]}).to_string())
}

fn event(data: &str) -> Bytes {
    format!("data: {data}\n\n").into()
}

fn refusal(wait: Duration) -> Response {
    let seconds = wait.as_millis().div_ceil(1_000).to_string();
    let error =
        json!({"error": {"message": "too many requests", "type": "requests", "code": "rate_limit_exceeded"}});
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds)], Json(error)).into_response()
}

/// The WAV stands somewhere in a form.
async fn transcribe(form: Bytes) -> Response {
    let Some(at) = form.windows(4).position(|four| four == b"RIFF") else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    sleep(TRANSCRIPT).await;
    match decode_wav(&form[at..]) {
        Ok(wav) => Json(json!({"text": understand(&wav.samples, wav.sample_rate)})).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}
