//! L2: shares engines between sessions: who runs where, who waits, and what becomes of an engine that fails.
//!
//! Nothing here knows a session, the wire or how an engine is made. Who asks is a [`HolderId`], what it asks for is
//! a [`LeaseRequest`]. What decides is pure and told the time: [`schedule`] (order, slots, devices) with [`queue`],
//! [`usage`] and [`select`]; [`breaker`]; [`resize`]; [`governor`]. Read [`ResourcePool`] first, then `call`: what sessions use.

mod affinity;
mod attempts;
pub mod breaker;
mod call;
mod config;
pub mod endpoint;
mod gate;
pub mod governor;
mod instance;
mod lease;
mod manager;
pub mod memory;
#[expect(clippy::module_inception, reason = "the pool itself, beside what it is made of")]
mod pool;
mod probe;
mod process;
pub mod queue;
pub mod resize;
pub mod schedule;
mod scheduler;
pub mod select;
mod stats;
mod supervisor;
pub mod usage;

pub use call::{CallError, CallObserver, LeasedStream, Metered, Served};
pub use config::{PoolSizes, PoolsConfig};
pub use governor::{Degradation, DegradationSignal, GovernorConfig};
pub use instance::{Instance, Rebuild};
pub use lease::{Lease, LeaseError, LeaseRequest};
pub use manager::ResourcePoolManager;
pub use pool::ResourcePool;
pub use probe::Probed;
pub use queue::{HolderId, WorkClass};
pub use scheduler::Scheduler;
pub use stats::{CallCounts, InstanceStats, PoolStats};
