//! The thread that owns the connection. Between any two commands it writes all changes that wait, in one
//! transaction: on a busy disk, transactions grow instead of queues.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::time::Instant;

use super::table::Table;
use super::{Command, Shared};
use crate::store::StoreError;
use crate::telemetry::metrics as names;

/// How long to wait until changes that could not be written are tried again: this, doubled up to the most.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(15);

pub(super) fn spawn(
    table: Table,
    inbox: Receiver<Command>,
    shared: Arc<Shared>,
) -> std::io::Result<JoinHandle<()>> {
    let worker = Worker { table, shared, retry: None };
    std::thread::Builder::new().name("session store".to_owned()).spawn(move || worker.run(&inbox))
}

struct Worker {
    table: Table,
    shared: Arc<Shared>,
    /// When to try again, and how long to wait after that, while writing fails.
    retry: Option<(Instant, Duration)>,
}

impl Worker {
    /// Ends when the store is dropped, after it has written all it can.
    fn run(mut self, inbox: &Receiver<Command>) {
        loop {
            let command = match self.retry {
                Some((at, _)) => inbox.recv_deadline(at.into_std()),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match command {
                Ok(command) => self.serve(command),
                Err(RecvTimeoutError::Timeout) => self.write_if_due(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.write() {
            tracing::error!(%error, "the last snapshots were not written");
        }
    }

    fn serve(&mut self, command: Command) {
        match command {
            Command::Wake => self.write_if_due(),
            Command::Find(token, now_ms, reply) => {
                let found = self.write().and_then(|()| self.table.find(token, now_ms));
                reply.send(found.map_err(|error| unavailable(&error))).ok();
            }
            Command::Claim(claim, reply) => {
                let claimed = self.write().and_then(|()| self.table.claim(claim));
                reply.send(claimed.map_err(|error| unavailable(&error))).ok();
            }
            Command::Flush(reply) => {
                reply.send(self.write().map_err(|error| unavailable(&error))).ok();
            }
            Command::Expire(now_ms) => {
                let expired = self.table.expire(now_ms).and_then(|()| self.report());
                if let Err(error) = expired {
                    tracing::warn!(%error, "expired snapshots were not deleted");
                }
                self.write_if_due();
            }
        }
    }

    fn write_if_due(&mut self) {
        if self.retry.is_none_or(|(at, _)| at <= Instant::now()) {
            self.write().ok(); // told where it happens
        }
    }

    /// Writes what waits. What cannot be written waits on.
    fn write(&mut self) -> rusqlite::Result<()> {
        let todo = self.shared.pending().take();
        if todo.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let written = self.table.write(&todo);
        metrics::histogram!(names::STORE_WRITE_SECONDS).record(started.elapsed().as_secs_f64());
        let outcome = if written.is_ok() { "written" } else { "failed" };
        metrics::counter!(names::STORE_WRITES_TOTAL, "outcome" => outcome).increment(1);
        if let Err(error) = &written {
            self.shared.pending().put_back(todo);
            // What waits may be more than there will ever be room for beside what is kept.
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
                && let Err(error) = self.table.make_room()
            {
                tracing::warn!(%error, "no snapshots could be forgotten to make room");
            }
            let wait = self.retry.map_or(RETRY_FIRST, |(_, wait)| (wait * 2).min(RETRY_MOST));
            self.retry = Some((Instant::now() + wait, wait));
        } else {
            self.shared.pending().written();
            self.retry = None;
        }
        self.shared.reported.works(written.as_ref().copied().map_err(ToString::to_string));
        written
    }

    fn report(&self) -> rusqlite::Result<()> {
        self.shared.reported.holds(self.table.sessions()?, self.table.bytes()?);
        Ok(())
    }
}

fn unavailable(error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable { reason: error.to_string() }
}
