//! The task that watches the pressure and says what is done without.

use std::time::Duration;

use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::pool::governor::Governor;
use crate::pool::{Degradation, ResourcePoolManager};
use crate::session::{AdmissionGate, LiveConfig};
use crate::telemetry::metrics as names;

/// How often the pressure is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// Governs until shutdown; while `features.adaptive_quality` is off, nothing is done without.
pub(super) async fn govern(
    pools: ResourcePoolManager,
    (live, admission): (LiveConfig, AdmissionGate),
    shutdown: CancellationToken,
) {
    let (mut governor, mut every) = (Governor::default(), interval(EVERY));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = every.tick() => {}
        }
        let now = Instant::now();
        let pressure = pools.pressure(now);
        let step = if live.now().features.adaptive_quality {
            governor.observe(pressure, &pools.stt.config().governor, now)
        } else {
            governor.rest()
        };
        admission.hold(step == Degradation::Queue);
        let before = pools.degradation.set(step);
        metrics::gauge!(names::DEGRADATION_STEP).set(f64::from(step.level()));
        metrics::gauge!(names::PRESSURE).set(pressure);
        if step > before {
            tracing::warn!(?step, ?before, pressure, "engines keep people waiting: the server does without");
        } else if step < before {
            tracing::info!(?step, ?before, pressure, "pressure is low again");
        }
    }
}
