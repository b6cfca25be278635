//! L2: shares engines between sessions: instances with slots, leases, order.
//!
//! Nothing here knows a session, the wire or how an engine is made. Who asks is a [`HolderId`], what it asks
//! for is a [`LeaseRequest`]. The order of waiters ([`queue`]) and the choice of an instance ([`select`]) are
//! pure. Read [`ResourcePool`] first.

mod lease;
mod manager;
#[expect(clippy::module_inception, reason = "the pool itself, beside what it is made of")]
mod pool;
pub mod queue;
pub mod select;

pub use lease::{Lease, LeaseError, LeaseRequest};
pub use manager::ResourcePoolManager;
pub use pool::{Instance, PoolStats, ResourcePool};
pub use queue::{HolderId, WorkClass};

use serde::{Deserialize, Serialize};

/// How pools behave; one for all three.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PoolsConfig {
    /// How long a request waits for a free slot before it is answered `overloaded`, in milliseconds.
    /// 5,000: past that a speaking person has given up.
    pub max_wait_ms: u64,
    /// How many requests may wait in one pool; one more is refused at once. 256: eight for each of 30 users.
    pub max_waiting: usize,
}

impl Default for PoolsConfig {
    fn default() -> Self {
        Self { max_wait_ms: 5_000, max_waiting: 256 }
    }
}
