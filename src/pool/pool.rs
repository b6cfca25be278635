//! One pool: instances of an engine, and the way to a slot of one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::PoolsConfig;
use super::breaker::Breaker;
use super::endpoint::{EndpointStats, Ladder, Mode};
use super::instance::Instance;
use super::lease::{Lease, LeaseError, LeaseRequest};
use super::queue::{Ticket, Waiter};
use super::schedule::{Avoid, MemberId, MemberSpec, PoolId, PoolLoad, Standing, Target};
use super::scheduler::{Refusal, Scheduler};
use super::stats::{CallCounts, InstanceStats, PoolStats};
use crate::engine::endpoint::Endpoint;
use crate::engine::{CancelFlag, EngineError};
use crate::telemetry::metrics as names;

/// Longer than any interval of probes.
const LONG_AGO: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Engines of one kind that sessions share. Clones are handles to the same pool.
pub struct ResourcePool<E: ?Sized> {
    pub(super) shared: Arc<Shared<E>>,
}

impl<E: ?Sized> Clone for ResourcePool<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<E: ?Sized> fmt::Debug for ResourcePool<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResourcePool").field(&self.stats()).finish()
    }
}

impl<E: ?Sized> ResourcePool<E> {
    /// A pool of these instances. `name` stands in errors and metrics. Pools of one `scheduler` share its devices
    /// and its order.
    pub fn new(
        name: &'static str,
        instances: Vec<Instance<E>>,
        scheduler: &Scheduler,
        config: &PoolsConfig,
    ) -> Self {
        let shared = Shared {
            name,
            id: scheduler.add_pool(),
            scheduler: scheduler.clone(),
            members: Mutex::new(BTreeMap::new()),
            config: RwLock::new(config.clone()),
            troubled: Notify::new(),
            growing: AtomicBool::new(false),
            extras: AtomicU32::new(0),
        };
        let pool = Self { shared: Arc::new(shared) };
        for instance in instances {
            pool.shared.add(instance);
        }
        pool
    }

    /// A slot of the instance that would be done soonest, at once or when it is this request's turn. Dropping
    /// the future leaves the line; a slot that was granted meanwhile goes to the next.
    pub async fn lease(&self, request: LeaseRequest) -> Result<Lease<E>, LeaseError> {
        self.lease_for(request, None, 0).await
    }

    /// The same, where possible not of the instance named, for a call that is thought to take so many tokens.
    pub(super) async fn lease_for(
        &self,
        request: LeaseRequest,
        avoid: Option<Avoid>,
        tokens: u64,
    ) -> Result<Lease<E>, LeaseError> {
        let (shared, asked) = (&self.shared, Instant::now());
        if !shared.scheduler.has_members(shared.id) {
            return Err(LeaseError::NoInstance { pool: shared.name });
        }
        let LeaseRequest { holder, class, deadline } = request;
        let waiter = Waiter { target: Target::Pool(shared.id, avoid), holder, class, deadline, tokens };
        let slot = shared.scheduler.slot(waiter).await;
        let queued = asked.elapsed();
        metrics::histogram!(names::POOL_WAIT_SECONDS, "pool" => shared.name).record(queued.as_secs_f64());
        let slot = slot.map_err(|refusal| shared.error(refusal, queued))?;
        let (member, ticket) = (slot.member(), slot.ticket());
        let found = member.and_then(|member| Some((member, shared.instance(member)?)));
        // Gone between grant and here: as if it had not been granted. The slot goes back by its drop.
        let (member, called) = found.ok_or(LeaseError::Unhealthy { pool: shared.name })?;
        let (pool, cancel) = (Arc::clone(shared), CancelFlag::holding(slot));
        let Called { engine, instance, endpoint, is_fallback } = called;
        Ok(Lease {
            engine,
            instance,
            endpoint,
            is_fallback,
            member,
            ticket,
            began: Instant::now(),
            queued,
            cancel,
            pool,
        })
    }

    /// What the pool does now.
    pub fn stats(&self) -> PoolStats {
        let shared = &self.shared;
        let PoolLoad { slots, in_use, waiting } = shared.scheduler.load(shared.id);
        let delay = self.queue_delay(Instant::now());
        let instances = shared.lock().iter().map(|(id, member)| shared.instance_stats(*id, member)).collect();
        PoolStats { name: shared.name, slots, in_use, waiting, queue_delay_ms: millis(delay), instances }
    }

    /// The longest that anybody waited lately, or has waited by now.
    pub fn queue_delay(&self, now: Instant) -> Duration {
        self.shared.scheduler.queue_delay(self.shared.id, now)
    }

