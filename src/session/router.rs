//! `SessionRouter`: opens sessions, knows which are open, and routes what names one, for its owner alone.
//! `resume` is how a session goes on on another socket, `attach` how it is given a second one.

mod attach;
mod resume;

pub use attach::AttachError;
pub use resume::Resumable;
use resume::{EntryKeeps, Start};

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use thiserror::Error;
use tokio::task::{AbortHandle, JoinHandle};

use super::actor::{COMMANDS_CAPACITY, SessionActor, Shares};
use super::admission::Permit;
use super::callbacks::Outbox;
use super::clock::ServerClock;
use super::command::SessionCommand;
use super::config::HealthConfig;
use super::error::EndError;
use super::event::{CloseReason, SessionEvent};
use super::factory::{BuildError, SessionComponentFactory, SessionSpec};
use super::health::{SessionGauge, SessionReport};
use super::id::SessionId;
use super::lifecycle::RequestLog;
use super::live::{LiveConfig, LiveSettings};
use super::metered;
use super::quota::{QuotaError, QuotaLimits, SessionQuotaManager};
use super::settings::SessionSettings;
use crate::engine::vad::VadDetector;
use crate::pool::HolderId;
use crate::store::SnapshotStore;
use crate::telemetry::metrics as names;

/// Whose a session is: the name of an API key, or nobody's on a server without keys.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Owner(pub Arc<str>);

impl Owner {
    /// Whoever comes to a server without keys. Keys have names that are not empty.
    pub fn anonymous() -> Self {
        Self("".into())
    }

    /// The owner of this name, or nobody.
    pub fn named(name: Option<&str>) -> Self {
        Self(name.unwrap_or_default().into())
    }

    /// Whether nobody knows who it is.
    pub fn is_anonymous(&self) -> bool {
        self.0.is_empty()
    }

    /// The name, if it has one.
    pub fn name(&self) -> Option<&str> {
        (!self.is_anonymous()).then_some(&*self.0)
    }
}

/// Opens and finds sessions. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct SessionRouter {
    factory: SessionComponentFactory,
    open: Arc<Mutex<HashMap<SessionId, Entry>>>,
    next_holder: Arc<AtomicU64>,
    quotas: SessionQuotaManager,
    requests: RequestLog,
    health: Arc<RwLock<HealthConfig>>,
    /// Keeps sessions to be resumed; `None` where nothing does.
    store: Option<Arc<dyn SnapshotStore>>,
    resuming: Arc<resume::Resuming>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    holder: HolderId,
    /// Weak: a session ends when its socket drops the sender, not when it is forgotten here.
    commands: metered::WeakSender<SessionCommand>,
    gauge: Arc<SessionGauge>,
    /// To tell its client why, if the session itself cannot.
    outbox: Outbox,
    /// `None` for the instant before its task runs.
    task: Option<AbortHandle>,
    keeps: EntryKeeps,
}

/// An open session as it is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) id: SessionId,
    pub(super) gauge: Arc<SessionGauge>,
    pub(super) commands: metered::WeakSender<SessionCommand>,
}

/// A session that was opened, for the two halves of its socket.
#[derive(Debug)]
pub struct OpenSession {
    /// Its id.
    pub id: SessionId,
    /// Where the reader sends; the session ends when it is dropped.
    pub commands: metered::Sender<SessionCommand>,
    /// What the writer sends on. It ends without [`SessionEvent::Closing`] if the session's task panicked.
    pub events: metered::Receiver<SessionEvent>,
    /// Where the socket says that its client lives.
    pub gauge: Arc<SessionGauge>,
    /// It was resumed: the socket is to tell it by [`Action::ConfirmResumed`](super::Action::ConfirmResumed) that its
    /// client has the new token.
    pub resumed: bool,
    /// The session's task.
    pub task: JoinHandle<CloseReason>,
}

/// Why no session was opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// The user's places are taken.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The server stops.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The token opens nothing, or nothing of this owner's, or no longer; they are told the same.
    #[error(
        "There is no session of yours to resume with this token: it may be wrong, used already, or too late. Open a \
         new one, without 'resume'."
    )]
    NothingToResume,
    /// What keeps sessions does not answer now.
    #[error("Sessions cannot be resumed at the moment. Try again soon.")]
    Store,
}

/// No session of this id for this owner: unknown and foreign are told the same.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no such session")]
pub struct NotFound;

