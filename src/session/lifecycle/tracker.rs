//! `RequestTracker`: the handle that follows one request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::log::{RequestLog, RequestSpec, SessionRequests};
use super::record::{Outcome, Progress, Stage, Step};
use super::view::{PhaseView, RequestView, StageView, millis};
use crate::pool::CallObserver;
use crate::session::id::RequestId;
use crate::telemetry::metrics as names;

/// Follows one request through one of its stages. Clones follow the same request; when the last is dropped before
/// [`finish`](Self::finish), the request counts as cancelled. All methods are a short lock, and a step that is
/// impossible is logged and left out.
#[derive(Clone, Debug)]
pub struct RequestTracker {
    shared: Arc<Tracked>,
    stage: Stage,
}

impl RequestTracker {
    pub(super) fn new(shared: Arc<Tracked>, stage: Stage) -> Self {
        Self { shared, stage }
    }

    /// The same request, in another stage.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Self {
        Self { shared: Arc::clone(&self.shared), stage }
    }

    /// The request's id.
    pub fn id(&self) -> &RequestId {
        &self.shared.spec.id
    }

    /// Ends the request. Later ends and steps change nothing.
    pub fn finish(&self, outcome: &Outcome) {
        self.shared.finish(outcome);
    }

    /// Asks whoever works for it to stop; [`cancelled`](Self::cancelled) hears it.
    pub fn cancel(&self) {
        self.shared.cancel.cancel();
    }

    /// Waits until [`cancel`](Self::cancel) is called.
    pub async fn cancelled(&self) {
        self.shared.cancel.cancelled().await;
    }
}

impl CallObserver for RequestTracker {
    fn queued(&self) {
        self.shared.step(self.stage, Step::Queued);
    }

    fn called(&self, instance: &str) {
        self.shared.step(self.stage, Step::Dequeued);
        self.shared.lock().progress.set_engine(self.stage, instance);
        self.shared.step(self.stage, Step::CallStarted);
    }

    fn ended(&self) {
        self.shared.step(self.stage, Step::CallEnded);
        self.shared.step(self.stage, Step::Released);
    }
}

/// What all handles of one request share.
#[derive(Debug)]
pub(super) struct Tracked {
    spec: RequestSpec,
    log: RequestLog,
    /// The session, which remembers it; `None` for a request without one.
    home: Option<Arc<SessionRequests>>,
    record: Mutex<Record>,
    cancel: CancellationToken,
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) progress: Progress,
    error: Option<&'static str>,
}

impl Tracked {
    pub(super) fn new(spec: RequestSpec, log: RequestLog, home: Option<Arc<SessionRequests>>) -> Self {
        let progress = Progress::received(log.clock().now());
        let record = Mutex::new(Record { progress, error: None });
        Self { spec, log, home, record, cancel: CancellationToken::new() }
    }

    pub(super) fn spec(&self) -> &RequestSpec {
        &self.spec
    }

    pub(super) fn view(&self) -> RequestView {
        let (record, now) = (self.lock(), self.log.clock().now());
        let progress = &record.progress;
        let stage = |(stage, used): (Stage, &super::record::StageUse)| StageView {
            stage,
            engine: used.engine.as_deref().map(str::to_owned),
            calls: used.calls,
            queued_ms: millis(used.queued),
            engine_ms: millis(used.worked),
        };
        let mut phases: Vec<PhaseView> = progress
            .marks
            .iter()
            .map(|mark| PhaseView { phase: mark.phase, stage: mark.stage, at_ms: millis(mark.at) })
            .collect();
        phases.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms)); // stable: a stage's order stays
        RequestView {
            id: self.spec.id.to_string(),
            kind: self.spec.kind,
            session: self.home.as_ref().map(|home| home.session().to_string()),
            owner: self.spec.owner.name().map(str::to_owned),
            status: progress.phase(),
            received_at_ms: self.log.clock().unix_ms(progress.marks[0].at),
            duration_ms: millis(progress.duration(now)),
            error: record.error,
            stages: progress.stages().map(stage).collect(),
            phases,
        }
    }

    fn step(&self, stage: Stage, step: Step) {
        let at = self.log.clock().now();
        let taken = {
            let mut record = self.lock();
            if record.progress.phase().is_last() {
                return; // what comes after the end is late, not wrong
            }
            record.progress.step(stage, step, at)
        };
        match taken {
            Ok(took) => self.report(stage, step, took),
            Err(impossible) => tracing::warn!(request = %self.spec.id, %impossible, "a step was left out"),
        }
    }

    fn report(&self, stage: Stage, step: Step, took: Duration) {
        let waiting = metrics::gauge!(names::REQUESTS_WAITING, "stage" => stage.as_str());
        let record = |name: &'static str| {
            let kind = self.spec.kind.as_str();
            metrics::histogram!(names::REQUEST_SECONDS, "kind" => kind, "stage" => name)
                .record(took.as_secs_f64());
        };
        match step {
            Step::Queued => waiting.increment(1.0),
            Step::Dequeued => {
                waiting.decrement(1.0);
                record(stage.queue_name());
            }
            Step::CallEnded => {
                record(stage.as_str());
                self.add_engine_time(took);
            }
            Step::CallStarted | Step::Released => {}
        }
    }

    fn finish(&self, outcome: &Outcome) {
        let now = self.log.clock().now();
        let (waiting, working, engine, times) = {
            let mut record = self.lock();
            let waiting: Vec<Stage> = record.progress.waiting().collect();
            let (working, engine) = (record.progress.under_way(now), record.progress.engine());
            if !record.progress.finish(outcome, now) {
                return;
            }
            record.error = outcome.code();
            (waiting, working, engine, (record.progress.duration(now), record.progress.worked()))
        };
        for stage in waiting {
            metrics::gauge!(names::REQUESTS_WAITING, "stage" => stage.as_str()).decrement(1.0);
        }
        self.add_engine_time(working);
        if let Some(code) = outcome.code() {
            let engine = engine.map_or_else(|| "none".to_owned(), |name| name.to_string());
            metrics::counter!(names::REQUEST_FAILURES_TOTAL, "engine" => engine, "code" => code).increment(1);
            if let Some(home) = &self.home {
                home.gauge().count_error();
            }
        }
        let view = self.view();
        self.log.on_finished(&self.spec, outcome, times);
        match &self.home {
            Some(home) => home.remember(view),
            None => self.log.remember(vec![view]),
        }
    }

    fn add_engine_time(&self, took: Duration) {
        if let Some(home) = &self.home {
            home.gauge().add_engine_time(took);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.finish(&Outcome::Cancelled);
        self.log.forget(&self.spec.id);
    }
}
