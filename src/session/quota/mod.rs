//! `SessionQuotaManager`: what a session and a user may take, and who holds how much of it.
//!
//! One for the server. It hands each session a [`SessionQuota`], and each request a [`RequestPermit`]; what they
//! stand for is given back when they are dropped, by a panic too. The books are in `ledger`, rates in `window`,
//! memory in `memory`; all of that is pure.
//!
//! Rates are a sliding window, not the `governor` crate. Its token bucket lets twice the limit through in one
//! minute (a full bucket and what refills meanwhile), has no question "would it fit?" without taking, which the
//! choice between several limits and the work done ahead of time need, and forgets what was used when its limit
//! changes at run time. The window is exact, tells the exact wait, and is some 30 lines.

mod error;
mod ledger;
mod memory;
mod window;

pub use error::QuotaError;
pub use ledger::Charge;
pub use memory::{MEMORY_GRACE, MemoryUse};
pub(super) use memory::{MemoryGuard, Verdict};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::time::Instant;

use super::config::{LimitsConfig, PerUserConfig, SessionConfig};
use super::router::Owner;
use crate::pool::HolderId;
use crate::telemetry::metrics as names;
use ledger::Ledger;

/// All limits, as they are now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuotaLimits {
    /// What one session may take.
    pub session: LimitsConfig,
    /// What all sessions of one user may take together.
    pub per_user: PerUserConfig,
}

impl QuotaLimits {
    /// The limits of a configuration.
    pub fn of(config: &SessionConfig) -> Self {
        Self { session: config.limits.clone(), per_user: config.per_user.clone() }
    }
}

/// Keeps the quotas of all sessions and users. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct SessionQuotaManager {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ledger: Mutex<Ledger>,
    limits: RwLock<Arc<QuotaLimits>>,
}

impl SessionQuotaManager {
    /// A manager with these limits and nothing used.
    pub fn new(limits: QuotaLimits) -> Self {
        let this = Self::default();
        this.reconfigure(limits);
        this
    }

    /// Sets other limits, for open sessions too. What is used stays used; nobody is ended for a limit that was
    /// lowered, except by memory.
    pub fn reconfigure(&self, limits: QuotaLimits) {
        *self.shared.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    /// The limits as they are now.
    pub fn limits(&self) -> Arc<QuotaLimits> {
        Arc::clone(&self.shared.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens a session of `owner`.
    pub fn open(&self, session: HolderId, owner: &Owner) -> Result<SessionQuota, QuotaError> {
        let opened = self.lock().open(session.0, owner, &self.limits(), Instant::now());
        opened.map_err(refused)?;
        Ok(SessionQuota { manager: self.clone(), session: session.0 })
    }

    /// Begins a request of `owner` that belongs to no session.
    pub fn begin_outside(&self, owner: &Owner, charge: Charge) -> Result<RequestPermit, QuotaError> {
        let begun = self.lock().begin_outside(owner, charge, &self.limits(), Instant::now());
        begun.map_err(refused)?;
        Ok(RequestPermit { manager: self.clone(), of: Holder::Outside(owner.clone()) })
    }

    /// Gives back what a session holds although its quota was not dropped: its task does not end.
    pub(super) fn forget(&self, session: HolderId) {
        self.lock().close(session.0);
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's share. Dropping it gives all back.
#[derive(Debug)]
pub struct SessionQuota {
    manager: SessionQuotaManager,
    session: u64,
}

impl SessionQuota {
    /// The limits as they are now.
    pub fn limits(&self) -> Arc<QuotaLimits> {
        self.manager.limits()
    }

    /// Whether a request would be within all limits now.
    pub fn allows(&self, charge: Charge) -> bool {
        self.manager.lock().check(self.session, charge, &self.limits(), Instant::now()).is_ok()
    }

    /// The same, with the limit that is reached; the refusal is counted.
    pub fn check(&self, charge: Charge) -> Result<(), QuotaError> {
        let checked = self.manager.lock().check(self.session, charge, &self.limits(), Instant::now());
        checked.map_err(refused)
    }

    /// Begins a request within the limits.
    pub fn begin(&self, charge: Charge) -> Result<RequestPermit, QuotaError> {
        self.check(charge)?;
        Ok(self.begin_anyway(charge))
    }

    /// Begins a request that must not be refused, for what was said would be lost; it uses the quota up.
    pub fn begin_anyway(&self, charge: Charge) -> RequestPermit {
        self.manager.lock().begin(self.session, charge, &self.limits(), Instant::now());
        RequestPermit { manager: self.manager.clone(), of: Holder::Session(self.session) }
    }
}

impl Drop for SessionQuota {
    fn drop(&mut self) {
        self.manager.lock().close(self.session);
    }
}

/// A request that counts as under way until this is dropped.
#[derive(Debug)]
#[must_use = "the request counts as over as soon as its permit is dropped"]
pub struct RequestPermit {
    manager: SessionQuotaManager,
    of: Holder,
}

#[derive(Debug)]
enum Holder {
    Session(u64),
    Outside(Owner),
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        match &self.of {
            Holder::Session(session) => self.manager.lock().end(*session),
            Holder::Outside(owner) => self.manager.lock().end_outside(owner),
        }
    }
}

/// Counts a refusal.
pub(super) fn refused(error: QuotaError) -> QuotaError {
    metrics::counter!(names::QUOTA_REFUSALS_TOTAL, "limit" => error.key()).increment(1);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_gives_everything_back() {
        let mut limits = QuotaLimits::default();
        limits.per_user.max_sessions = 1;
        limits.per_user.max_concurrent_requests = 1;
        let manager = SessionQuotaManager::new(limits);
        let owner = Owner("anna".into());
        let (inner, of) = (manager.clone(), owner.clone());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let quota = inner.open(HolderId(1), &of).expect("free");
            let _permit = quota.begin(Charge::Response).expect("free");
            panic!("on purpose");
        }));
        assert!(outcome.is_err());
        let quota = manager.open(HolderId(2), &owner).expect("the panicked session's place is free");
        drop(quota.begin(Charge::Response).expect("and its request is over"));
        drop(manager.begin_outside(&owner, Charge::Other).expect("nothing is under way"));
    }

    #[tokio::test(start_paused = true)]
    async fn new_limits_count_at_once_and_what_was_used_is_remembered() {
        let manager = SessionQuotaManager::new(QuotaLimits::default());
        let quota = manager.open(HolderId(1), &Owner("anna".into())).expect("free");
        for _ in 0..5 {
            drop(quota.begin(Charge::Response).expect("within the limit"));
        }
        let mut lower = QuotaLimits::default();
        lower.per_user.max_responses_per_minute = 5;
        manager.reconfigure(lower);
        let refused = quota.begin(Charge::Response).expect_err("five within the minute");
        assert_eq!(refused, QuotaError::UserResponsesPerMinute { limit: 5, retry_after_s: 60 });
        assert!(quota.allows(Charge::Other));
    }
}
