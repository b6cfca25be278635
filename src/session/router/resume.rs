//! How a session goes on on another socket: begun to be kept, found by its token, taken over if its old socket is
//! still there, and opened from its snapshot.
//!
//! A cut, a killed server and a takeover share one path: the old actor (if there is one) ends and leaves its
//! snapshot, and a new one begins from it, through admission and quotas like any other.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{Entry, OpenError, OpenSession, Owner, SessionRouter};
use crate::session::actor::Keeping;
use crate::session::admission::Permit;
use crate::session::event::CloseReason;
use crate::session::id::SessionId;
use crate::session::settings::SessionSettings;
use crate::session::snapshot::{Fence, Restored, ResumeToken, ResumeView, SnapshotWriter};
use crate::store::{Begin, Change, Found, Keep, StoreStatus, Stored};
use crate::telemetry::clock::{unix_ms, whole_ms};
use crate::telemetry::metrics as names;

/// How long an actor may take to leave its session to another socket.
const TAKEOVER_WAIT: Duration = Duration::from_secs(5);
/// How often expired snapshots are deleted.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);
/// How long the last snapshots may take at shutdown.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// What the router needs to end a session so that it can be resumed.
#[derive(Debug)]
pub(super) struct EntryKeeps {
    /// The end of its longest duration, in milliseconds since 1970.
    pub(super) until_ms: u64,
    /// Raised for another socket to take the session over.
    pub(super) takeover: CancellationToken,
    /// Raised when it has ended and its place is free.
    pub(super) gone: CancellationToken,
    /// Stops its snapshots.
    pub(super) fence: Fence,
}

/// What a session begins with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) id: SessionId,
    pub(super) settings: SessionSettings,
    pub(super) until_ms: u64,
    pub(super) keeping: Keeping,
}

/// Sessions are resumed one socket at a time, so that two with the same token do not take it from each other. A few
/// locks for all: which one is a session's follows from its id.
#[derive(Debug, Default)]
pub(super) struct Resuming([tokio::sync::Mutex<()>; 16]);

impl Resuming {
    fn lock_of(&self, id: &SessionId) -> &tokio::sync::Mutex<()> {
        let sum =
            id.as_str().bytes().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        &self.0[sum % self.0.len()]
    }
}

/// A session that a client may resume: its token is good.
#[derive(Clone, Debug)]
pub struct Resumable {
    id: SessionId,
    owner: Owner,
    token: ResumeToken,
}

impl EntryKeeps {
    pub(super) fn new(until_ms: u64, keeping: &Keeping) -> Self {
        let fence = keeping.writer.as_ref().map(SnapshotWriter::fence).unwrap_or_default();
        let (takeover, gone) = (keeping.takeover.clone(), CancellationToken::new());
        Self { until_ms, takeover, gone, fence }
    }
}

impl SessionRouter {
    /// The session that `token` opens for this owner. Nothing changes by asking.
    pub async fn resumable(&self, token: ResumeToken, owner: &Owner) -> Result<Resumable, OpenError> {
        let found = match &self.store {
            Some(store) => store.find(token.hash(), unix_ms()).await.map_err(|error| unavailable(&error))?,
            None => None,
        };
        match found.filter(|found| found.owner == *owner.0) {
            Some(Found { session, .. }) => Ok(Resumable { id: session.into(), owner: owner.clone(), token }),
            None => Err(count(OpenError::NothingToResume)),
        }
    }

    /// Ends the session on its old socket, if there still is one, and waits until its place is free.
    pub async fn take_over(&self, resumable: &Resumable) {
        let tokens = |entry: &Entry| (entry.keeps.takeover.clone(), entry.keeps.gone.clone());
        let Some((takeover, gone)) = self.lock().get(&resumable.id).map(tokens) else { return };
        takeover.cancel();
        if timeout(TAKEOVER_WAIT, gone.cancelled()).await.is_err() {
            self.evict(&resumable.id, CloseReason::TakenOver);
        }
    }

