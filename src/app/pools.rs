//! Engines → pools: the one place that knows both.

use std::sync::Arc;

use crate::backend::catalog::{EngineSet, Loaded};
use crate::pool::{DegradationSignal, Instance, PoolsConfig, ResourcePool, ResourcePoolManager, Scheduler};

/// Puts engines into pools that share one scheduler.
pub(super) fn assemble(
    config: &PoolsConfig,
    engines: EngineSet,
    scheduler: Scheduler,
) -> ResourcePoolManager {
    ResourcePoolManager {
        stt: pool("stt", engines.stt, &scheduler, config),
        llm: pool("llm", engines.llm, &scheduler, config),
        tts: pool("tts", engines.tts, &scheduler, config),
        scheduler,
        degradation: DegradationSignal::default(),
    }
}

fn pool<E: ?Sized + 'static>(
    name: &'static str,
    engines: Vec<Loaded<E>>,
    scheduler: &Scheduler,
    config: &PoolsConfig,
) -> ResourcePool<E> {
    let instances = engines.into_iter().map(|engine| instance(engine, scheduler)).collect();
    ResourcePool::new(name, instances, scheduler, config)
}

fn instance<E: ?Sized + 'static>(loaded: Loaded<E>, scheduler: &Scheduler) -> Instance<E> {
    let rebuild = loaded.rebuild;
    let instance = Instance::new(loaded.name, loaded.engine, loaded.slots)
        .as_fallback(loaded.fallback)
        .in_process(loaded.process)
        .behind(loaded.endpoint);
    // A new client for an endpoint is no better than the old one: it comes back when a probe succeeds.
    let instance = match loaded.endpoint {
        Some(_) => instance,
        None => instance.rebuilt_by(Arc::new(move || rebuild().map_err(|error| error.to_string()))),
    };
    let Some(device) = loaded.device else { return instance };
    // A GPU is known to the scheduler, and to the status, even where no call of it takes one from begin to end.
    let id = scheduler.device(device);
    let instance = instance.on(device);
    if loaded.computes { instance.computing_on(id) } else { instance }
}
