//! `SessionRouter`: opens sessions, knows which are open, and routes what names one, for its owner alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::actor::{COMMANDS_CAPACITY, SessionActor};
use super::admission::Permit;
use super::command::SessionCommand;
use super::event::{CloseReason, SessionEvent};
use super::factory::{BuildError, SessionComponentFactory, SessionSpec};
use super::id::SessionId;
use super::live::{LiveConfig, LiveSettings};
use super::settings::SessionSettings;
use crate::pool::HolderId;
use crate::telemetry::metrics as names;

/// Whose a session is: the name of an API key, or of everybody on a server without keys.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Owner(pub Arc<str>);

/// Opens and finds sessions. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct SessionRouter {
    factory: SessionComponentFactory,
    open: Arc<Mutex<HashMap<SessionId, Entry>>>,
    next_holder: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    /// Weak: a session ends when its socket drops the sender, not when it is forgotten here.
    commands: mpsc::WeakSender<SessionCommand>,
}

/// A session that was opened, for the two halves of its socket.
#[derive(Debug)]
pub struct OpenSession {
    /// Its id.
    pub id: SessionId,
    /// Where the reader sends; the session ends when it is dropped.
    pub commands: mpsc::Sender<SessionCommand>,
    /// What the writer sends on. It ends without [`SessionEvent::Closing`] if the session's task panicked.
    pub events: mpsc::Receiver<SessionEvent>,
    /// The session's task.
    pub task: JoinHandle<CloseReason>,
}

/// Why no session was opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// The server stops.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// No session of this id for this owner: unknown and foreign are told the same.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no such session")]
pub struct NotFound;

impl SessionRouter {
    /// A router without sessions.
    pub fn new(factory: SessionComponentFactory) -> Self {
        Self { factory, open: Arc::default(), next_holder: Arc::default() }
    }

    /// Opens a session and starts its task. The permit is given back when that task ends, or on an error.
    pub fn open(
        &self,
        owner: &Owner,
        settings: SessionSettings,
        permit: Permit,
    ) -> Result<OpenSession, OpenError> {
        let shutdown = self.factory.runtime.shutdown_token().clone();
        if shutdown.is_cancelled() {
            return Err(OpenError::ShuttingDown);
        }
        let (id, holder) = (SessionId::random(), self.next_holder.fetch_add(1, Ordering::Relaxed));
        let spec = SessionSpec { id: id.clone(), holder: HolderId(holder), settings };
        let (components, events) = self.factory.build(&spec)?;
        let (commands, inbox) = mpsc::channel(COMMANDS_CAPACITY);
        let place = self.register(&id, owner, &commands, permit);
        let first_audio = place.permit.first_audio();
        let actor = SessionActor::new(&spec, components, &self.factory.live, first_audio);
        let task = self.factory.runtime.spawn("session", async move {
            let place = place; // left when the task ends, by a panic too
            let reason = actor.run(inbox, shutdown).await;
            tracing::info!(session = %place.id, ?reason, "session closed");
            reason
        });
        tracing::info!(session = %id, "session opened");
        Ok(OpenSession { id, commands, events, task })
    }

    /// Where to send commands for a session of this owner.
    pub fn route(&self, id: &SessionId, owner: &Owner) -> Result<mpsc::Sender<SessionCommand>, NotFound> {
        let open = self.lock();
        let entry = open.get(id).filter(|entry| entry.owner == *owner).ok_or(NotFound)?;
        entry.commands.upgrade().ok_or(NotFound)
    }

    /// From now on, these settings for all sessions; those that run follow.
    pub fn reconfigure(&self, settings: LiveSettings) {
        self.factory.live.reconfigure(settings);
    }

    /// Where the settings of sessions are followed.
    pub fn live(&self) -> &LiveConfig {
        &self.factory.live
    }

    /// The settings of sessions as they are now.
    pub fn settings(&self) -> LiveSettings {
        self.factory.live.now()
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn register(
        &self,
        id: &SessionId,
        owner: &Owner,
        commands: &mpsc::Sender<SessionCommand>,
        permit: Permit,
    ) -> Place {
        let mut open = self.lock();
        open.insert(id.clone(), Entry { owner: owner.clone(), commands: commands.downgrade() });
        report(open.len());
        drop(open);
        Place { id: id.clone(), router: self.clone(), permit }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place among the open ones.
#[derive(Debug)]
struct Place {
    id: SessionId,
    router: SessionRouter,
    /// Given back after the entry is gone, so that there are never more entries than permits.
    permit: Permit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.router.lock();
        open.remove(&self.id);
        report(open.len());
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer sessions than 2^52")]
fn report(open: usize) {
    metrics::gauge!(names::SESSIONS_ACTIVE).set(open as f64);
}
