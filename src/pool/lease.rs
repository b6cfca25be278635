//! A slot of an engine, held: while the [`Lease`] lives the slot is taken, when it drops the next waiter has it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use thiserror::Error;
use tokio::time::Instant;

use super::pool::Shared;
use super::queue::{HolderId, WorkClass};

/// Who wants a slot, for what, and how long that makes sense.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest {
    /// The session that asks.
    pub holder: HolderId,
    /// What it is for.
    pub class: WorkClass,
    /// When waiting any longer is of no use.
    pub deadline: Instant,
}

/// Why no slot was had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LeaseError {
    /// The deadline passed while waiting.
    #[error("no free {pool} slot within {waited_ms} ms; try again in a moment")]
    TimedOut {
        /// The pool's name.
        pool: &'static str,
        /// How long it waited.
        waited_ms: u64,
    },
    /// Too many wait already.
    #[error("{limit} requests wait for a {pool} slot already; try again in a moment")]
    QueueFull {
        /// The pool's name.
        pool: &'static str,
        /// `pools.max_waiting`.
        limit: usize,
    },
    /// The pool has no engine at all.
    #[error("no {pool} engine is configured; see [engines.{pool}] in the configuration")]
    NoInstance {
        /// The pool's name.
        pool: &'static str,
    },
}

/// One slot of an engine. Dereferences to the engine; gives the slot back when dropped.
#[must_use = "the slot is given back as soon as the lease is dropped"]
pub struct Lease<E: ?Sized> {
    engine: Arc<E>,
    instance: usize,
    shared: Arc<Shared<E>>,
}

impl<E: ?Sized> Lease<E> {
    pub(super) fn new(engine: Arc<E>, instance: usize, shared: Arc<Shared<E>>) -> Self {
        Self { engine, instance, shared }
    }
}

impl<E: ?Sized> Deref for Lease<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.engine
    }
}

impl<E: ?Sized> Drop for Lease<E> {
    fn drop(&mut self) {
        self.shared.release(self.instance);
    }
}

impl<E: ?Sized> fmt::Debug for Lease<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("instance", &self.instance).finish_non_exhaustive()
    }
}