impl SessionRouter {
    /// A router without sessions.
    pub fn new(factory: SessionComponentFactory) -> Self {
        let config = factory.live.now().config;
        Self {
            factory,
            open: Arc::default(),
            next_holder: Arc::default(),
            quotas: SessionQuotaManager::new(QuotaLimits::of(&config)),
            requests: RequestLog::new(ServerClock::start(), config.records.clone()),
            health: Arc::new(RwLock::new(config.health.clone())),
            store: None,
            resuming: Arc::default(),
        }
    }

    /// The same, with sessions kept in `store` to be resumed.
    pub fn with_store(self, store: Option<Arc<dyn SnapshotStore>>) -> Self {
        Self { store, ..self }
    }

    /// From now on, these settings for all sessions; those that run follow.
    pub fn reconfigure(&self, settings: LiveSettings) {
        self.quotas.reconfigure(QuotaLimits::of(&settings.config));
        self.requests.reconfigure(settings.config.records.clone());
        *self.health.write().unwrap_or_else(PoisonError::into_inner) = settings.config.health.clone();
        self.factory.live.reconfigure(settings);
    }

    /// Opens a session and starts its task. The permit is given back when that task ends, or on an error.
    pub fn open(
        &self,
        owner: &Owner,
        settings: SessionSettings,
        permit: Permit,
    ) -> Result<OpenSession, OpenError> {
        let start = self.new_session(owner, settings);
        self.start(owner, start, permit)
    }

    fn start(&self, owner: &Owner, start: Start, permit: Permit) -> Result<OpenSession, OpenError> {
        let shutdown = self.factory.runtime.shutdown_token().clone();
        if shutdown.is_cancelled() {
            return Err(OpenError::ShuttingDown);
        }
        let Start { id, settings, until_ms, keeping } = start;
        let holder = HolderId(self.next_holder.fetch_add(1, Ordering::Relaxed));
        let resumed = keeping.restored.is_some();
        let spec = SessionSpec { id: id.clone(), holder, settings };
        let quota = self.quotas.open(holder, owner)?;
        let (components, events) = self.factory.build(&spec)?;
        let (commands, inbox) = metered::channel(COMMANDS_CAPACITY);
        let (waiting_in, waiting_out) = (commands.meter().clone(), components.outbox.meter().clone());
        let gauge = Arc::new(SessionGauge::new(self.requests.clock(), waiting_in, waiting_out));
        let first_audio = permit.first_audio();
        let entry = Entry {
            owner: owner.clone(),
            holder,
            commands: commands.downgrade(),
            gauge: Arc::clone(&gauge),
            outbox: components.outbox.clone(),
            task: None,
            keeps: EntryKeeps::new(until_ms, &keeping),
        };
        let place = self.register(&id, entry, permit)?;
        let requests = self.requests.session(&id, owner, &gauge);
        let stuck_s = self.health_config().stuck_s;
        let shares = Shares { quota, gauge: Arc::clone(&gauge), requests, stuck_s, keeping };
        let actor = SessionActor::new(&spec, components, &self.factory.live, first_audio, shares);
        let task = self.factory.runtime.spawn("session", async move {
            let mut place = place; // left when the task ends, by a panic too
            let reason = actor.run(inbox, shutdown).await;
            place.forget = !reason.leaves_it_open();
            tracing::info!(session = %place.id, ?reason, "session closed");
            reason
        });
        if let Some(entry) = self.lock().get_mut(&id).filter(|entry| entry.holder == holder) {
            entry.task = Some(task.abort_handle());
        }
        tracing::info!(session = %id, resumed, "session opened");
        Ok(OpenSession { id, commands, events, gauge, resumed, task })
    }

    /// Where to send commands for a session of this owner.
    pub fn route(&self, id: &SessionId, owner: &Owner) -> Result<metered::Sender<SessionCommand>, NotFound> {
        let open = self.lock();
        let entry = open.get(id).filter(|entry| entry.owner == *owner).ok_or(NotFound)?;
        entry.commands.upgrade().ok_or(NotFound)
    }

    /// Where the settings of sessions are followed.
    pub fn live(&self) -> &LiveConfig {
        &self.factory.live
    }

    /// The settings of sessions as they are now.
    pub fn settings(&self) -> LiveSettings {
        self.factory.live.now()
    }

    /// Who uses how much.
    pub fn quotas(&self) -> &SessionQuotaManager {
        &self.quotas
    }

    /// The requests of all sessions.
    pub fn requests(&self) -> &RequestLog {
        &self.requests
    }

