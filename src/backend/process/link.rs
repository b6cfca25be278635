//! What the threads and the callers of an engine's process share: the way to it, its calls, its permits, its end.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, never};

use super::calls::Calls;
use super::frames;
use super::wire::ToEngine;
use crate::engine::EngineError;
use crate::engine::compute::ComputePermit;

/// Messages that may wait for the pipe. A process that lives reads them at once.
pub(super) const OUTBOX_CAPACITY: usize = 256;
/// How long a process may take to end once its pipe is closed.
const EXIT_GRACE: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// What goes to the process.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A message.
    Message(ToEngine),
    /// Nothing, but flags may have changed.
    Look,
}

/// One process, from before its start until after its end.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) engine: String,
    pub(super) calls: Calls,
    outbox: Mutex<Option<Sender<Outgoing>>>,
    stdin: Mutex<Option<ChildStdin>>,
    child: Mutex<Option<Child>>,
    pid: AtomicU32,
    is_running: AtomicBool,
    /// Leave to compute that the process has, by the step's number; `None` once it has ended.
    permits: Mutex<Option<HashMap<u64, ComputePermit>>>,
}

impl Link {
    /// A link to a process that has yet to start, and what is sent over it.
    pub(super) fn new(engine: &str) -> (Self, Receiver<Outgoing>) {
        let (outbox, outgoing) = crossbeam_channel::bounded(OUTBOX_CAPACITY);
        let link = Self {
            engine: engine.to_owned(),
            calls: Calls::default(),
            outbox: Mutex::new(Some(outbox)),
            stdin: Mutex::default(),
            child: Mutex::default(),
            pid: AtomicU32::new(0),
            is_running: AtomicBool::new(false),
            permits: Mutex::new(Some(HashMap::new())),
        };
        (link, outgoing)
    }

    /// The process runs.
    pub(super) fn attach(&self, mut child: Child) {
        *lock(&self.stdin) = child.stdin.take();
        self.pid.store(child.id(), Ordering::Release);
        *lock(&self.child) = Some(child);
        self.is_running.store(true, Ordering::Release);
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Acquire)
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }

    /// Queues a message; never waits.
    pub(super) fn send(&self, outgoing: Outgoing) -> Result<(), EngineError> {
        let engine = self.engine.clone();
        match lock(&self.outbox).as_ref().map(|outbox| outbox.try_send(outgoing)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => {
                let reason = format!("its process reads nothing; {OUTBOX_CAPACITY} messages wait for it");
                Err(EngineError::Failed { engine, reason })
            }
            Some(Err(TrySendError::Disconnected(_))) | None => {
                Err(EngineError::Unavailable { engine, reason: "it is being stopped".to_owned() })
            }
        }
    }

    /// Writes a message; false where the pipe is gone. Blocks while the process does not read.
    pub(super) fn write(&self, message: &ToEngine) -> bool {
        let mut stdin = lock(&self.stdin);
        let Some(pipe) = stdin.as_mut() else { return false };
        match frames::write(pipe, message) {
            Ok(()) => {
                if let ToEngine::Call(id, _) = message {
                    self.calls.sent(*id);
                }
                true
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                self.refuse(message, error.to_string());
                true
            }
            Err(_broken) => {
                *stdin = None;
                false
            }
        }
    }

    /// A request that cannot be written fails alone.
    fn refuse(&self, message: &ToEngine, reason: String) {
        if let ToEngine::Call(id, _) = message {
            self.calls.over(*id, Some(EngineError::BadRequest { engine: self.engine.clone(), reason }));
            self.calls.let_go(*id);
        }
    }

    /// Closes the pipe behind what is queued, which tells the process to end.
    pub(super) fn close(&self) {
        *lock(&self.outbox) = None;
    }

    /// Closes the pipe.
    pub(super) fn hang_up(&self) {
        *lock(&self.stdin) = None;
    }

    /// Whether it was asked to end.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.outbox).is_none()
    }

    /// Ends the process at once; one that has ended already is left alone.
    pub(super) fn kill(&self) {
        if let Some(Err(error)) = lock(&self.child).as_mut().map(Child::kill) {
            tracing::error!(engine = self.engine, pid = self.pid(), %error, "an engine's process cannot be ended");
        }
    }

    /// Waits for the process, which is about to end; ends it where it does not.
    pub(super) fn reap(&self) -> Option<ExitStatus> {
        let rounds = EXIT_GRACE.as_millis() / EXIT_POLL.as_millis();
        for _ in 0..rounds {
            let status = lock(&self.child).as_mut().and_then(|child| child.try_wait().ok().flatten());
            if status.is_some() {
                return status;
            }
            never::<()>().recv_timeout(EXIT_POLL).ok();
        }
        self.kill();
        lock(&self.child).as_mut().and_then(|child| child.wait().ok())
    }

    /// The process has ended: nobody waits for it any more, and the device is free of it.
    pub(super) fn end(&self, reason: String) {
        self.is_running.store(false, Ordering::Release);
        self.close();
        drop(lock(&self.permits).take());
        self.calls.end(&EngineError::Unavailable { engine: self.engine.clone(), reason });
    }

    /// Keeps leave to compute for a step of the process; false where that has ended.
    pub(super) fn permit(&self, step: u64, permit: ComputePermit) -> bool {
        let mut permits = lock(&self.permits);
        let Some(held) = permits.as_mut() else {
            drop(permits);
            return false;
        };
        held.insert(step, permit);
        true
    }

    /// Gives a step's leave back.
    pub(super) fn leave(&self, step: u64) {
        let permit = lock(&self.permits).as_mut().and_then(|held| held.remove(&step));
        drop(permit);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
