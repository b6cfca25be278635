//! `RequestLog`: the requests that run, and those that are over, as many as are remembered.
//!
//! An open session remembers its own; when it ends, they move to a ring of the whole server.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::record::{Outcome, RequestKind, Stage};
use super::tracker::{RequestTracker, Tracked};
use super::view::{RequestTotals, RequestView, millis};
use crate::session::clock::ServerClock;
use crate::session::config::RecordsConfig;
use crate::session::health::SessionGauge;
use crate::session::id::{RequestId, SessionId};
use crate::session::router::Owner;
use crate::telemetry::metrics as names;

/// Whose request it is and what it asks.
#[derive(Clone, Debug)]
pub struct RequestSpec {
    /// Its id.
    pub id: RequestId,
    /// What is asked.
    pub kind: RequestKind,
    /// Who asks.
    pub owner: Owner,
}

/// The requests of the whole server. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct RequestLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: ServerClock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    config: RecordsConfig,
    active: HashMap<RequestId, Weak<Tracked>>,
    sessions: HashMap<SessionId, Weak<SessionRequests>>,
    ended: VecDeque<RequestView>,
    totals: RequestTotals,
    worked: Duration,
}

impl RequestLog {
    /// A log without requests.
    pub fn new(clock: ServerClock, config: RecordsConfig) -> Self {
        let state = Mutex::new(State { config, ..State::default() });
        Self { shared: Arc::new(Shared { clock, state }) }
    }

    /// Remembers as many as `config` says from now on.
    pub fn reconfigure(&self, config: RecordsConfig) {
        let mut state = self.lock();
        state.config = config;
        let bound = state.config.of_ended_sessions;
        keep_newest(&mut state.ended, bound);
    }

    /// The requests of a new session.
    pub fn session(&self, id: &SessionId, owner: &Owner, gauge: &Arc<SessionGauge>) -> Arc<SessionRequests> {
        let requests = Arc::new(SessionRequests {
            session: id.clone(),
            owner: owner.clone(),
            gauge: Arc::clone(gauge),
            log: self.clone(),
            over: Mutex::default(),
        });
        self.lock().sessions.insert(id.clone(), Arc::downgrade(&requests));
        requests
    }

    /// Follows a request that belongs to no session.
    pub fn track_outside(&self, owner: &Owner, kind: RequestKind) -> RequestTracker {
        self.track(RequestSpec { id: RequestId::random(), kind, owner: owner.clone() }, None)
    }

    /// Requests of owners that `may_see` takes, newest first.
    pub fn views(&self, may_see: impl Fn(&Owner) -> bool) -> Vec<RequestView> {
        let (active, sessions, ended) = {
            let state = self.lock();
            let active: Vec<_> = state.active.values().filter_map(Weak::upgrade).collect();
            let sessions: Vec<_> = state.sessions.values().filter_map(Weak::upgrade).collect();
            (active, sessions, state.ended.clone())
        };
        let running = active.iter().filter(|tracked| may_see(&tracked.spec().owner)).map(|it| it.view());
        let mut views: Vec<RequestView> = running.filter(|view| !view.status.is_last()).collect();
        views.extend(sessions.iter().filter(|it| may_see(&it.owner)).flat_map(|it| it.over()));
        views.extend(ended.into_iter().filter(|view| may_see(&Owner::named(view.owner.as_deref()))));
        views.sort_by_key(|view| std::cmp::Reverse(view.received_at_ms));
        views
    }

    /// The handle of a request that runs; `None` if it is over or never was.
    pub fn running(&self, id: &RequestId) -> Option<(RequestTracker, Owner, Option<SessionId>)> {
        let tracked = self.lock().active.get(id).and_then(Weak::upgrade)?;
        let view = tracked.view();
        if view.status.is_last() {
            return None;
        }
        let owner = tracked.spec().owner.clone();
        let tracker = RequestTracker::new(tracked, Stage::Llm);
        Some((tracker, owner, view.session.map(SessionId::from)))
    }