    /// Open sessions of owners that `may_see` takes, oldest first.
    pub fn reports(&self, may_see: impl Fn(&Owner) -> bool) -> Vec<SessionReport> {
        let clock = self.requests.clock();
        let open = self.lock();
        let mut seen: Vec<_> = open.iter().filter(|(_, entry)| may_see(&entry.owner)).collect();
        seen.sort_by_key(|(_, entry)| entry.holder); // holders are counted up
        seen.into_iter()
            .map(|(id, entry)| SessionReport::new(id, &entry.owner, &entry.gauge, clock))
            .collect()
    }

    /// What counts as unhealthy now.
    pub fn health_config(&self) -> HealthConfig {
        self.health.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All open sessions.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let watched = |(id, entry): (&SessionId, &Entry)| Watched {
            id: id.clone(),
            gauge: Arc::clone(&entry.gauge),
            commands: entry.commands.clone(),
        };
        self.lock().iter().map(watched).collect()
    }

    /// Takes down a session that does not end by itself: its place and its quota are free at once, its client is
    /// told, its task is aborted (a task that never yields ends no sooner).
    pub(super) fn evict(&self, id: &SessionId, reason: CloseReason) {
        let removed = {
            let mut open = self.lock();
            let removed = open.remove(id);
            report(open.len());
            removed
        };
        let Some(entry) = removed else { return };
        self.quotas.forget(entry.holder);
        self.left(id, &entry, !reason.leaves_it_open());
        entry.keeps.gone.cancel();
        let error = match reason {
            CloseReason::Silent => EndError::Silent,
            CloseReason::OutOfMemory => EndError::OutOfMemory {
                limit: self.quotas.limits().session.max_memory_bytes,
                used: entry.gauge.memory().total(),
            },
            _ => EndError::Unhealthy { limit_s: self.health_config().stuck_s },
        };
        entry.outbox.send(SessionEvent::Error { error: error.into(), client_event_id: None });
        entry.outbox.send(SessionEvent::Closing(reason));
        if let Some(task) = entry.task {
            task.abort();
        }
    }

    /// The open sessions of owners that `may_see`, by what they are called towards the pools.
    pub fn holders(&self, may_see: impl Fn(&Owner) -> bool) -> BTreeMap<HolderId, SessionId> {
        let open = self.lock();
        let seen = open.iter().filter(|(_, entry)| may_see(&entry.owner));
        seen.map(|(id, entry)| (entry.holder, id.clone())).collect()
    }

    /// Who asks without a session, towards the pools: a user is one, however many requests it makes; who has no
    /// name is another each time.
    pub fn outside_holder(&self, owner: &Owner) -> HolderId {
        const OUTSIDE: u64 = 1 << 63;
        let number = if owner.is_anonymous() {
            self.next_holder.fetch_add(1, Ordering::Relaxed)
        } else {
            let mut hasher = DefaultHasher::new();
            owner.hash(&mut hasher);
            hasher.finish()
        };
        HolderId(OUTSIDE | number)
    }

    /// A voice detector for audio without a session.
    pub fn detector(&self) -> Box<dyn VadDetector> {
        self.factory.vad.detector()
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn register(&self, id: &SessionId, entry: Entry, permit: Permit) -> Result<Place, OpenError> {
        let mut open = self.lock();
        if open.contains_key(id) {
            return Err(OpenError::NothingToResume); // another socket was faster
        }
        let holder = entry.holder;
        open.insert(id.clone(), entry);
        report(open.len());
        drop(open);
        Ok(Place { id: id.clone(), holder, router: self.clone(), permit: Some(permit), forget: false })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place among the open ones.
#[derive(Debug)]
struct Place {
    id: SessionId,
    holder: HolderId,
    router: SessionRouter,
    permit: Option<Permit>,
    /// The session is over for good: nobody may resume it.
    forget: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let entry = {
            let mut open = self.router.lock();
            // One that was evicted may have been resumed meanwhile, under the same id.
            let is_own = open.get(&self.id).is_some_and(|entry| entry.holder == self.holder);
            let entry = is_own.then(|| open.remove(&self.id)).flatten();
            report(open.len());
            entry
        };
        self.router.factory.pools.forget(self.holder);
        // Given back after the entry is gone, so that there are never more entries than permits.
        drop(self.permit.take());
        if let Some(entry) = entry {
            self.router.left(&self.id, &entry, self.forget);
            entry.keeps.gone.cancel();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer sessions than 2^52")]
fn report(open: usize) {
    metrics::gauge!(names::SESSIONS_ACTIVE).set(open as f64);
}
