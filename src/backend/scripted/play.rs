//! Plays a plan over tokio's clock: the one part of the scripted engines that waits.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream;
use tokio::time::Instant;

use super::log::{CallGuard, End};
use super::script::{Act, Hang};
use crate::engine::{CancelFlag, EngineError, EngineStream};

/// How often a waiting call looks at its cancel flag; engines promise 50 ms.
const CANCEL_POLL: Duration = Duration::from_millis(10);

/// What happens next in a call, `after` the beat before.
#[derive(Debug, PartialEq)]
pub(super) struct Beat<T> {
    pub(super) after: Duration,
    pub(super) event: Event<T>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Event<T> {
    Emit(T),
    Fail(EngineError),
    Hang(Hang),
    Panic(String),
}

impl<T> Beat<T> {
    pub(super) fn emit(after_ms: u64, item: T) -> Self {
        Self { after: Duration::from_millis(after_ms), event: Event::Emit(item) }
    }

    /// The beat of a fault; `None` for acts that are not faults.
    pub(super) fn fault(engine: &str, after_ms: u64, act: &Act) -> Option<Self> {
        let engine = engine.to_owned();
        let event = match act {
            Act::Error(reason) => Event::Fail(EngineError::Failed { engine, reason: reason.clone() }),
            Act::Unavailable(reason) => {
                Event::Fail(EngineError::Unavailable { engine, reason: reason.clone() })
            }
            Act::Hang(hang) => Event::Hang(*hang),
            Act::Panic(message) => Event::Panic(message.clone()),
            Act::Text(_) | Act::ToolCall(_) => return None,
        };
        Some(Self { after: Duration::from_millis(after_ms), event })
    }
}

/// The stream that follows `beats`. It ends after the last one, after its first error, or when cancelled.
pub(super) fn play<T: Send + 'static>(
    beats: VecDeque<Beat<T>>,
    cancel: CancelFlag,
    guard: CallGuard,
) -> EngineStream<T> {
    let player = Player { beats, cancel, guard: Some(guard), due: None };
    Box::pin(stream::unfold(player, |mut player| async move {
        let item = player.next().await?;
        Some((item, player))
    }))
}

struct Player<T> {
    beats: VecDeque<Beat<T>>,
    cancel: CancelFlag,
    guard: Option<CallGuard>,
    due: Option<Instant>,
}

impl<T> Player<T> {
    async fn next(&mut self) -> Option<Result<T, EngineError>> {
        self.guard.as_ref()?;
        let Some(Beat { after, event }) = self.beats.pop_front() else {
            self.end(End::Finished);
            return None;
        };
        // Beats follow a schedule, not the reader: a slow reader finds what is due waiting.
        let due = self.due.unwrap_or_else(Instant::now) + after;
        self.due = Some(due);
        if wait_until(due, &self.cancel).await.is_err() {
            return self.fail(End::Cancelled, EngineError::Cancelled);
        }
        match event {
            Event::Emit(item) => {
                // The last item closes the call: readers stop at it and need not poll for the end.
                if self.beats.is_empty() {
                    self.end(End::Finished);
                }
                Some(Ok(item))
            }
            Event::Fail(error) => self.fail(End::Finished, error),
            Event::Hang(Hang::IgnoringCancel) => std::future::pending().await,
            Event::Hang(Hang::Stuck) => {
                let _for_ever: &'static CancelFlag = Box::leak(Box::new(self.cancel.clone()));
                std::future::pending().await
            }
            Event::Hang(Hang::UntilCancelled) => {
                while !self.cancel.is_cancelled() {
                    tokio::time::sleep(CANCEL_POLL).await;
                }
                self.fail(End::Cancelled, EngineError::Cancelled)
            }
            Event::Panic(message) => std::panic::panic_any(message),
        }
    }

    fn fail(&mut self, end: End, error: EngineError) -> Option<Result<T, EngineError>> {
        self.end(end);
        Some(Err(error))
    }

    fn end(&mut self, end: End) {
        if let Some(mut guard) = self.guard.take() {
            guard.end(end);
        }
    }
}

async fn wait_until(due: Instant, cancel: &CancelFlag) -> Result<(), EngineError> {
    while !cancel.is_cancelled() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(left.min(CANCEL_POLL)).await;
    }
    Err(EngineError::Cancelled)
}
