//! Calls through a pool: lease, deadline for each phase, retries while nothing was output, and the outcome told to
//! the instance's breaker. What sessions and HTTP requests use.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::attempts::Attempts;
use super::lease::{Lease, LeaseError, LeaseRequest};
use super::pool::ResourcePool;
use crate::engine::llm::{ChatMessage, LlmEngine, LlmEvent, LlmRequest};
use crate::engine::stt::{SttEngine, SttRequest, Transcript};
use crate::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use crate::engine::{CancelFlag, EngineError, EngineStream};

/// Why a call came to nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// No slot.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The engine failed, and so did the retry, if there was one.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Follows a call. A call that is tried twice goes through all of it twice.
pub trait CallObserver: Send + Sync {
    /// It stands in line.
    fn queued(&self);
    /// It has a slot of this instance, which is called.
    fn called(&self, instance: &str);
    /// The engine is done, or failed, or was told to stop.
    fn ended(&self);
}

/// The outcome of a call, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Served<T> {
    /// The outcome.
    pub value: T,
    /// Waiting for a slot, that of a retry included.
    pub queued: Duration,
    /// The engine's work, that of a failed attempt included.
    pub took: Duration,
}

impl ResourcePool<dyn SttEngine> {
    /// Transcribes an utterance.
    pub async fn transcribe(
        &self,
        lease: LeaseRequest,
        request: SttRequest,
        observer: &dyn CallObserver,
    ) -> Result<Served<Transcript>, CallError> {
        let mut attempts = Attempts::new(self, lease, 0, observer);
        loop {
            let lease = attempts.lease().await?;
            let call = guarded(&lease.instance, lease.transcribe(request.clone(), lease.cancel_flag()));
            match within(&lease.instance, "an answer", attempts.first_output(&lease), call).await {
                Ok(value) => {
                    lease.succeeded();
                    observer.ended();
                    return Ok(Served { value, queued: attempts.queued(), took: attempts.took() });
                }
                Err(error) => attempts.after(&lease, error)?,
            }
        }
    }
}

impl ResourcePool<dyn LlmEngine> {
    /// Continues a conversation; the stream that comes back has its first event already.
    pub async fn generate(
        &self,
        lease: LeaseRequest,
        request: LlmRequest,
        observer: Box<dyn CallObserver>,
    ) -> Result<LeasedStream<dyn LlmEngine, LlmEvent>, CallError> {
        let tokens = tokens_of(&request);
        stream(self, (lease, tokens), observer, |engine, cancel| engine.generate(request.clone(), cancel))
            .await
    }
}

impl ResourcePool<dyn TtsEngine> {
    /// Speaks a text; the stream that comes back has its first event already.
    pub async fn synthesize(
        &self,
        lease: LeaseRequest,
        request: TtsRequest,
        observer: Box<dyn CallObserver>,
    ) -> Result<LeasedStream<dyn TtsEngine, TtsEvent>, CallError> {
        stream(self, (lease, 0), observer, |engine, cancel| engine.synthesize(request.clone(), cancel)).await
    }
}

/// A call that answers piece by piece, with its slot. Dropping it stops the call.
pub struct LeasedStream<E: ?Sized, T> {
    first: Option<T>,
    stream: EngineStream<T>,
    lease: Lease<E>,
    stall: Duration,
    has_failed: bool,
    observer: Box<dyn CallObserver>,
    /// Waiting for a slot, that of a retry included.
    pub queued: Duration,
    /// When the first attempt was called; times of the call count from here.
    pub called: Instant,
}

impl<E: ?Sized, T> std::fmt::Debug for LeasedStream<E, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeasedStream").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl<E: ?Sized, T> LeasedStream<E, T> {
    /// Whether an engine answers that serves only while no other is healthy.
    pub fn is_by_fallback(&self) -> bool {
        self.lease.is_fallback
    }
}

