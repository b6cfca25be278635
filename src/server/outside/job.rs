//! The work of one request without a session: a task that ends by itself, when nobody listens any more, when it
//! is cancelled over `/api`, at its deadline, or when the server has stopped for `session.limits.drain_ms`.
//!
//! Knows nothing of what the work is. Read [`Outside::start`].

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::error::RequestError;
use crate::engine::EngineError;
use crate::pool::HolderId;
use crate::runtime::Runtime;
use crate::server::access::{caller, over_quota};
use crate::server::router::ServerState;
use crate::session::SessionError;
use crate::session::lifecycle::{Outcome, RequestKind, RequestTracker};
use crate::session::live::LiveConfig;
use crate::session::quota::{Charge, RequestPermit};
use crate::telemetry::metrics as names;

/// Results that wait for a client to read them.
const RESULTS_CAPACITY: usize = 32;
/// How long a client may take to read one result before it counts as gone.
const READING: Duration = Duration::from_secs(60);

/// A request without a session, within its user's limits.
#[derive(Debug)]
pub(in crate::server) struct Outside {
    /// Follows it.
    pub(in crate::server) tracker: RequestTracker,
    /// Who asks, towards the pools.
    pub(in crate::server) holder: HolderId,
    permit: RequestPermit,
    runtime: Runtime,
    live: LiveConfig,
}

/// Why a result was not taken: the client is gone or does not read.
#[derive(Debug)]
pub(in crate::server) struct Gone;

/// Where the work puts its results.
#[derive(Debug)]
pub(in crate::server) struct Results<T>(mpsc::Sender<Result<T, RequestError>>);

impl Outside {
    /// Checks who asks and whether they may.
    pub(in crate::server) fn begin(
        state: &ServerState,
        headers: &HeaderMap,
        kind: RequestKind,
    ) -> Result<Self, Box<Response>> {
        let owner = caller(headers, &state.config)?;
        let charge = if kind == RequestKind::Completion { Charge::Response } else { Charge::Other };
        let permit = state.sessions.quotas().begin_outside(&owner, charge);
        let permit = permit.map_err(|error| Box::new(over_quota(&error)))?;
        Ok(Self {
            tracker: state.sessions.requests().track_outside(&owner, kind),
            holder: state.sessions.outside_holder(&owner),
            permit,
            runtime: state.runtime.clone(),
            live: state.sessions.live().clone(),
        })
    }

    /// Runs `work` as a task that has at most `limit`; gives its results. The last may be an error.
    pub(in crate::server) fn start<T, W>(
        self,
        name: &'static str,
        limit: Duration,
        work: impl FnOnce(Results<T>) -> W,
    ) -> mpsc::Receiver<Result<T, RequestError>>
    where
        T: Send + 'static,
        W: Future<Output = Result<Result<(), RequestError>, Gone>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(RESULTS_CAPACITY);
        let work = work(Results(sender.clone()));
        let runtime = self.runtime.clone();
        drop(runtime.spawn(name, self.run(limit, work, sender)));
        receiver
    }

    async fn run<T>(
        self,
        limit: Duration,
        work: impl Future<Output = Result<Result<(), RequestError>, Gone>>,
        sender: mpsc::Sender<Result<T, RequestError>>,
    ) {
        let _permit = self.permit;
        let ended = tokio::select! {
            biased;
            () = sender.closed() => Err(Gone),
            () = self.tracker.cancelled() => Ok(Err(SessionError::RequestCancelled.into())),
            () = stopped(&self.runtime, &self.live) => Ok(Err(RequestError::ShuttingDown)),
            () = sleep(limit) => Ok(Err(RequestError::TimedOut { limit })),
            ended = AssertUnwindSafe(work).catch_unwind() => ended.unwrap_or_else(|_panic| Ok(Err(panicked()))),
        };
        match ended {
            Ok(Ok(())) => self.tracker.finish(&Outcome::Completed),
            Ok(Err(error)) => {
                self.tracker.finish(&error.outcome());
                tracing::debug!(request = %self.tracker.id(), %error, "a request came to nothing");
                // One who has gone needs not be told.
                drop(timeout(READING, sender.send(Err(error))).await);
            }
            Err(Gone) => self.tracker.finish(&Outcome::Cancelled),
        }
    }
}

/// What the log tells of a panic is for its operator alone.
fn panicked() -> RequestError {
    metrics::counter!(names::PANICS_TOTAL).increment(1);
    let reason = "its work broke off; the log says where".to_owned();
    EngineError::Failed { engine: "the server".to_owned(), reason }.into()
}

/// Waits for the end of the server and then as long as answers may go on.
async fn stopped(runtime: &Runtime, live: &LiveConfig) {
    runtime.shutdown_token().cancelled().await;
    sleep(Duration::from_millis(live.now().config.limits.drain_ms)).await;
}

impl<T> Results<T> {
    /// A place for so many results, and who takes them.
    #[cfg(test)]
    pub(in crate::server) fn of(capacity: usize) -> (Self, mpsc::Receiver<Result<T, RequestError>>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }

    /// Puts a result, waiting for a client that reads. Only where no engine is held.
    pub(in crate::server) async fn send(&self, result: T) -> Result<(), Gone> {
        timeout(READING, self.0.send(Ok(result))).await.map_err(|_| Gone)?.map_err(|_| Gone)
    }

    /// Puts a result if there is room; gives it back if not.
    pub(in crate::server) fn try_send(&self, result: T) -> Result<Option<T>, Gone> {
        match self.0.try_send(Ok(result)) {
            Ok(()) => Ok(None),
            Err(mpsc::error::TrySendError::Full(result)) => Ok(result.ok()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
        }
    }
}

/// The first result, which decides the answer's status, and the stream of all of them.
pub(in crate::server) async fn begun<T: Send + 'static>(
    mut receiver: mpsc::Receiver<Result<T, RequestError>>,
) -> Result<impl Stream<Item = Result<T, RequestError>> + Send + 'static, RequestError> {
    let first = receiver.recv().await.unwrap_or_else(|| Err(panicked()))?;
    let rest = stream::unfold(receiver, |mut receiver| async {
        let next = receiver.recv().await?;
        Some((next, receiver))
    });
    Ok(stream::iter([Ok(first)]).chain(rest))
}
