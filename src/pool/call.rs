//! Calls through a pool: lease, deadline for each phase, one retry elsewhere while nothing was output, and the
//! outcome told to the instance's breaker. What sessions and HTTP requests use.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::lease::{Lease, LeaseError, LeaseRequest};
use super::pool::ResourcePool;
use super::schedule::MemberId;
use crate::engine::llm::{LlmEngine, LlmEvent, LlmRequest};
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
        let mut attempts = Attempts::new(self, lease, observer);
        loop {
            let lease = attempts.lease().await?;
            let call = guarded(&lease.instance, lease.transcribe(request.clone(), lease.cancel_flag()));
            match within(&lease.instance, "an answer", attempts.first_output, call).await {
                Ok(value) => {
                    lease.succeeded();
                    observer.ended();
                    return Ok(Served { value, queued: attempts.queued, took: attempts.took() });
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
        stream(self, lease, observer, |engine, cancel| engine.generate(request.clone(), cancel)).await
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
        stream(self, lease, observer, |engine, cancel| engine.synthesize(request.clone(), cancel)).await
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
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T, EngineError>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
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

async fn stream<E: ?Sized, T: Send + 'static>(
    pool: &ResourcePool<E>,
    request: LeaseRequest,
    observer: Box<dyn CallObserver>,
    start: impl Fn(&E, CancelFlag) -> EngineStream<T>,
) -> Result<LeasedStream<E, T>, CallError> {
    let mut attempts = Attempts::new(pool, request, &*observer);
    loop {
        let lease = attempts.lease().await?;
        let mut stream = start(&lease, lease.cancel_flag());
        let next = guarded(&lease.instance, stream.next().map(Ok));
        let first = within(&lease.instance, "its first output", attempts.first_output, next).await;
        let ended = || EngineError::Failed {
            engine: lease.instance.to_string(),
            reason: "it ended without an answer".to_owned(),
        };
        match first.and_then(|event| event.unwrap_or_else(|| Err(ended()))) {
            Ok(event) => {
                let (queued, called) = (attempts.queued, attempts.called.unwrap_or_else(Instant::now));
                let (first, stall) = (Some(event), attempts.stall);
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

/// At most two tries of one call.
struct Attempts<'a, E: ?Sized> {
    pool: &'a ResourcePool<E>,
    request: LeaseRequest,
    observer: &'a dyn CallObserver,
    /// How long each try may wait for its slot.
    patience: Duration,
    failed: Option<MemberId>,
    first_output: Duration,
    stall: Duration,
    queued: Duration,
    called: Option<Instant>,
}

impl<'a, E: ?Sized> Attempts<'a, E> {
    fn new(pool: &'a ResourcePool<E>, request: LeaseRequest, observer: &'a dyn CallObserver) -> Self {
        let config = pool.config();
        Self {
            pool,
            request,
            observer,
            patience: request.deadline.saturating_duration_since(Instant::now()),
            failed: None,
            first_output: Duration::from_millis(config.first_output_ms),
            stall: Duration::from_millis(config.stall_ms),
            queued: Duration::ZERO,
            called: None,
        }
    }

    async fn lease(&mut self) -> Result<Lease<E>, LeaseError> {
        let request = LeaseRequest { deadline: Instant::now() + self.patience, ..self.request };
        self.observer.queued();
        let lease = self.pool.lease_avoiding(request, self.failed).await?;
        self.observer.called(&lease.instance);
        self.queued += lease.queued;
        self.called.get_or_insert_with(Instant::now);
        Ok(lease)
    }

    /// Notes a failure; an error where there is no second try.
    fn after(&mut self, lease: &Lease<E>, error: EngineError) -> Result<(), CallError> {
        lease.failed(&error);
        self.observer.ended();
        let is_last = self.failed.replace(lease.member).is_some();
        if is_last || !error.is_retryable() {
            return Err(error.into());
        }
        tracing::warn!(instance = %lease.instance, %error, "an engine call failed before it said anything; trying once more");
        Ok(())
    }

    fn took(&self) -> Duration {
        self.called.map(|called| called.elapsed()).unwrap_or_default()
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
