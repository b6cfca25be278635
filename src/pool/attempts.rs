//! The tries of one call: an engine of this machine is tried once more, elsewhere where there is an elsewhere; an
//! endpoint as often as its limits say, after a pause where it is the same one again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::call::{CallError, CallObserver};
use super::lease::{Lease, LeaseError, LeaseRequest};
use super::pool::ResourcePool;
use super::schedule::{Avoid, Rather};
use crate::engine::EngineError;
use crate::engine::endpoint::EndpointTimeouts;

/// The pause before an endpoint is tried again, at first: longer than a restarting proxy drops connections, shorter
/// than a person notices in an answer that is late anyway.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// It doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// An engine of this machine is tried so often beyond the first time.
const LOCAL_RETRIES: u32 = 1;
/// What a pool gives an endpoint beyond its own timeouts, so that the one who knows the phase tells of it first.
const GRACE: Duration = Duration::from_millis(250);

/// Follows the tries of one call.
pub(super) struct Attempts<'a, E: ?Sized> {
    pool: &'a ResourcePool<E>,
    request: LeaseRequest,
    /// What an endpoint is thought to count for it.
    tokens: u64,
    observer: &'a dyn CallObserver,
    /// How long each try may wait for its slot.
    patience: Duration,
    failures: u32,
    avoid: Option<Avoid>,
    pauses: ExponentialBackoff,
    queued: Duration,
    called: Option<Instant>,
}

impl<'a, E: ?Sized> Attempts<'a, E> {
    pub(super) fn new(
        pool: &'a ResourcePool<E>,
        request: LeaseRequest,
        tokens: u64,
        observer: &'a dyn CallObserver,
    ) -> Self {
        let pauses = ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_max_delay(LONGEST_PAUSE);
        Self {
            pool,
            request,
            tokens,
            observer,
            patience: request.deadline.saturating_duration_since(Instant::now()),
            failures: 0,
            avoid: None,
            pauses: pauses.with_jitter().without_max_times().build(),
            queued: Duration::ZERO,
            called: None,
        }
    }

    /// A slot for the next try.
    pub(super) async fn lease(&mut self) -> Result<Lease<E>, LeaseError> {
        if self.avoid.is_some_and(|avoid| !self.pool.shared.has_other(avoid)) {
            sleep(self.pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
        let request = LeaseRequest { deadline: Instant::now() + self.patience, ..self.request };
        self.observer.queued();
        let lease = self.pool.lease_for(request, self.avoid, self.tokens).await?;
        self.observer.called(&lease.instance);
        self.queued += lease.queued;
        self.called.get_or_insert_with(Instant::now);
        Ok(lease)
    }

    /// Notes a failure; an error where there is no other try.
    pub(super) fn after(&mut self, lease: &Lease<E>, error: EngineError) -> Result<(), CallError> {
        lease.failed(&error);
        self.observer.ended();
        self.failures += 1;
        let retries = lease.endpoint.map_or(LOCAL_RETRIES, |endpoint| endpoint.limits.retries);
        if self.failures > retries || !error.is_retryable() {
            return Err(error.into());
        }
        let rather = match (self.failures >= retries, self.failures) {
            (false, _) => Rather::Again,
            (true, 1) => Rather::Elsewhere,
            (true, _) => Rather::Fallback,
        };
        self.avoid = Some(Avoid { member: lease.member, rather });
        tracing::warn!(instance = %lease.instance, %error, failures = self.failures, retries, "an engine call failed before it said anything; trying once more");
        Ok(())
    }

    /// How long the engine may take to its first output.
    pub(super) fn first_output(&self, lease: &Lease<E>) -> Duration {
        let of = |timeouts: EndpointTimeouts| timeouts.connect_ms.saturating_add(timeouts.first_output_ms);
        self.limit(lease, of, self.pool.config().first_output_ms)
    }

    /// How long it may pause after that.
    pub(super) fn stall(&self, lease: &Lease<E>) -> Duration {
        self.limit(lease, |timeouts| timeouts.between_ms, self.pool.config().stall_ms)
    }

    /// Waiting for slots, of all tries.
    pub(super) fn queued(&self) -> Duration {
        self.queued
    }

    /// When the first try was called.
    pub(super) fn called(&self) -> Instant {
        self.called.unwrap_or_else(Instant::now)
    }

    /// The engine's work, that of failed tries included.
    pub(super) fn took(&self) -> Duration {
        self.called.map(|called| called.elapsed()).unwrap_or_default()
    }

    fn limit(&self, lease: &Lease<E>, of: impl Fn(EndpointTimeouts) -> u64, local_ms: u64) -> Duration {
        let endpoint = lease.endpoint.map(|endpoint| Duration::from_millis(of(endpoint.timeouts)) + GRACE);
        endpoint.unwrap_or(Duration::from_millis(local_ms))
    }
}

#[cfg(test)]
mod tests;
