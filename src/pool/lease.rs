//! A slot of an engine, held: while the [`Lease`] lives the slot is taken. When it drops, the call behind it is
//! told to stop, and the slot is free as soon as the engine has let go of it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::pool::Shared;
use super::queue::{HolderId, Ticket, WorkClass};
use super::schedule::MemberId;
use crate::engine::endpoint::Endpoint;
use crate::engine::{CancelFlag, EngineError};

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
    /// A newer partial transcript of the same session took this one's place.
    #[error("a newer request took this one's place in the {pool} line")]
    Superseded {
        /// The pool's name.
        pool: &'static str,
    },
    /// Every instance has failed and none is well again yet.
    #[error(
        "no {pool} engine is healthy at the moment; they are being restarted, try again in a few seconds"
    )]
    Unhealthy {
        /// The pool's name.
        pool: &'static str,
    },
    /// Every endpoint of the pool has reached a limit of its own, or asked for a pause.
    #[error("every {pool} endpoint has reached its limit; the next call is possible in {retry_after_ms} ms")]
    Limited {
        /// The pool's name.
        pool: &'static str,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The pool has no engine at all.
    #[error("no {pool} engine is configured; see [engines.{pool}] in the configuration")]
    NoInstance {
        /// The pool's name.
        pool: &'static str,
    },
}

/// One slot of an engine. Dereferences to the engine; dropping it stops the call and gives the slot back.
#[must_use = "the slot is given back as soon as the lease is dropped"]
pub struct Lease<E: ?Sized> {
    pub(super) engine: Arc<E>,
    pub(super) instance: Arc<str>,
    /// How it is called, where it stands for a URL.
    pub(super) endpoint: Option<Endpoint>,
    /// It serves because no other is healthy.
    pub(super) is_fallback: bool,
    pub(super) member: MemberId,
    pub(super) ticket: Ticket,
    pub(super) began: Instant,
    /// How long it was waited for.
    pub(super) queued: Duration,
    /// Keeps the slot until the engine has let go, too.
    pub(super) cancel: CancelFlag,
    pub(super) pool: Arc<Shared<E>>,
}

impl<E: ?Sized> Lease<E> {
    /// The flag to give to the call. It is raised when the lease drops.
    pub fn cancel_flag(&self) -> CancelFlag {
        self.cancel.clone()
    }

    pub(super) fn succeeded(&self) {
        self.pool.on_success(self.member);
    }

    /// What the call took in truth of its endpoint's tokens.
    pub(super) fn settle(&self, tokens: u64) {
        if self.endpoint.is_some() {
            self.pool.scheduler.settle(self.member, self.ticket, tokens);
        }
    }

    /// Only what the instance is to blame for counts against it.
    pub(super) fn failed(&self, error: &EngineError) {
        if error.is_retryable() {
            self.pool.on_failure(self.member, error, self.began);
        }
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
        self.cancel.cancel();
        self.pool.abandon(self.ticket);
    }
}

impl<E: ?Sized> fmt::Debug for Lease<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("instance", &self.instance).finish_non_exhaustive()
    }
}
