//! How a store is, for status and metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::telemetry::metrics as names;

/// How a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// `sqlite` or `memory`.
    pub kind: &'static str,
    /// Sessions kept.
    pub sessions: usize,
    /// Bytes kept.
    pub bytes: u64,
    /// Sessions with changes that are not written yet.
    pub pending_sessions: usize,
    /// Bytes of these changes.
    pub pending_bytes: usize,
    /// What is wrong, while it is; sessions go on, and their changes wait.
    pub failing: Option<String>,
}

/// The status as its store changes it.
#[derive(Debug)]
pub(super) struct Reported(Mutex<StoreStatus>);

impl Reported {
    pub(super) fn new(kind: &'static str) -> Self {
        Self(Mutex::new(StoreStatus { kind, ..StoreStatus::default() }))
    }

    pub(super) fn get(&self) -> StoreStatus {
        self.lock().clone()
    }

    /// What is kept.
    pub(super) fn holds(&self, sessions: usize, bytes: u64) {
        let mut status = self.lock();
        (status.sessions, status.bytes) = (sessions, bytes);
        drop(status);
        #[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
        let (sessions, bytes) = (sessions as f64, bytes as f64);
        metrics::gauge!(names::STORE_SESSIONS).set(sessions);
        metrics::gauge!(names::STORE_BYTES).set(bytes);
    }

    /// Whether writing works; a change of that is logged.
    pub(super) fn works(&self, result: Result<(), String>) {
        let mut status = self.lock();
        let was_failing = status.failing.is_some();
        status.failing = result.err();
        let failing = status.failing.clone();
        drop(status);
        metrics::gauge!(names::STORE_FAILING).set(if failing.is_some() { 1.0 } else { 0.0 });
        match failing {
            Some(reason) if !was_failing => {
                tracing::error!(%reason, "snapshots cannot be written; sessions go on without, and it is tried again");
            }
            None if was_failing => tracing::info!("snapshots are written again"),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, StoreStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
