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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::PoolsConfig;

    const GPU: Device = Device::Cuda(0);

    #[tokio::test(start_paused = true)]
    async fn a_gpu_works_beside_the_cores() {
        let config = PoolsConfig { cpu_permits: 1, ..PoolsConfig::default() };
        let scheduler = Scheduler::new(&config);
        let room = async |device| {
            let deadline = Instant::now() + Duration::from_secs(1);
            scheduler.room(scheduler.device(device), deadline).await
        };
        let core = room(Device::Cpu).await.expect("a core");
        let first = room(GPU).await.expect("a GPU takes no core");
        assert!(room(Device::Cpu).await.is_none() && room(GPU).await.is_none(), "one at a time on each");
        assert!(room(Device::Cuda(1)).await.is_some(), "another GPU is another device");
        assert_eq!(
            (scheduler.device_load(), scheduler.gpu_loads()),
            ((1, 1), vec![(0, (1, 1)), (1, (0, 1))])
        );
        drop(core);
        assert!(room(GPU).await.is_none(), "a core is no GPU");
        drop(first);
        let _again = room(GPU).await.expect("it is free");
        scheduler.reconfigure(&PoolsConfig { gpu_permits: 2, ..config });
        assert!(room(GPU).await.is_some(), "as many as configured by now");
        assert_eq!(scheduler.gpu_loads()[0], (0, (1, 2)));
    }
}
