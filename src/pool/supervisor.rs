//! Keeps a pool whole: probes what failed, builds anew what does not come back or let go, grows and shrinks.
//!
//! One task a pool. Probes and builds run as tasks of their own, so that one that hangs holds up nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::breaker::Step;
use super::instance::{Instance, Rebuild};
use super::pool::{Member, ResourcePool, Shared};
use super::probe::{self, Depth, Probed};
use super::resize::{Change, Observation, Resizer};
use super::schedule::{Compute, MemberId, Standing};
use crate::runtime::Runtime;
use crate::telemetry::metrics as names;

/// How often a pool is looked at when nothing calls for it.
const EVERY: Duration = Duration::from_millis(250);

/// Looks after a pool until shutdown.
pub(super) async fn supervise<E: Probed + ?Sized>(pool: ResourcePool<E>, runtime: Runtime) {
    let supervisor = Supervisor { pool: pool.shared, runtime: runtime.clone() };
    let mut resizer = Resizer::default();
    while !runtime.shutdown_token().is_cancelled() {
        let now = Instant::now();
        supervisor.quarantine(now);
        supervisor.pool.bury(now);
        supervisor.recover(now);
        supervisor.try_idle(now);
        supervisor.let_go();
        supervisor.resize(&mut resizer, now);
        supervisor.report();
        tokio::select! {
            () = runtime.shutdown_token().cancelled() => return,
            _ = timeout(EVERY, supervisor.pool.troubled.notified()) => {}
        }
    }
}

/// How an instance more is built, and what it is like.
type Template<E> = (Rebuild<E>, Instance<E>);

struct Supervisor<E: ?Sized> {
    pool: Arc<Shared<E>>,
    runtime: Runtime,
}

impl<E: ?Sized> Clone for Supervisor<E> {
    fn clone(&self) -> Self {
        Self { pool: Arc::clone(&self.pool), runtime: self.runtime.clone() }
    }
}

impl<E: Probed + ?Sized> Supervisor<E> {
    /// Takes instances out of service that hold a call which was given up long ago.
    fn quarantine(&self, now: Instant) {
        let config = self.pool.config();
        let backoff = Duration::from_millis(config.breaker_backoff_ms);
        let Some(since) = now.checked_sub(Duration::from_millis(config.stuck_after_ms)) else { return };
        let stuck = self.pool.scheduler.stuck_since(since);
        let mut stopped = Vec::new();
        for (id, member) in self.pool.lock().iter_mut().filter(|(_, member)| !member.draining) {
            let is_stuck = stuck.contains(id);
            if is_stuck && !member.quarantined {
                member.breaker.condemn(backoff, now);
                stopped.push((*id, Arc::clone(&member.instance.name)));
            }
            member.quarantined = is_stuck;
        }
        for (id, name) in stopped {
            self.pool.scheduler.set_standing(id, Standing::Stopped);
            metrics::counter!(names::ENGINE_QUARANTINES_TOTAL, "pool" => self.pool.name).increment(1);
            tracing::error!(
                pool = self.pool.name, instance = %name,
                "an engine does not let go of a cancelled call; it gets no calls and is replaced"
            );
        }
    }

    /// Gives what failed its probe or its restart, when that is due.
    fn recover(&self, now: Instant) {
        let mut due = Vec::new();
        for (id, member) in self.pool.lock().iter_mut().filter(|(_, member)| !member.draining) {
            due.extend(member.breaker.due(now).map(|step| (*id, step, member.instance.rebuild.clone())));
        }
        for (id, step, rebuild) in due {
            let this = self.clone();
            drop(match (step, rebuild) {
                (Step::Restart, Some(rebuild)) => {
                    self.runtime.spawn("engine restart", async move { this.restart(id, rebuild).await })
                }
                _ => self.runtime.spawn("engine probe", async move { this.probe_failed(id).await }),
            });
        }
    }

    async fn probe_failed(&self, id: MemberId) {
        let succeeded = self.probe(id, Depth::Call).await;
        let mut members = self.pool.lock();
        let Some(member) = members.get_mut(&id) else { return };
        // What is stuck stays out, whatever a probe says: its slots are not free.
        let well = succeeded && !member.quarantined;
        let serves = member.breaker.on_step(well, Instant::now());
        let name = Arc::clone(&member.instance.name);
        drop(members);
        if serves {
            tracing::info!(pool = self.pool.name, instance = %name, "an engine works again");
            self.pool.scheduler.set_standing(id, Standing::Serving);
        }
    }

