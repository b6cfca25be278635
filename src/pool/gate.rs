//! The scheduler as engines see it that cut their work into steps: each waits for its device, in the same line as
//! everybody.

use std::time::Duration;

use tokio::time::Instant;

use super::queue::{Waiter, WorkClass};
use super::schedule::Target;
use super::scheduler::{NOBODY, Scheduler};
use crate::engine::Device;
use crate::engine::compute::{ComputeGate, ComputePermit};

/// Steps wait as long as it takes: whoever wants their product has a deadline of its own.
const STEP_PATIENCE: Duration = Duration::from_secs(3_600);

/// Lets engines' steps onto devices.
#[derive(Debug)]
pub(super) struct Gate {
    scheduler: Scheduler,
}

impl Gate {
    pub(super) fn new(scheduler: Scheduler) -> Self {
        Self { scheduler }
    }
}

impl ComputeGate for Gate {
    fn enter(&self, device: Device, urgent: bool) -> ComputePermit {
        let class = if urgent { WorkClass::FirstClause } else { WorkClass::Continuation };
        let deadline = Instant::now() + STEP_PATIENCE;
        let target = Target::Device(self.scheduler.device(device));
        let waiter = Waiter { target, holder: NOBODY, class, deadline, tokens: 0 };
        let slot = self.scheduler.ask(waiter).ok().and_then(|(_, answer)| answer.blocking_recv().ok()?.ok());
        ComputePermit::holding(slot)
    }
}