    /// The engines, for what concerns all of them (say, their voices).
    pub fn engines(&self) -> Vec<Arc<E>> {
        self.shared.lock().values().map(|member| Arc::clone(&member.instance.engine)).collect()
    }

    /// How it behaves from now on.
    pub fn reconfigure(&self, config: &PoolsConfig) {
        *self.shared.config.write().unwrap_or_else(PoisonError::into_inner) = config.clone();
        self.shared.troubled.notify_one();
    }

    /// How it behaves.
    pub fn config(&self) -> PoolsConfig {
        self.shared.config()
    }
}

/// What all handles and leases of a pool share. The lock is held for a few instructions and never across a send
/// or an await.
pub(super) struct Shared<E: ?Sized> {
    pub(super) name: &'static str,
    pub(super) id: PoolId,
    pub(super) scheduler: Scheduler,
    members: Mutex<BTreeMap<MemberId, Member<E>>>,
    config: RwLock<PoolsConfig>,
    /// Told when an instance needs the supervisor.
    pub(super) troubled: Notify,
    /// An instance is being added.
    pub(super) growing: AtomicBool,
    /// How many were ever added; names them.
    pub(super) extras: AtomicU32,
}

/// An instance and how it fares.
pub(super) struct Member<E: ?Sized> {
    pub(super) instance: Instance<E>,
    pub(super) breaker: Breaker,
    /// It ends its calls and goes.
    pub(super) draining: bool,
    /// It does not let go of a call that was given up.
    pub(super) quarantined: bool,
    /// A probe of it is under way though it serves.
    pub(super) probing: bool,
    /// When it last showed that it works.
    pub(super) proven: Instant,
    /// How its calls ended.
    calls: CallCounts,
    /// Whether its endpoint gets several calls at once.
    ladder: Ladder,
}

/// What a lease takes of its instance.
struct Called<E: ?Sized> {
    engine: Arc<E>,
    instance: Arc<str>,
    endpoint: Option<Endpoint>,
    is_fallback: bool,
}

impl<E: ?Sized> Member<E> {
    fn new(instance: Instance<E>) -> Self {
        let now = Instant::now();
        // An endpoint is looked at at once: it may be down, and its first caller finds a warm connection.
        let proven = instance.endpoint.and_then(|_| now.checked_sub(LONG_AGO)).unwrap_or(now);
        let (breaker, calls, ladder) = (Breaker::default(), CallCounts::default(), Ladder::default());
        Self { instance, breaker, draining: false, quarantined: false, probing: false, proven, calls, ladder }
    }
}

impl<E: ?Sized> Member<E> {
    /// Whether it has not done anything since it was built.
    pub(super) fn has_done_nothing(&self) -> bool {
        self.calls.succeeded == 0
    }

    /// An endpoint first gets one call at a time; only where that fails too, or where it is not there at all, it gets
    /// none.
    fn counts_for_breaker(&self, error: &EngineError, began: Instant) -> bool {
        let is_endpoint = self.instance.endpoint.is_some() && self.instance.slots > 1;
        let is_gone = matches!(error, EngineError::Unavailable { .. });
        !is_endpoint || is_gone || self.ladder.is_last_step(began)
    }
}

impl<E: ?Sized> Shared<E> {
    pub(super) fn add(&self, instance: Instance<E>) -> MemberId {
        let Instance { slots, fallback, compute, endpoint, .. } = instance;
        let limits = endpoint.map(|endpoint| endpoint.limits);
        let spec = MemberSpec { pool: self.id, slots, fallback, compute, limits };
        // The scheduler may grant it at once, so it must be known here by then.
        let mut members = self.lock();
        let id = self.scheduler.add_member(spec);
        members.insert(id, Member::new(instance));
        drop(members);
        self.scheduler.set_standing(id, Standing::Serving);
        id
    }

    /// Forgets an instance and gives it to the caller, who drops it where that may block.
    pub(super) fn remove(&self, id: MemberId) -> Option<Member<E>> {
        self.scheduler.remove_member(id);
        self.lock().remove(&id)
    }