    /// Requests since the server's start.
    pub fn totals(&self) -> RequestTotals {
        let state = self.lock();
        let mut totals = state.totals;
        let (succeeded, over) = (totals.succeeded as f64, (totals.succeeded + totals.failed) as f64);
        totals.success_rate = (over > 0.0).then(|| succeeded / over);
        totals.average_ms = (succeeded > 0.0).then(|| millis(state.worked) / succeeded);
        totals
    }

    /// The clock of all records.
    pub fn clock(&self) -> ServerClock {
        self.shared.clock
    }

    fn track(&self, spec: RequestSpec, home: Option<Arc<SessionRequests>>) -> RequestTracker {
        let (id, kind) = (spec.id.clone(), spec.kind);
        let stage = match kind {
            RequestKind::Transcription => Stage::Stt,
            RequestKind::Response | RequestKind::Translation | RequestKind::Completion => Stage::Llm,
            RequestKind::Speech => Stage::Tts,
        };
        let tracked = Arc::new(Tracked::new(spec, self.clone(), home));
        let mut state = self.lock();
        state.active.insert(id, Arc::downgrade(&tracked));
        state.totals.total += 1;
        state.totals.active += 1;
        state.totals.peak = state.totals.peak.max(state.totals.active);
        drop(state);
        metrics::gauge!(names::REQUESTS_ACTIVE, "kind" => kind.as_str()).increment(1.0);
        RequestTracker::new(tracked, stage)
    }

    /// `worked`: waits and engine work of all stages; `took`: all the time, playback of speech included.
    pub(super) fn on_finished(
        &self,
        spec: &RequestSpec,
        outcome: &Outcome,
        (took, worked): (Duration, Duration),
    ) {
        let mut state = self.lock();
        let totals = &mut state.totals;
        totals.active = totals.active.saturating_sub(1);
        let name = match outcome {
            Outcome::Completed => {
                totals.succeeded += 1;
                "completed"
            }
            Outcome::Timeout { .. } => {
                (totals.failed, totals.timed_out) = (totals.failed + 1, totals.timed_out + 1);
                "timeout"
            }
            Outcome::Error { .. } => {
                totals.failed += 1;
                "error"
            }
            Outcome::Cancelled => {
                totals.cancelled += 1;
                "cancelled"
            }
        };
        if *outcome == Outcome::Completed {
            state.worked += worked;
        }
        drop(state);
        let kind = spec.kind.as_str();
        metrics::gauge!(names::REQUESTS_ACTIVE, "kind" => kind).decrement(1.0);
        metrics::counter!(names::REQUESTS_TOTAL, "kind" => kind, "outcome" => name).increment(1);
        metrics::histogram!(names::REQUEST_SECONDS, "kind" => kind, "stage" => "total")
            .record(took.as_secs_f64());
    }

    pub(super) fn remember(&self, views: Vec<RequestView>) {
        let mut state = self.lock();
        state.ended.extend(views);
        let bound = state.config.of_ended_sessions;
        keep_newest(&mut state.ended, bound);
    }