    /// Opens the session from its snapshot, with a new token. The old one stays good until the client has shown that
    /// it has the new one.
    pub async fn resume(&self, resumable: &Resumable, permit: Permit) -> Result<OpenSession, OpenError> {
        let _alone = self.resuming.lock_of(&resumable.id).lock().await;
        self.take_over(resumable).await; // another socket may have been faster while this one waited
        let Some(store) = &self.store else { return Err(OpenError::NothingToResume) };
        let next = ResumeToken::random();
        let claimed = store.claim(resumable.token.hash(), next.hash(), unix_ms()).await;
        let stored = claimed.map_err(|error| unavailable(&error))?;
        let stored = stored.filter(|stored| stored.found.owner == *resumable.owner.0);
        let Some(stored) = stored else { return Err(count(OpenError::NothingToResume)) };
        let start = self.resumed_session(&stored, next)?;
        let opened = self.start(&resumable.owner, start, permit);
        let outcome = if opened.is_ok() { "resumed" } else { "failed" };
        metrics::counter!(names::RESUMES_TOTAL, "outcome" => outcome).increment(1);
        opened
    }

    /// Deletes expired snapshots now and then, until `shutdown`.
    pub async fn tend_store(self, shutdown: CancellationToken) {
        let Some(store) = self.store else { return };
        let mut every = interval(EXPIRE_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => store.expire(unix_ms()),
            }
        }
    }

    /// Ready when all snapshots are written, or cannot be.
    pub async fn flush_store(&self) {
        let Some(store) = &self.store else { return };
        match timeout(FLUSH_WAIT, store.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the last snapshots were not written"),
            Err(_) => tracing::error!("the last snapshots were not written in time"),
        }
    }

    /// How the store is; `None` where there is none.
    pub fn store_status(&self) -> Option<StoreStatus> {
        self.store.as_ref().map(|store| store.status())
    }

    pub(super) fn new_session(&self, owner: &Owner, settings: SessionSettings) -> Start {
        let id = SessionId::random();
        let max_session = Duration::from_secs(self.settings().config.limits.max_session_s);
        let until_ms = unix_ms().saturating_add(whole_ms(max_session));
        let mut keeping = Keeping::default();
        if let Some(store) = &self.store {
            let token = ResumeToken::random();
            let begin = Begin { token: token.hash(), owner: owner.0.to_string() };
            keeping.writer = Some(SnapshotWriter::new(store.clone(), id.clone(), begin, Instant::now()));
            keeping.view = Some(self.view(token));
        }
        Start { id, settings, until_ms, keeping }
    }

    fn resumed_session(&self, stored: &Stored, token: ResumeToken) -> Result<Start, OpenError> {
        let id = SessionId::from(stored.found.session.as_str());
        let restored = Restored::read(stored).map_err(|error| {
            tracing::error!(session = %id, %error, "a session cannot be resumed");
            OpenError::NothingToResume
        })?;
        let mut keeping = Keeping::default();
        if let Some(store) = &self.store {
            let begin = Begin { token: token.hash(), owner: stored.found.owner.clone() };
            let writer = SnapshotWriter::new(store.clone(), id.clone(), begin, Instant::now());
            let turns: BTreeSet<_> = restored.untranscribed.iter().map(|(item, _)| item.clone()).collect();
            keeping.writer = Some(writer.resumed(restored.head.clone(), turns));
            keeping.view = Some(self.view(token));
        }
        let (settings, until_ms) =
            (restored.settings.clone(), restored.head.expires_at.saturating_mul(1_000));
        keeping.restored = Some(Box::new(restored));
        Ok(Start { id, settings, until_ms, keeping })
    }

    fn view(&self, token: ResumeToken) -> Box<ResumeView> {
        Box::new(ResumeView { token, grace_s: self.settings().config.resume.grace_s, resumed: None })
    }

    /// A session's task has ended, or was taken down: its snapshot is kept for the grace time, or not at all. When
    /// the server stops, the grace time begins with the next start.
    pub(super) fn left(&self, id: &SessionId, entry: &Entry, forget: bool) {
        entry.keeps.fence.raise();
        let Some(store) = &self.store else { return };
        if forget {
            store.delete(id.as_str());
        } else if !self.factory.runtime.shutdown_token().is_cancelled() {
            let grace = Duration::from_secs(self.settings().config.resume.grace_s);
            let until_ms = unix_ms().saturating_add(whole_ms(grace)).min(entry.keeps.until_ms);
            let change = Change { keep: Some(Keep::Ended { until_ms }), ..Change::default() };
            // An end is always taken.
            store.save(id.as_str(), change).ok();
        }
    }
}

fn count(error: OpenError) -> OpenError {
    metrics::counter!(names::RESUMES_TOTAL, "outcome" => "unknown").increment(1);
    error
}

fn unavailable(error: &crate::store::StoreError) -> OpenError {
    metrics::counter!(names::RESUMES_TOTAL, "outcome" => "failed").increment(1);
    tracing::error!(%error, "a session was not resumed");
    OpenError::Store
}