    async fn probe(&self, id: MemberId, depth: Depth) -> bool {
        let found = self.pool.lock().get(&id).map(|Member { instance, .. }| {
            (Arc::clone(&instance.engine), Arc::clone(&instance.name), instance.compute)
        });
        let Some((engine, name, compute)) = found else { return false };
        let limit = Duration::from_millis(self.pool.config().probe_timeout_ms);
        // A probe computes like any call, behind all of them. On a device that stays full it runs without room:
        // what fills it may be the very engine that is tried.
        let _room = match compute {
            Compute::Call(device) => self.pool.scheduler.room(device, Instant::now() + limit).await,
            Compute::None => None,
        };
        let outcome = probe::run(engine, depth, (&name, limit)).await;
        let label = if outcome.is_ok() { "ok" } else { "failed" };
        metrics::counter!(names::ENGINE_PROBES_TOTAL, "engine" => name.to_string(), "outcome" => label)
            .increment(1);
        if let Err(error) = &outcome {
            tracing::warn!(pool = self.pool.name, instance = %name, %error, "a probe failed");
        } else if let Some(member) = self.pool.lock().get_mut(&id) {
            member.proven = Instant::now();
        }
        outcome.is_ok()
    }

    /// Tries instances that nobody has used for a while, so that a dead one is found before a person is.
    fn try_idle(&self, now: Instant) {
        let every = Duration::from_secs(self.pool.config().probe_interval_s);
        let mut idle = Vec::new();
        for (id, member) in self.pool.lock().iter_mut() {
            let is_idle = member.breaker.is_closed() && !member.draining && !member.probing;
            if is_idle
                && now.saturating_duration_since(member.proven) >= every
                && self.pool.scheduler.in_use(*id) == 0
            {
                member.probing = true;
                idle.push(*id);
            }
        }
        for id in idle {
            let this = self.clone();
            drop(self.runtime.spawn("engine probe", async move { this.probe_idle(id).await }));
        }
    }

    async fn probe_idle(&self, id: MemberId) {
        let succeeded = self.probe(id, Depth::Look).await;
        let config = self.pool.config();
        let mut members = self.pool.lock();
        let Some(member) = members.get_mut(&id) else { return };
        member.probing = false;
        // One failed probe of an idle instance is enough: no call had to fail for it.
        let opened = !succeeded
            && member.breaker.on_failure(1, Duration::from_millis(config.breaker_backoff_ms), Instant::now());
        drop(members);
        if opened {
            self.pool.scheduler.set_standing(id, Standing::Stopped);
        }
    }

    /// Puts a new engine in the place of one that does not come back.
    async fn restart(&self, id: MemberId, rebuild: Rebuild<E>) {
        let engine = self.build(rebuild).await;
        let mut members = self.pool.lock();
        let Some(member) = members.get_mut(&id) else { return };
        let name = Arc::clone(&member.instance.name);
        match engine {
            Ok(engine) => {
                let mut fresh = member.instance.with_engine(engine, None);
                fresh.restarts += 1;
                drop(members);
                self.pool.add(fresh);
                self.remove(id);
                metrics::counter!(names::ENGINE_RESTARTS_TOTAL, "pool" => self.pool.name).increment(1);
                tracing::info!(pool = self.pool.name, instance = %name, "an engine was built anew");
            }
            Err(error) => {
                member.breaker.on_step(false, Instant::now());
                drop(members);
                self.pool.scheduler.set_standing(id, Standing::Stopped);
                tracing::error!(pool = self.pool.name, instance = %name, error, "an engine could not be built anew; trying again later");
            }
        }
    }

    async fn build(&self, rebuild: Rebuild<E>) -> Result<Arc<E>, String> {
        let built = tokio::task::spawn_blocking(move || rebuild()).await;
        built.unwrap_or_else(|panic| Err(format!("building it panicked: {panic}")))
    }

    /// Lets draining instances go whose last call has ended.
    fn let_go(&self) {
        let gone: Vec<_> = {
            let members = self.pool.lock();
            let idle = |id: &MemberId| self.pool.scheduler.in_use(*id) == 0;
            members.iter().filter(|(id, member)| member.draining && idle(id)).map(|(id, _)| *id).collect()
        };
        for id in gone {
            self.remove(id);
        }
    }