    pub(super) fn forget(&self, id: &RequestId) {
        self.lock().active.remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The requests of one session. When the last handle goes, what is remembered moves to the server's ring.
#[derive(Debug)]
pub struct SessionRequests {
    session: SessionId,
    owner: Owner,
    gauge: Arc<SessionGauge>,
    log: RequestLog,
    over: Mutex<VecDeque<RequestView>>,
}

impl SessionRequests {
    /// Follows a request of this session.
    pub fn track(self: &Arc<Self>, id: RequestId, kind: RequestKind) -> RequestTracker {
        let spec = RequestSpec { id, kind, owner: self.owner.clone() };
        self.log.track(spec, Some(Arc::clone(self)))
    }

    /// The session's id.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// The session's gauge.
    pub fn gauge(&self) -> &SessionGauge {
        &self.gauge
    }

    /// Requests that are over, oldest first.
    pub fn over(&self) -> Vec<RequestView> {
        self.lock().iter().cloned().collect()
    }

    pub(super) fn remember(&self, view: RequestView) {
        let bound = self.log.lock().config.per_session;
        let mut over = self.lock();
        over.push_back(view);
        keep_newest(&mut over, bound);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<RequestView>> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionRequests {
    fn drop(&mut self) {
        self.log.lock().sessions.remove(&self.session);
        let over = std::mem::take(&mut *self.lock());
        self.log.remember(over.into());
    }
}

fn keep_newest(ring: &mut VecDeque<RequestView>, bound: usize) {
    let excess = ring.len().saturating_sub(bound);
    ring.drain(..excess);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::CallObserver;
    use crate::session::lifecycle::Phase;
    use crate::session::metered::QueueMeter;

    fn log(per_session: usize, of_ended_sessions: usize) -> RequestLog {
        RequestLog::new(ServerClock::start(), RecordsConfig { per_session, of_ended_sessions })
    }

    fn session(log: &RequestLog, name: &str) -> Arc<SessionRequests> {
        let gauge = SessionGauge::new(log.clock(), QueueMeter::default(), QueueMeter::default());
        log.session(&name.into(), &Owner("anna".into()), &Arc::new(gauge))
    }

    #[tokio::test(start_paused = true)]
    async fn rings_are_bounded_and_move_when_the_session_ends() {
        let log = log(3, 5);
        for name in ["sess_a", "sess_b"] {
            let session = session(&log, name);
            for number in 0..10 {
                let id = format!("req_{name}_{number}").into();
                session.track(id, RequestKind::Transcription).finish(&Outcome::Completed);
            }
            assert_eq!(session.over().len(), 3);
        }
        let ids: Vec<String> = log.views(|_| true).into_iter().map(|view| view.id).collect();
        assert_eq!(ids.len(), 5, "{ids:?}");
        assert!(
            ids.contains(&"req_sess_b_9".to_owned()) && !ids.contains(&"req_sess_a_7".to_owned()),
            "{ids:?}"
        );
        log.reconfigure(RecordsConfig { per_session: 3, of_ended_sessions: 1 });
        assert_eq!(log.views(|_| true).len(), 1);
        let totals = log.totals();
        assert_eq!((totals.total, totals.active, totals.peak, totals.succeeded), (20, 0, 1, 20));
        assert!(log.lock().active.is_empty() && log.lock().sessions.is_empty(), "nothing stays behind");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tracker_that_is_dropped_was_cancelled_and_steps_after_the_end_are_late() {
        let log = log(8, 8);
        let session = session(&log, "sess_a");
        let tracker = session.track("resp_1".into(), RequestKind::Response);
        let clone = tracker.stage(Stage::Tts);
        clone.queued();
        drop(tracker);
        assert!(log.running(&"resp_1".into()).is_some());
        drop(clone);
        assert!(log.running(&"resp_1".into()).is_none());
        let kept = session.track("resp_2".into(), RequestKind::Response);
        kept.finish(&Outcome::Timeout { code: "overloaded" });
        kept.queued();
        kept.finish(&Outcome::Completed);
        let over: Vec<_> = session.over().into_iter().map(|view| (view.status, view.error)).collect();
        assert_eq!(over, [(Phase::Cancelled, None), (Phase::Timeout, Some("overloaded"))]);
        let totals = log.totals();
        assert_eq!((totals.failed, totals.timed_out, totals.cancelled), (1, 1, 1));
        assert_eq!(totals.success_rate, Some(0.0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_average_is_of_those_that_succeeded() {
        let log = log(8, 8);
        for seconds in [1, 3] {
            let speech = log.track_outside(&Owner::anonymous(), RequestKind::Speech);
            speech.queued();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            speech.called("voice");
            speech.ended();
            tokio::time::sleep(Duration::from_secs(10)).await; // it is played
            speech.finish(&Outcome::Completed);
        }
        drop(log.track_outside(&Owner::anonymous(), RequestKind::Speech));
        let totals = log.totals();
        assert_eq!((totals.average_ms, totals.success_rate), (Some(2_000.0), Some(1.0)));
    }
}