impl<E: ?Sized, T: Metered> LeasedStream<E, T> {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T, EngineError>> {
        let event = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => self.advance().await,
        };
        if let Some(tokens) = event.as_ref().and_then(|event| event.as_ref().ok()?.tokens()) {
            self.lease.settle(tokens);
        }
        event
    }

    async fn advance(&mut self) -> Option<Result<T, EngineError>> {
        let instance = Arc::clone(&self.lease.instance);
        let next = guarded(&instance, self.stream.next().map(Ok));
        let event = within(&instance, "the rest of its answer", self.stall, next).await;
        let event = event.and_then(Option::transpose).transpose();
        if let Some(Err(error)) = &event {
            self.has_failed = true;
            self.lease.failed(error);
        }
        event
    }
}

impl<E: ?Sized, T> Drop for LeasedStream<E, T> {
    fn drop(&mut self) {
        if !self.has_failed {
            self.lease.succeeded(); // its first event had come
        }
        self.observer.ended();
    }
}

/// An event that may tell what a call took.
pub trait Metered {
    /// Tokens of the whole call, once they are known.
    fn tokens(&self) -> Option<u64>;
}

impl Metered for LlmEvent {
    fn tokens(&self) -> Option<u64> {
        let Self::Done { usage, .. } = self else { return None };
        Some(u64::from(usage.input) + u64::from(usage.output))
    }
}

impl Metered for TtsEvent {
    fn tokens(&self) -> Option<u64> {
        None
    }
}

/// Bytes of text for a token: what English has in the vocabularies of Llama and Qwen, about.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens of an answer whose length was not limited: a spoken one is seldom longer.
const ANSWER_TOKENS: u64 = 256;

/// What a call is thought to take of an endpoint's tokens before it is known.
fn tokens_of(request: &LlmRequest) -> u64 {
    let calls =
        |message: &ChatMessage| message.tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>();
    let messages: usize = request.messages.iter().map(|message| message.content.len() + calls(message)).sum();
    let tools: usize =
        request.tools.iter().map(|tool| tool.description.len() + tool.parameters.to_string().len()).sum();
    let prompt = (messages + tools).div_ceil(BYTES_PER_TOKEN) as u64;
    prompt + request.max_tokens.map_or(ANSWER_TOKENS, |most| u64::from(most).min(ANSWER_TOKENS))
}

async fn stream<E: ?Sized, T: Send + 'static>(
    pool: &ResourcePool<E>,
    (request, tokens): (LeaseRequest, u64),
    observer: Box<dyn CallObserver>,
    start: impl Fn(&E, CancelFlag) -> EngineStream<T>,
) -> Result<LeasedStream<E, T>, CallError> {
    let mut attempts = Attempts::new(pool, request, tokens, &*observer);
    loop {
        let lease = attempts.lease().await?;
        let mut stream = start(&lease, lease.cancel_flag());
        let next = guarded(&lease.instance, stream.next().map(Ok));
        let first = within(&lease.instance, "its first output", attempts.first_output(&lease), next).await;
        let ended = || EngineError::Failed {
            engine: lease.instance.to_string(),
            reason: "it ended without an answer".to_owned(),
        };
        match first.and_then(|event| event.unwrap_or_else(|| Err(ended()))) {
            Ok(event) => {
                let (queued, called) = (attempts.queued(), attempts.called());
                let (first, stall) = (Some(event), attempts.stall(&lease));
                let has_failed = false;
                return Ok(LeasedStream {
                    first,
                    stream,
                    lease,
                    stall,
                    has_failed,
                    observer,
                    queued,
                    called,
                });
            }
            Err(error) => {
                drop(stream);
                attempts.after(&lease, error)?;
            }
        }
    }
}

/// A panic of the engine in the caller's task is a failed call like any other.
async fn guarded<T>(
    instance: &str,
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let panicked = |_panic| {
        let reason = "it panicked; the log says where".to_owned();
        Err(EngineError::Failed { engine: instance.to_owned(), reason })
    };
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(panicked)
}

/// Waits for an engine, but not for ever.
async fn within<T>(
    instance: &str,
    phase: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let waited_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let late = |_elapsed| Err(EngineError::TimedOut { engine: instance.to_owned(), phase, waited_ms });
    timeout(limit, call).await.unwrap_or_else(late)
}
