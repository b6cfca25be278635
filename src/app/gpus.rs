//! The task that looks at the memory of the GPUs that engines compute on, so that whoever shows it asks no driver.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::pool::Scheduler;
use crate::telemetry::gpus::{GpuBoard, GpuReader, GpuThread};

/// How often they are looked at: as often as alerts are.
const EVERY: Duration = Duration::from_secs(1);
/// How long the driver may take; then what it told before is too old to be shown.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks until shutdown.
pub(super) async fn watch(
    board: GpuBoard,
    read: GpuReader,
    scheduler: Scheduler,
    shutdown: CancellationToken,
) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = look(&board, read, &scheduler) => {}
    }
}

/// Where no engine computes on a GPU, nothing is opened and nobody is asked.
async fn look(board: &GpuBoard, read: GpuReader, scheduler: &Scheduler) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut used = next_used(&mut every, scheduler).await;
    let mut thread = match GpuThread::start(read) {
        Ok(thread) => thread,
        Err(error) => {
            return tracing::error!(%error, "the memory of GPUs is not shown: there is no thread for it");
        }
    };
    let mut answers = true;
    loop {
        let told = thread.ask(used, PATIENCE).await;
        if answers && told.is_none() {
            tracing::warn!("the GPU's driver does not tell its memory: it is not shown until it does");
        }
        answers = told.is_some();
        board.publish(told.unwrap_or_default());
        used = next_used(&mut every, scheduler).await;
    }
}

/// The GPUs that engines compute on, when it is time to look and there are any.
async fn next_used(every: &mut Interval, scheduler: &Scheduler) -> Vec<u32> {
    loop {
        every.tick().await;
        let used: Vec<u32> = scheduler.gpu_loads().into_iter().map(|(number, _)| number).collect();
        if !used.is_empty() {
            return used;
        }
    }
}
