//! The handler of `POST /v1/chat/completions`.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};

use super::answering::Answerer;
use super::chunk::{Chunks, Head, Whole};
use super::request::{ChatRequest, Form};
use crate::engine::llm::LlmEvent;
use crate::engine::model::ModelKind;
use crate::server::access::caller;
use crate::server::config::ServerRole;
use crate::server::models;
use crate::server::outside::{self, Outside, RequestError};
use crate::server::router::ServerState;
use crate::session::lifecycle::{RequestKind, RequestTracker};

/// How long it may take as a whole: what stock clients wait at most.
const DEADLINE: Duration = Duration::from_secs(600);
/// What ends a stream.
const END: &str = "[DONE]";

/// Answers a conversation.
pub(super) async fn completions(
    State(state): State<ServerState>,
    headers: HeaderMap,
    body: Result<Json<ChatRequest>, JsonRejection>,
) -> Response {
    // Who asks comes before what is asked.
    if let Err(refusal) = caller(&headers, &state.config) {
        return *refusal;
    }
    let request = match outside::json_body(body) {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let model = request.model.clone();
    if let Err(refusal) = models::check(&state.models, model.as_deref(), ModelKind::LanguageModel) {
        return *refusal;
    }
    let asked = match request.judged() {
        Ok(asked) => asked,
        Err(error) => return error.response(),
    };
    let outside = match Outside::begin(&state, &headers, RequestKind::Completion) {
        Ok(outside) => outside,
        Err(refusal) => return *refusal,
    };
    let head = head(&state, &outside.tracker, model);
    let (pools, holder, tracker) = (state.pools.clone(), outside.holder, outside.tracker.clone());
    let (form, first_clauses_urgent) = (asked.form, state.config.role == ServerRole::Engines);
    let results = outside.start("completion", DEADLINE, |results| {
        Answerer { pools, holder, tracker, results, first_clauses_urgent }.answer(asked)
    });
    match (outside::begun(results).await, form) {
        (Err(error), _) => error.response(),
        (Ok(answer), Form::Stream { usage }) => events(answer, Chunks::new(head, usage)).into_response(),
        (Ok(answer), Form::Whole) => match collect(answer).await {
            Ok(whole) => Json(whole.object(head)).into_response(),
            Err(error) => error.response(),
        },
    }
}

/// The answer's id is that of its request, so that who has the one finds the other.
fn head(state: &ServerState, tracker: &RequestTracker, model: Option<String>) -> Head {
    let clock = state.sessions.requests().clock();
    let id = tracker.id().as_str();
    Head {
        id: format!("chatcmpl-{}", id.strip_prefix("req_").unwrap_or(id)),
        created: clock.unix_ms(clock.now()) / 1_000,
        model: model.unwrap_or_else(|| models::WHOLE.to_owned()),
    }
}

async fn collect(answer: impl Stream<Item = Result<LlmEvent, RequestError>>) -> Result<Whole, RequestError> {
    let mut whole = Whole::default();
    let mut answer = std::pin::pin!(answer);
    while let Some(event) = answer.next().await {
        whole.take(event?);
    }
    Ok(whole)
}

/// The answer as server-sent events. After an error nothing follows.
fn events(
    answer: impl Stream<Item = Result<LlmEvent, RequestError>> + Send + 'static,
    mut chunks: Chunks,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = answer.flat_map(move |event| stream::iter(datas(&mut chunks, event)));
    Sse::new(events.map(|data| Ok(Event::default().data(data)))).keep_alive(KeepAlive::default())
}

fn datas(chunks: &mut Chunks, event: Result<LlmEvent, RequestError>) -> Vec<String> {
    match event {
        Ok(event) => {
            let is_last = matches!(event, LlmEvent::Done { .. });
            let mut datas: Vec<String> = chunks.of(event).iter().map(Value::to_string).collect();
            if is_last {
                datas.push(END.to_owned());
            }
            datas
        }
        Err(error) => vec![json!({"error": error.event()["error"]}).to_string()],
    }
}
