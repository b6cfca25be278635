//! How an engine that cuts its work into steps shares a device with the others.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Device;

/// Lets steps of work onto devices. An engine enters before each step and leaves by dropping the permit.
pub trait ComputeGate: Send + Sync + fmt::Debug {
    /// Waits, on the engine's own thread, until `device` has room for one step. `urgent`: a person waits in
    /// silence for what this step makes.
    fn enter(&self, device: Device, urgent: bool) -> ComputePermit;
}

/// Leave to compute one step.
#[must_use = "the device is given back as soon as the permit is dropped"]
pub struct ComputePermit {
    _held: Option<Box<dyn Any + Send>>,
}

impl ComputePermit {
    /// A permit that keeps `held` while it lives.
    pub fn holding(held: impl Any + Send) -> Self {
        Self { _held: Some(Box::new(held)) }
    }
}

impl fmt::Debug for ComputePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputePermit").finish_non_exhaustive()
    }
}

/// Devices that nobody else uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl ComputeGate for Unlimited {
    fn enter(&self, _device: Device, _urgent: bool) -> ComputePermit {
        ComputePermit { _held: None }
    }
}

/// Whether a person waits in silence for the rest of a call. Clones share it.
#[derive(Clone, Debug)]
pub struct Urgency(Arc<AtomicBool>);

impl Default for Urgency {
    /// Urgent.
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Urgency {
    /// The person hears the beginning by now: the rest has time.
    pub fn relax(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether a person waits.
    pub fn is_urgent(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_is_shared() {
        let urgency = Urgency::default();
        let clone = urgency.clone();
        assert!(clone.is_urgent());
        urgency.relax();
        assert!(!clone.is_urgent());
    }
}
