//! `AdmissionGate`: the line as those who come and go see it.
//!
//! The lock is held for a few instructions and never across a send or an await. Clocks: [`AdmissionGate::tend`]
//! alone moves the line on where time does (long waits, headroom that returns).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::decide::AdmissionLimits;
use super::line::{Arrival, Line, Step, Ticket};
use super::meter::FirstAudioMeter;
use super::place::{Outcome, Permit, Refusal, Waiting};
use crate::telemetry::metrics as names;

/// How often the line is looked after where nobody comes or goes.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// Lets sessions begin, one permit each. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct AdmissionGate(Arc<Shared>);

/// What became of a newcomer.
#[derive(Debug)]
pub enum Entry {
    /// It may begin.
    Admitted(Permit),
    /// It waits.
    Queued(Waiting),
    /// It is to be told on its socket when to come back.
    Refused(Refusal),
    /// It gets no socket, and may come back after this time.
    TurnedAway(Duration),
}

/// What the gate does now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdmissionStats {
    /// Places taken.
    pub open: usize,
    /// Places there are.
    pub max_sessions: usize,
    /// How many wait.
    pub queued: usize,
    /// How many are being told to come back.
    pub refusing: usize,
    /// How many were told so since the server's start.
    pub refused: u64,
    /// Share of the first-audio target that is left, 1 at rest, 0 at the target.
    pub headroom: f64,
    /// Whether newcomers wait for headroom. For a while after, they are let in one by one.
    pub strained: bool,
}

impl AdmissionGate {
    /// A gate with nobody in.
    pub fn new(limits: AdmissionLimits) -> Self {
        let state = State { line: Line::new(limits), grants: BTreeMap::new() };
        let moved = watch::Sender::new(());
        let (state, first_audio) = (Mutex::new(state), FirstAudioMeter::default());
        Self(Arc::new(Shared { state, moved, first_audio, refused: AtomicU64::default() }))
    }

    /// Somebody comes.
    pub fn enter(&self) -> Entry {
        let (outcome, entry) = self.0.arrive();
        metrics::counter!(names::ADMISSION_TOTAL, "outcome" => outcome).increment(1);
        self.0.advance();
        entry
    }

    /// Other limits from now on. Nobody who is in has to go; those who wait follow the new ones.
    pub fn reconfigure(&self, limits: AdmissionLimits) {
        self.0.lock().line.reconfigure(limits);
        self.0.advance();
    }

    /// Lets nobody in beside those who talk while `held`: newcomers wait, whatever places there are.
    pub fn hold(&self, held: bool) {
        self.0.lock().line.hold(held);
    }

    /// Moves the line on as time passes, until `shutdown`.
    pub async fn tend(self, shutdown: CancellationToken) {
        let mut every = tokio::time::interval(TEND_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => self.0.advance(),
            }
        }
    }

    /// Where latencies are recorded; every [`Permit`] has it too.
    pub fn first_audio(&self) -> &FirstAudioMeter {
        &self.0.first_audio
    }

    /// What the gate does now.
    pub fn stats(&self) -> AdmissionStats {
        let now = Instant::now();
        let p95 = self.0.first_audio.p95(now);
        let mut state = self.0.lock();
        let headroom = state.line.observe(p95, now);
        let load = state.line.load(now);
        AdmissionStats {
            open: load.open,
            max_sessions: state.line.limits().max_sessions,
            queued: load.queued,
            refusing: load.refusing,
            refused: self.0.refused.load(Ordering::Relaxed),
            headroom,
            strained: state.line.is_strained(),
        }
    }
}

/// What the gate, its permits and those who wait share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Says that places in line may have changed.
    moved: watch::Sender<()>,
    pub(super) first_audio: FirstAudioMeter,
    /// Those who were told to come back.
    refused: AtomicU64,
}

#[derive(Debug)]
struct State {
    line: Line,
    /// How those who wait are told; exactly those who are in `line`.
    grants: BTreeMap<Ticket, oneshot::Sender<Outcome>>,
}

impl Shared {
    fn arrive(self: &Arc<Self>) -> (&'static str, Entry) {
        let (now, shared) = (Instant::now(), Arc::clone(self));
        let p95 = self.first_audio.p95(now);
        let mut state = self.lock();
        state.line.observe(p95, now);
        match state.line.arrive(now) {
            Arrival::Admitted => ("admitted", Entry::Admitted(Permit::new(shared))),
            Arrival::Queued(ticket) => {
                let (grant, granted) = oneshot::channel();
                state.grants.insert(ticket, grant);
                let moved = self.moved.subscribe();
                ("queued", Entry::Queued(Waiting::new(shared, ticket, granted, moved)))
            }
            Arrival::Refused(after) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                ("refused_soft", Entry::Refused(Refusal::new(shared, after)))
            }
            Arrival::TurnedAway(after) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                ("refused_hard", Entry::TurnedAway(after))
            }
        }
    }

    /// Moves the line on, and tells whom it concerns.
    pub(super) fn advance(self: &Arc<Self>) {
        let now = Instant::now();
        let p95 = self.first_audio.p95(now);
        let (headroom, queued, steps) = {
            let mut state = self.lock();
            let headroom = state.line.observe(p95, now);
            let steps = state.line.advance(now);
            let told: Vec<_> = steps
                .into_iter()
                .filter_map(|step| Some((state.grants.remove(&step.ticket)?, step)))
                .collect();
            (headroom, state.line.load(now).queued, told)
        };
        metrics::gauge!(names::ADMISSION_HEADROOM).set(headroom);
        #[expect(clippy::cast_precision_loss, reason = "far fewer people than 2^52")]
        metrics::gauge!(names::ADMISSION_QUEUE_LENGTH).set(queued as f64);
        if !steps.is_empty() {
            self.moved.send_replace(());
        }
        for (grant, step) in steps {
            // One who has gone drops the permit here, outside the lock, and so serves the next.
            drop(grant.send(self.outcome(step, now)));
        }
    }

    fn outcome(self: &Arc<Self>, step: Step, now: Instant) -> Outcome {
        count_wait(if step.admitted { "admitted" } else { "expired" }, step.waited);
        if step.admitted {
            return Outcome::Admitted(Permit::new(Arc::clone(self)));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let retry_after = self.lock().line.load(now).retry_after;
        Outcome::Expired(Refusal::new(Arc::clone(self), retry_after))
    }

    /// One who waits goes, if it still waits.
    pub(super) fn leave(self: &Arc<Self>, ticket: Ticket) {
        let left = {
            let mut state = self.lock();
            state.grants.remove(&ticket);
            state.line.leave(ticket, Instant::now())
        };
        if let Some(waited) = left {
            count_wait("left", waited);
            self.moved.send_replace(());
            self.advance();
        }
    }

    /// A session ended.
    pub(super) fn free(self: &Arc<Self>) {
        self.lock().line.free(Instant::now());
        self.advance();
    }

    /// One who was refused has been told.
    pub(super) fn refused(&self) {
        self.lock().line.refused();
    }

    pub(super) fn position(&self, ticket: Ticket) -> Option<(usize, Option<Duration>)> {
        self.lock().line.position(ticket, Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count_wait(outcome: &'static str, waited: Duration) {
    metrics::histogram!(names::ADMISSION_WAIT_SECONDS, "outcome" => outcome).record(waited.as_secs_f64());
}
