//! Snapshots in an SQLite file, the default: sessions survive the server.
//!
//! One thread owns the connection (see `thread`); `table` is the SQL. Sessions put their changes into a map and
//! wake the thread; everything else is a command on a bounded queue that is answered when it was done.

mod file;
mod table;
mod thread;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
use futures::FutureExt;
use tokio::sync::oneshot;

use super::change::Change;
use super::pending::Pending;
use super::status::Reported;
use super::{
    Answer, Found, NotTaken, SnapshotStore, StoreConfig, StoreError, StoreStatus, Stored, TokenHash,
};
use crate::telemetry::clock::whole_ms;
use table::Table;

/// Commands that wait for the thread. Changes do not count: they wait in a map of their own.
pub const COMMANDS_CAPACITY: usize = 256;

/// Snapshots in an SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked.
#[derive(Debug)]
enum Command {
    /// There are changes.
    Wake,
    Find(TokenHash, u64, oneshot::Sender<Result<Option<Found>, StoreError>>),
    Claim(Claim, oneshot::Sender<Result<Option<Stored>, StoreError>>),
    Expire(u64),
    Flush(oneshot::Sender<Result<(), StoreError>>),
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    token: TokenHash,
    next: TokenHash,
    now_ms: u64,
}

/// What the thread and its callers share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    pending: Mutex<Pending>,
    reported: Reported,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SqliteStore {
    /// Opens the file, making it where it is not there. Sessions that were open when the last server on it ended
    /// expire `grace` from now.
    pub fn open(config: &StoreConfig, grace: Duration, now_ms: u64) -> Result<Self, StoreError> {
        let connection = file::open(&config.path, config.max_bytes)?;
        let table = Table::new(connection, config.max_sessions, config.max_bytes);
        let unusable = |error| file::error(&config.path, &error);
        let adopted = table.adopt(now_ms.saturating_add(whole_ms(grace))).map_err(unusable)?;
        if adopted > 0 {
            tracing::info!(sessions = adopted, "sessions of the last run wait to be resumed");
        }
        let reported = Reported::new("sqlite");
        reported.holds(table.sessions().map_err(unusable)?, table.bytes().map_err(unusable)?);
        let shared = Arc::new(Shared { path: config.path.clone(), pending: Mutex::default(), reported });
        let (commands, inbox) = crossbeam_channel::bounded(COMMANDS_CAPACITY);
        let thread = thread::spawn(table, inbox, Arc::clone(&shared)).map_err(|error| {
            StoreError::Unwritable { path: config.path.clone(), reason: error.to_string() }
        })?;
        let store = Self { shared, commands: Some(commands), thread: Some(thread) };
        store.expire(now_ms);
        Ok(store)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    fn wake(&self) {
        // Where the queue is full, the thread looks at the changes after the next command anyway.
        if let Some(commands) = &self.commands {
            commands.try_send(Command::Wake).ok();
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.as_ref().is_some_and(|commands| commands.try_send(command(reply)).is_ok());
        let unavailable = |reason: &str| Err(StoreError::Unavailable { reason: reason.to_owned() });
        async move {
            if !sent {
                return unavailable("too many requests wait for it");
            }
            answer.await.unwrap_or_else(|_| unavailable("its thread has ended"))
        }
        .boxed()
    }
}

impl SnapshotStore for SqliteStore {
    fn save(&self, session: &str, change: Change) -> Result<(), NotTaken> {
        self.shared.pending().save(session, change)?;
        self.wake();
        Ok(())
    }

    fn find(&self, token: TokenHash, now_ms: u64) -> Answer<Option<Found>> {
        self.ask(|reply| Command::Find(token, now_ms, reply))
    }

    fn claim(&self, token: TokenHash, next: TokenHash, now_ms: u64) -> Answer<Option<Stored>> {
        self.ask(|reply| Command::Claim(Claim { token, next, now_ms }, reply))
    }

    fn delete(&self, session: &str) {
        self.shared.pending().delete(session);
        self.wake();
    }

    fn expire(&self, now_ms: u64) {
        if let Some(commands) = &self.commands {
            commands.try_send(Command::Expire(now_ms)).ok(); // it is asked again soon
        }
    }

    fn flush(&self) -> Answer<()> {
        self.ask(Command::Flush)
    }

    fn status(&self) -> StoreStatus {
        let (pending_sessions, pending_bytes) = self.shared.pending().size();
        StoreStatus { pending_sessions, pending_bytes, ..self.shared.reported.get() }
    }
}

impl Drop for SqliteStore {
    /// Writes what waits, then joins the thread.
    fn drop(&mut self) {
        drop(self.commands.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the session store panicked");
        }
    }
}
