//! The server's compute gate as an engine in another process sees it: it asks over the pipe.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::voice::Voice;
use crate::backend::process::wire::FromEngine;
use crate::engine::Device;
use crate::engine::compute::{ComputeGate, ComputePermit};

/// Asks the server for each step.
pub(super) struct PipeGate {
    voice: Voice,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    steps: HashMap<u64, Sender<()>>,
    /// The server has gone: who computes does so for nobody, and is not to wait for it.
    is_open: bool,
}

impl PipeGate {
    pub(super) fn new(voice: Voice) -> Self {
        Self { voice, waiting: Mutex::default() }
    }

    /// The server lets a step compute.
    pub(super) fn permit(&self, step: u64) {
        let waiter = self.lock().steps.remove(&step);
        if let Some(waiter) = waiter {
            waiter.send(()).ok();
        }
    }

    /// Lets everybody compute from now on.
    pub(super) fn open(&self) {
        let mut waiting = self.lock();
        waiting.is_open = true;
        waiting.steps.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ComputeGate for PipeGate {
    fn enter(&self, device: Device, urgent: bool) -> ComputePermit {
        let (permitted, permit) = crossbeam_channel::bounded(1);
        let mut waiting = self.lock();
        let step = waiting.next;
        waiting.next += 1;
        if !waiting.is_open {
            waiting.steps.insert(step, permitted);
            drop(waiting);
            self.voice.say(&FromEngine::Enter(step, device, urgent));
            // An error: the gate has opened for all.
            permit.recv().ok();
        }
        ComputePermit::holding(Step { voice: self.voice.clone(), step })
    }
}

impl fmt::Debug for PipeGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeGate").finish_non_exhaustive()
    }
}

/// A step that computes; says so when it is done.
struct Step {
    voice: Voice,
    step: u64,
}

impl Drop for Step {
    fn drop(&mut self) {
        self.voice.say(&FromEngine::Leave(self.step));
    }
}