    /// Engines join their threads when they go, and one that is stuck never ends: so they go on a thread of their
    /// own, which nobody waits for.
    fn remove(&self, id: MemberId) {
        let Some(member) = self.pool.remove(id) else { return };
        let farewell = std::thread::Builder::new().name("engine farewell".to_owned());
        if let Err(error) = farewell.spawn(move || drop(member)) {
            tracing::error!(%error, "an engine was let go on a busy thread");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    fn report(&self) {
        let load = self.pool.scheduler.load(self.pool.id);
        metrics::gauge!(names::POOL_SLOTS, "pool" => self.pool.name).set(load.slots as f64);
        metrics::gauge!(names::POOL_IN_USE, "pool" => self.pool.name).set(load.in_use as f64);
        metrics::gauge!(names::POOL_WAITING, "pool" => self.pool.name).set(load.waiting as f64);
        let members = self.pool.lock();
        for (id, member) in members.iter().filter(|(_, member)| member.instance.endpoint.is_some()) {
            let Some(reading) = self.pool.scheduler.metered(*id) else { continue };
            let used =
                [(names::ENDPOINT_REQUESTS, reading.requests), (names::ENDPOINT_TOKENS, reading.tokens)];
            for (gauge, stats) in used.into_iter().filter_map(|(gauge, stats)| Some((gauge, stats?))) {
                metrics::gauge!(gauge, "engine" => member.instance.name.to_string()).set(stats.used as f64);
            }
        }
    }

    fn resize(&self, resizer: &mut Resizer, now: Instant) {
        if self.pool.growing.load(Ordering::Acquire) {
            return;
        }
        let (template, observation) = self.observe(now);
        match resizer.observe(now, &observation) {
            Some(Change::Grow) => {
                let Some((rebuild, template)) = template else { return };
                self.pool.growing.store(true, Ordering::Release);
                let this = self.clone();
                drop(self.runtime.spawn("engine start", async move { this.grow(rebuild, template).await }));
            }
            Some(Change::Shrink) => self.shrink(),
            None => {}
        }
    }

    fn observe(&self, now: Instant) -> (Option<Template<E>>, Observation) {
        let config = self.pool.config();
        let load = self.pool.scheduler.load(self.pool.id);
        let members = self.pool.lock();
        let active = || members.values().filter(|member| !member.draining && !member.instance.fallback);
        let template = active().find_map(|member| {
            let instance = &member.instance;
            let rebuild = instance.rebuild.clone()?;
            Some((rebuild, instance.with_engine(Arc::clone(&instance.engine), None)))
        });
        let one = template.as_ref().map_or(0, |(_, instance)| instance.slots);
        let observation = Observation {
            queue_delay: self.pool.scheduler.queue_delay(self.pool.id, now),
            limit: Duration::from_millis(config.grow_after_ms),
            in_use: load.in_use,
            slots_with_one_less: load.slots.saturating_sub(one),
            instances: active().count(),
            max: config.max_instances(self.pool.name),
            extra: active().filter(|member| member.instance.extra).count(),
        };
        drop(members);
        (template, observation)
    }

    async fn grow(&self, rebuild: Rebuild<E>, template: Instance<E>) {
        match self.build(rebuild).await {
            Ok(engine) => {
                let name =
                    format!("{}+{}", template.name, self.pool.extras.fetch_add(1, Ordering::Relaxed) + 1);
                let mut instance = template.with_engine(engine, Some(name));
                (instance.extra, instance.restarts) = (true, 0);
                tracing::info!(pool = self.pool.name, instance = %instance.name, "waits are long: an instance was added");
                self.pool.add(instance);
            }
            Err(error) => tracing::error!(pool = self.pool.name, error, "no instance could be added"),
        }
        self.pool.growing.store(false, Ordering::Release);
    }

    fn shrink(&self) {
        let mut members = self.pool.lock();
        let extra = members.iter_mut().rev().find(|(_, member)| member.instance.extra && !member.draining);
        let Some((id, member)) = extra else { return };
        member.draining = true;
        let (id, name) = (*id, Arc::clone(&member.instance.name));
        drop(members);
        self.pool.scheduler.set_standing(id, Standing::Draining);
        tracing::info!(pool = self.pool.name, instance = %name, "waits are short: an instance is let go");
    }
}