    pub(super) fn config(&self) -> PoolsConfig {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn on_success(&self, id: MemberId) {
        let mut members = self.lock();
        let Some(member) = members.get_mut(&id) else { return };
        let now = Instant::now();
        member.breaker.on_success();
        member.proven = now;
        member.calls.succeeded += 1;
        let recovered = member.instance.endpoint.and_then(|_| member.ladder.on_success(now));
        let name = Arc::clone(&member.instance.name);
        drop(members);
        self.enter(id, &name, recovered);
    }

    /// A call failed that began then.
    pub(super) fn on_failure(&self, id: MemberId, error: &EngineError, began: Instant) {
        let (config, now) = (self.config(), Instant::now());
        if matches!(error, EngineError::Unavailable { .. }) {
            self.bury(now);
        }
        let (limit, backoff) = (config.breaker_failures, Duration::from_millis(config.breaker_backoff_ms));
        let mut members = self.lock();
        let Some(member) = members.get_mut(&id) else { return };
        let name = Arc::clone(&member.instance.name);
        member.calls.failed += 1;
        let counts = member.counts_for_breaker(error, began);
        let mode = member.instance.endpoint.and_then(|_| member.ladder.on_failure(now));
        let opened = counts && member.breaker.on_failure(limit, backoff, now);
        drop(members);
        metrics::counter!(names::ENGINE_ERRORS_TOTAL, "engine" => name.to_string(), "kind" => error.kind())
            .increment(1);
        if let EngineError::RateLimited { retry_after_ms, .. } = error {
            self.scheduler.hold(id, now + retry_after_ms.map_or(backoff, Duration::from_millis));
        }
        self.enter(id, &name, mode);
        if opened {
            tracing::error!(pool = self.name, instance = %name, %error, "an engine failed too often and gets no calls until a probe succeeds");
            self.scheduler.set_standing(id, Standing::Stopped);
            self.troubled.notify_one();
        }
    }

    /// Whether a call that failed there and is tried again goes to another instance.
    pub(super) fn has_other(&self, avoid: Avoid) -> bool {
        self.lock().iter().any(|(id, member)| {
            let serves = member.breaker.is_closed() && !member.draining && !member.quarantined;
            serves && avoid.lets(*id, member.instance.fallback)
        })
    }

    /// An endpoint is called otherwise from now on.
    fn enter(&self, id: MemberId, name: &Arc<str>, mode: Option<Mode>) {
        let Some(mode) = mode else { return };
        let (at_once, gauge) = match mode {
            Mode::Concurrent => (usize::MAX, 0.0),
            Mode::Sequential => (1, 1.0),
        };
        self.scheduler.set_at_once(id, at_once);
        metrics::gauge!(names::ENDPOINT_SEQUENTIAL, "engine" => name.to_string()).set(gauge);
        match mode {
            Mode::Concurrent => {
                tracing::info!(pool = self.name, instance = %name, "an endpoint works again; it gets several calls at once")
            }
            Mode::Sequential => {
                tracing::warn!(pool = self.name, instance = %name, "an endpoint fails; it gets one call at a time")
            }
        }
    }

    pub(super) fn abandon(&self, ticket: Ticket) {
        self.scheduler.abandon(ticket);
    }

    /// Everything for the supervisor.
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<MemberId, Member<E>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instance(&self, id: MemberId) -> Option<Called<E>> {
        let members = self.lock();
        let instance = &members.get(&id)?.instance;
        Some(Called {
            engine: Arc::clone(&instance.engine),
            instance: Arc::clone(&instance.name),
            endpoint: instance.endpoint,
            is_fallback: instance.fallback,
        })
    }

    fn instance_stats(&self, id: MemberId, member: &Member<E>) -> InstanceStats {
        let instance = &member.instance;
        InstanceStats {
            name: Arc::clone(&instance.name),
            slots: instance.slots,
            in_use: self.scheduler.in_use(id),
            service_time_ms: self.scheduler.service_time(id).map(millis),
            device: instance.device,
            breaker: member.breaker.state(),
            fallback: instance.fallback,
            draining: member.draining,
            restarts: instance.restarts,
            process: instance.process(),
            calls: member.calls,
            endpoint: self.scheduler.metered(id).map(|metered| EndpointStats {
                mode: member.ladder.mode(),
                held_ms: metered.held.map(millis),
                requests: metered.requests,
                tokens: metered.tokens,
                shares: metered.shares,
            }),
        }
    }

    fn error(&self, refusal: Refusal, queued: Duration) -> LeaseError {
        let pool = self.name;
        match refusal {
            Refusal::Full => LeaseError::QueueFull { pool, limit: self.config().max_waiting },
            Refusal::TimedOut => LeaseError::TimedOut { pool, waited_ms: millis(queued) },
            Refusal::Superseded => LeaseError::Superseded { pool },
            Refusal::Unhealthy => LeaseError::Unhealthy { pool },
            Refusal::Limited { until } => {
                let wait = until.saturating_duration_since(Instant::now());
                LeaseError::Limited { pool, retry_after_ms: millis(wait) }
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
