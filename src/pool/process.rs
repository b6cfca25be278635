//! Instances that run in processes of their own. A process that has ended does not come back: its instance is built
//! anew at once, before anybody has to fail for it, and whoever has no other instance waits for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::instance::Instance;
use super::pool::Shared;
use super::schedule::{MemberId, Standing};
use crate::engine::EngineProcess;

impl<E: ?Sized> Instance<E> {
    /// How it says which process it runs in.
    #[must_use]
    pub fn in_process(mut self, process: fn(&E) -> Option<EngineProcess>) -> Self {
        self.process = Some(process);
        self
    }

    /// The process that it runs in, where that is not this one.
    pub(super) fn process(&self) -> Option<EngineProcess> {
        self.process.and_then(|process| process(&self.engine))
    }
}

impl<E: ?Sized> Shared<E> {
    /// Takes instances out of service whose process has ended, and has the supervisor build them anew.
    pub(super) fn bury(&self, now: Instant) {
        let backoff = Duration::from_millis(self.config().breaker_backoff_ms);
        let mut dead = Vec::new();
        for (id, member) in self.lock().iter_mut() {
            let process = member.instance.process().filter(|process| !process.is_running);
            let Some(process) = process.filter(|_| member.breaker.is_closed() && !member.draining) else {
                continue;
            };
            // One that was built anew and died before it did anything will do so again: after a pause.
            let is_hopeless = member.instance.restarts > 0 && member.has_done_nothing();
            if is_hopeless {
                member.breaker.on_failure(1, backoff, now);
            } else {
                member.breaker.condemn(backoff, now);
            }
            dead.push((*id, Arc::clone(&member.instance.name), process.pid, is_hopeless));
        }
        for (id, name, pid, is_hopeless) in dead {
            self.mourn(id, is_hopeless);
            tracing::error!(
                pool = self.name, instance = %name, pid, again_soon = !is_hopeless,
                "the process of an engine has ended; it is built anew"
            );
        }
    }

    fn mourn(&self, id: MemberId, is_hopeless: bool) {
        self.scheduler.set_standing(id, if is_hopeless { Standing::Stopped } else { Standing::Awaited });
        self.troubled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use futures::stream;

    use super::*;
    use crate::engine::llm::{FinishReason, LlmEngine, LlmEvent, LlmRequest, TokenUsage};
    use crate::engine::{CancelFlag, EngineError, EngineStream};
    use crate::pool::supervisor::supervise;
    use crate::pool::{HolderId, LeaseError, LeaseRequest, PoolsConfig, ResourcePool, Scheduler, WorkClass};
    use crate::runtime::Runtime;

    /// An engine whose process runs until it does not.
    #[derive(Debug)]
    struct Mortal(AtomicBool);

    impl LlmEngine for Mortal {
        fn generate(&self, _: LlmRequest, _: CancelFlag) -> EngineStream<LlmEvent> {
            let done = LlmEvent::Done { finish: FinishReason::Stop, usage: TokenUsage::default() };
            let gone = EngineError::Unavailable { engine: "mortal".into(), reason: "it died".into() };
            Box::pin(stream::iter([if self.0.load(Ordering::Acquire) { Ok(done) } else { Err(gone) }]))
        }

        fn process(&self) -> Option<EngineProcess> {
            Some(EngineProcess { pid: 1, is_running: self.0.load(Ordering::Acquire) })
        }
    }

    fn mortal(lives: bool) -> Arc<Mortal> {
        Arc::new(Mortal(AtomicBool::new(lives)))
    }

    /// A pool of one instance, and how often it was built anew; whether those live.
    fn pool(first: &Arc<Mortal>, heirs_live: bool) -> (ResourcePool<dyn LlmEngine>, Arc<AtomicU32>, Runtime) {
        let built = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&built);
        let rebuild = move || {
            count.fetch_add(1, Ordering::AcqRel);
            Ok(mortal(heirs_live) as Arc<dyn LlmEngine>)
        };
        let instance = Instance::new("mortal", Arc::clone(first) as Arc<dyn LlmEngine>, 1)
            .in_process(|engine| engine.process())
            .rebuilt_by(Arc::new(rebuild));
        let config = PoolsConfig::default();
        let pool = ResourcePool::new("llm", vec![instance], &Scheduler::new(&config), &config);
        let runtime = Runtime::new();
        drop(runtime.spawn("supervisor", supervise(pool.clone(), runtime.clone())));
        (pool, built, runtime)
    }

    fn request() -> LeaseRequest {
        let deadline = Instant::now() + Duration::from_secs(5);
        LeaseRequest { holder: HolderId(1), class: WorkClass::FirstClause, deadline }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_while_the_only_process_is_replaced_gets_the_new_one() {
        let first = mortal(true);
        let (pool, built, _runtime) = pool(&first, true);
        let held = pool.lease(request()).await.expect("it serves");
        let mut waiting = Box::pin(pool.lease(request()));
        assert!(futures::poll!(&mut waiting).is_pending());
        first.0.store(false, Ordering::Release);
        held.failed(&EngineError::Unavailable { engine: "mortal".into(), reason: "it died".into() });
        drop(held);
        drop(waiting.await.expect("the new one"));
        let stats = pool.stats();
        assert_eq!((built.load(Ordering::Acquire), stats.instances[0].restarts), (1, 1));
        assert!(stats.instances[0].process.is_some_and(|process| process.is_running));
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_dies_whenever_it_is_built_is_built_with_pauses() {
        let first = mortal(false);
        let (pool, built, _runtime) = pool(&first, false);
        tokio::time::sleep(Duration::from_secs(60)).await; // paused time
        let count = built.load(Ordering::Acquire);
        assert!((2..=20).contains(&count), "built {count} times in a minute");
        assert!(matches!(pool.lease(request()).await, Err(LeaseError::Unhealthy { .. })), "callers are told");
    }
}
