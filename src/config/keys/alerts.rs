//! The keys of alerts: when each fires.

use super::Allowed::Between;
use super::{DAY_S, Key, now};

/// In the order in which people read them.
pub(super) const KEYS: &[Key] = &[
    now("alerts.for_s", "How long something has to last before its alert fires", Between(0.0, DAY_S)),
    now("alerts.resolve_s", "How long it has to be over before its alert is resolved", Between(0.0, DAY_S)),
    now("alerts.window_s", "The time over which rates are counted", Between(1.0, 600.0)),
    now(
        "alerts.response_latency_ms",
        "End of a turn to first audio, 95th percentile, from which `response_latency` fires; 0: off",
        Between(0.0, 3_600_000.0),
    ),
    now(
        "alerts.engine_error_rate",
        "Part of an engine's calls that fail from which `engine_errors` fires; 0: off",
        Between(0.0, 1.0),
    ),
    now(
        "alerts.pool_down_s",
        "Time that a pool has no healthy engine from which `pool_down` fires, at once; 0: off",
        Between(0.0, DAY_S),
    ),
    now(
        "alerts.queue_length",
        "Clients that wait for a place from which `queue_length` fires; 0: off",
        Between(0.0, 10_000.0),
    ),
    now(
        "alerts.refusals_per_minute",
        "Clients told to come back later from which `refusals` fires; 0: off",
        Between(0.0, 1_000_000.0),
    ),
    now(
        "alerts.memory_share",
        "Resident memory, as a part of the budget, from which `memory` fires; 0: off",
        Between(0.0, 10.0),
    ),
    now(
        "alerts.gpu_memory_share",
        "Used memory of a GPU that engines compute on, as a part of what it has, from which `gpu_memory` fires; 0: off",
        Between(0.0, 1.0),
    ),
    now(
        "alerts.unhealthy_sessions_per_minute",
        "Sessions ended as unhealthy from which `unhealthy_sessions` fires; 0: off",
        Between(0.0, 1_000_000.0),
    ),
    now(
        "alerts.degradation_step",
        "What the server does without (1 to 5) from which `degradation` fires; 0: off",
        Between(0.0, 5.0),
    ),
];
