//! Names and settings of what a schedule keeps: pools, devices, instances, and who may take which.

use super::EndpointLimits;

/// Names a pool.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PoolId(pub(in crate::pool) usize);

/// Names a device: the CPU's cores, a GPU.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeviceId(pub(in crate::pool) usize);

/// Names an instance, for ever: a replacement has another.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberId(pub(in crate::pool) u64);

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// A slot of an instance of this pool; where possible not of the instance that failed the call.
    Pool(PoolId, Option<Avoid>),
    /// One step on this device.
    Device(DeviceId),
}

/// The instance that failed a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Avoid {
    /// The instance.
    pub member: MemberId,
    /// Where to rather.
    pub rather: Rather,
}

/// Where a call that failed is tried again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rather {
    /// Another instance; where all others are fallbacks, the same.
    Again,
    /// Another instance; a fallback where there is no other.
    Elsewhere,
    /// A fallback, where there is one: others have failed too.
    Fallback,
}

/// What a call of an instance takes of a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compute {
    /// Nothing: it computes elsewhere, or asks for each step by itself.
    None,
    /// A permit for the whole call.
    Call(DeviceId),
}

/// An instance as the schedule sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberSpec {
    /// Its pool.
    pub pool: PoolId,
    /// Calls at once.
    pub slots: usize,
    /// It serves only where no other instance of the pool is healthy.
    pub fallback: bool,
    /// What a call takes of a device.
    pub compute: Compute,
    /// For an instance behind a URL: how often it may be called.
    pub limits: Option<EndpointLimits>,
}

/// Whether an instance is given calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It is.
    Serving,
    /// Not now: its breaker is open, or it is stuck.
    Stopped,
    /// Not now, but another is about to take its place: who has nobody else waits for that.
    Awaited,
    /// Never again: it ends its calls and goes.
    Draining,
}
