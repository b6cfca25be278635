//! An engine in a pool: how many calls it serves, what a call takes of the machine, how it is built anew.

use std::fmt;
use std::sync::Arc;

use super::schedule::{Compute, DeviceId};
use crate::engine::endpoint::Endpoint;
use crate::engine::{Device, EngineProcess};

/// Builds an engine anew. It may block: it runs on a thread of its own.
pub type Rebuild<E> = Arc<dyn Fn() -> Result<Arc<E>, String> + Send + Sync>;

/// An engine and how many calls it serves at once.
pub struct Instance<E: ?Sized> {
    /// Name for status and logs.
    pub name: Arc<str>,
    /// The engine.
    pub engine: Arc<E>,
    /// Calls at once.
    pub slots: usize,
    /// It serves only where no other instance is healthy.
    pub fallback: bool,
    /// What a call takes of a device.
    pub compute: Compute,
    /// Where it computes, where that is on this machine.
    pub device: Option<Device>,
    /// How it is called, where it stands for a URL.
    pub endpoint: Option<Endpoint>,
    /// How it says which process it runs in, where it may be in one of its own.
    pub(super) process: Option<fn(&E) -> Option<EngineProcess>>,
    /// How it is built anew after it failed; without it, it is only probed.
    pub rebuild: Option<Rebuild<E>>,
    /// How often that was done.
    pub(super) restarts: u32,
    /// It was added by the pool because of long waits.
    pub(super) extra: bool,
}

impl<E: ?Sized> Instance<E> {
    /// An instance that takes nothing of this machine's devices and cannot be rebuilt.
    pub fn new(name: impl Into<Arc<str>>, engine: Arc<E>, slots: usize) -> Self {
        Self {
            name: name.into(),
            engine,
            slots,
            fallback: false,
            compute: Compute::None,
            device: None,
            endpoint: None,
            process: None,
            rebuild: None,
            restarts: 0,
            extra: false,
        }
    }

    /// It computes there.
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// Each of its calls takes a permit of a device.
    #[must_use]
    pub fn computing_on(mut self, device: DeviceId) -> Self {
        self.compute = Compute::Call(device);
        self
    }

    /// It serves only where no other instance is healthy.
    #[must_use]
    pub fn as_fallback(mut self, fallback: bool) -> Self {
        self.fallback = fallback;
        self
    }

    /// It stands for a URL, which is called so.
    #[must_use]
    pub fn behind(mut self, endpoint: Option<Endpoint>) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// It can be built anew.
    #[must_use]
    pub fn rebuilt_by(mut self, rebuild: Rebuild<E>) -> Self {
        self.rebuild = Some(rebuild);
        self
    }

    /// The same with a new engine, under another name where one is given.
    pub(super) fn with_engine(&self, engine: Arc<E>, name: Option<String>) -> Self {
        Self {
            name: name.map_or_else(|| Arc::clone(&self.name), Into::into),
            engine,
            rebuild: self.rebuild.clone(),
            ..*self
        }
    }
}

impl<E: ?Sized> fmt::Debug for Instance<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("name", &self.name)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}
