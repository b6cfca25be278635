//! Who runs where, and who waits: all pools and devices as one state machine. Pure: it is told the time, and
//! answers with [`Decision`]s.
//!
//! A call needs a slot of an instance and, where the instance computes on this machine, a share of its device.
//! Both are given together or not at all, so nobody holds one while waiting for the other. An engine that cuts
//! its work into steps takes the device for each step instead ([`Target::Device`]), in the same line.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::affinity::Affinity;
use super::endpoint::{LimitStats, ShareStats};
use super::queue::{HolderId, Ticket, WaitQueue, Waiter, WorkClass};
use super::usage::UsageLedger;
use crate::engine::endpoint::EndpointLimits;
use choice::{Choice, Device, Member, Place, Share};

pub use terms::{Avoid, Compute, DeviceId, MemberId, MemberSpec, PoolId, Rather, Standing, Target};

mod choice;
mod terms;

/// What was given to a waiter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grant {
    /// Who got it.
    pub ticket: Ticket,
    /// The session that it is charged to.
    pub holder: HolderId,
    /// The instance and its pool; `None` for a step.
    pub member: Option<(PoolId, MemberId)>,
    device: Option<(DeviceId, Share)>,
    /// Seconds charged before the real use is known.
    charged: f64,
}

/// What happens to a waiter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// It is served.
    Granted(Grant),
    /// Its deadline has passed.
    Expired(Ticket),
    /// Its pool has no healthy instance.
    Unserved(Ticket),
    /// No instance may be called as long as it makes sense to wait; one may from this time on.
    Limited(Ticket, Instant),
}

/// The line of the pool is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QueueFull;

/// An endpoint's limits now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MeterReading {
    /// It asked to be left alone for so long.
    pub held: Option<Duration>,
    /// Calls of the last minute.
    pub requests: Option<LimitStats>,
    /// Tokens of the last minute.
    pub tokens: Option<LimitStats>,
    /// By session.
    pub shares: Vec<ShareStats>,
}

/// How much one pool does now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PoolLoad {
    /// Slots of instances that serve.
    pub slots: usize,
    /// Slots in use, those of instances that are stuck or draining included.
    pub in_use: usize,
    /// Who waits.
    pub waiting: usize,
}

/// Weight of a new service time against the average: about the last ten calls count.
const SERVICE_WEIGHT: f64 = 0.2;
/// What a call is charged before any was measured, in seconds.
const FIRST_CHARGE_S: f64 = 0.05;

/// All pools and devices.
#[derive(Debug, Default)]
pub struct Schedule {
    pools: usize,
    devices: Vec<Device>,
    members: BTreeMap<MemberId, Member>,
    next_member: u64,
    queue: WaitQueue<Target>,
    usage: UsageLedger,
    affinity: Affinity,
    held: HashMap<(PoolId, HolderId), usize>,
    /// Who may wait in one pool.
    max_waiting: usize,
    /// The part of a pool's slots that one holder may have.
    max_share: f64,
    /// When an endpoint's limit lets somebody through who waits.
    wake: Option<Instant>,
}

impl Schedule {
    /// A schedule without pools; limits as in [`PoolsConfig`](super::PoolsConfig).
    pub fn new(max_waiting: usize, max_share: f64) -> Self {
        Self { max_waiting, max_share, ..Self::default() }
    }

    /// Changes the limits; who waits already stays.
    pub fn set_limits(&mut self, max_waiting: usize, max_share: f64) {
        (self.max_waiting, self.max_share) = (max_waiting, max_share);
    }

    /// Adds a pool without instances.
    pub fn add_pool(&mut self) -> PoolId {
        self.pools += 1;
        PoolId(self.pools - 1)
    }

    /// Adds a device with so many permits.
    pub fn add_device(&mut self, permits: usize) -> DeviceId {
        self.devices.push(Device { permits: permits.max(1), in_use: 0, has_beside: false });
        DeviceId(self.devices.len() - 1)
    }

    /// Changes a device's permits; at least one.
    pub fn set_permits(&mut self, device: DeviceId, permits: usize) {
        if let Some(device) = self.devices.get_mut(device.0) {
            device.permits = permits.max(1);
        }
    }

    /// Adds an instance that serves at once.
    pub fn add_member(&mut self, spec: MemberSpec) -> MemberId {
        let id = MemberId(self.next_member);
        self.next_member += 1;
        self.members.insert(id, Member::new(spec));
        id
    }

    /// Changes whether an instance is given calls.
    pub fn set_standing(&mut self, member: MemberId, standing: Standing) {
        if let Some(member) = self.members.get_mut(&member) {
            member.standing = standing;
        }
    }

    /// Forgets an instance. Calls that it runs still may end.
    pub fn remove_member(&mut self, member: MemberId) {
        self.members.remove(&member);
    }

    /// Calls that an instance runs; 0 for one that is gone.
    pub fn in_use(&self, member: MemberId) -> usize {
        self.members.get(&member).map_or(0, |member| member.in_use)
    }

    /// What a call of an instance takes, measured.
    pub fn service_time(&self, member: MemberId) -> Option<Duration> {
        self.members.get(&member)?.service_time
    }

    /// Puts someone in line, and says whose place they took. Ask [`next`](Self::next) then.
    pub fn ask(&mut self, waiter: Waiter<Target>) -> Result<(Ticket, Option<Ticket>), QueueFull> {
        if let Target::Pool(pool, _) = waiter.target
            && self.waiting(pool) >= self.max_waiting
            && !self.could_replace(&waiter)
        {
            return Err(QueueFull);
        }
        Ok(self.queue.push(waiter))
    }

    fn could_replace(&self, waiter: &Waiter<Target>) -> bool {
        waiter.class == WorkClass::PartialTranscript
            && self.queue.iter().any(|other| {
                (other.class, other.holder, other.target) == (waiter.class, waiter.holder, waiter.target)
            })
    }

    /// Leaves the line; false if it was left already.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        self.queue.remove(ticket).is_some()
    }

    /// The next thing that happens to a waiter, if anything can. Ask until `None`.
    pub fn next(&mut self, now: Instant) -> Option<Decision> {
        self.wake = None;
        self.members
            .values_mut()
            .filter_map(|member| member.meter.as_mut())
            .for_each(|meter| meter.prune(now));
        if self.queue.is_empty() {
            return None;
        }
        if let Some((ticket, _)) = self.queue.pop_expired(now) {
            return Some(Decision::Expired(ticket));
        }
        let unserved: Vec<_> = (0..self.pools).map(PoolId).filter(|pool| !self.has_healthy(*pool)).collect();
        let is_unserved =
            |w: &Waiter<Target>| matches!(w.target, Target::Pool(pool, _) if unserved.contains(&pool));
        if let Some((ticket, _)) = self.queue.pop_where(is_unserved) {
            return Some(Decision::Unserved(ticket));
        }
        for (ticket, waiter) in self.queue.in_order(&self.usage, now) {
            match self.choose(&waiter, now) {
                Choice::Run(place) => {
                    self.queue.remove(ticket);
                    return Some(Decision::Granted(self.grant(ticket, &waiter, place, now)));
                }
                Choice::Refuse(until) => {
                    self.queue.remove(ticket);
                    return Some(Decision::Limited(ticket, until));
                }
                Choice::Wait(at) => self.wake = [self.wake, at].into_iter().flatten().min(),
            }
        }
        None
    }

    /// When to ask again though nothing has happened: an endpoint's limit lets somebody through. As of the last
    /// time that [`next`](Self::next) had nothing.
    pub fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// The endpoint asked not to be called before `until`.
    pub fn hold(&mut self, member: MemberId, until: Instant) {
        if let Some(meter) = self.members.get_mut(&member).and_then(|member| member.meter.as_mut()) {
            meter.hold(until);
        }
    }

    /// An instance gets at most so many calls at once from now on, however many slots it has.
    pub fn set_at_once(&mut self, member: MemberId, calls: usize) {
        if let Some(member) = self.members.get_mut(&member) {
            member.at_once = calls;
        }
    }

    /// What a call took in truth of its endpoint's tokens.
    pub fn settle(&mut self, member: MemberId, ticket: Ticket, tokens: u64) {
        if let Some(meter) = self.members.get_mut(&member).and_then(|member| member.meter.as_mut()) {
            meter.settle(ticket, tokens);
        }
    }

    /// A session has ended: nothing of it is kept.
    pub fn forget(&mut self, holder: HolderId) {
        self.members
            .values_mut()
            .filter_map(|member| member.meter.as_mut())
            .for_each(|meter| meter.forget(holder));
        self.usage.forget(holder);
        self.affinity.forget(holder);
    }

    /// What is used of an endpoint's limits and by whom, and for how long it asked to be left alone.
    pub fn metered(&self, id: MemberId, now: Instant) -> Option<MeterReading> {
        let member = self.members.get(&id)?;
        let meter = member.meter.as_ref()?;
        let [requests, tokens] = meter.limits();
        let shares = meter.shares(self.active(member.spec.pool, meter, None));
        Some(MeterReading { held: meter.held(now), requests, tokens, shares })
    }

    /// Gives back what was granted, after `used`.
    pub fn release(&mut self, grant: &Grant, used: Duration, now: Instant) {
        if let Some((device, share)) = grant.device
            && let Some(device) = self.devices.get_mut(device.0)
        {
            device.take_back(share);
        }
        let Some((pool, id)) = grant.member else { return };
        self.usage.charge(grant.holder, used.as_secs_f64() - grant.charged, now);
        self.let_go((pool, grant.holder));
        let Some(member) = self.members.get_mut(&id) else { return };
        member.in_use -= 1;
        let before = member.service_time.unwrap_or(used).as_secs_f64();
        let average = before + (used.as_secs_f64() - before) * SERVICE_WEIGHT;
        member.service_time = Some(Duration::from_secs_f64(average));
    }

    /// What a pool does now.
    pub fn load(&self, pool: PoolId) -> PoolLoad {
        let members = || self.members.values().filter(move |member| member.spec.pool == pool);
        let serving = members().filter(|member| member.standing == Standing::Serving);
        PoolLoad {
            slots: serving.map(Member::slots).sum(),
            in_use: members().map(|member| member.in_use).sum(),
            waiting: self.waiting(pool),
        }
    }

    /// Permits of a device in use, and all of them.
    pub fn device_load(&self, device: DeviceId) -> (usize, usize) {
        self.devices.get(device.0).map_or((0, 0), |device| (device.in_use, device.permits))
    }

    /// Whether a pool has any instance at all.
    pub fn has_members(&self, pool: PoolId) -> bool {
        self.members.values().any(|member| member.spec.pool == pool)
    }

    fn has_healthy(&self, pool: PoolId) -> bool {
        let may_serve = |standing| matches!(standing, Standing::Serving | Standing::Awaited);
        self.members.values().any(|member| member.spec.pool == pool && may_serve(member.standing))
    }

    fn waiting(&self, pool: PoolId) -> usize {
        self.queue.iter().filter(|w| matches!(w.target, Target::Pool(p, _) if p == pool)).count()
    }

    fn grant(&mut self, ticket: Ticket, waiter: &Waiter<Target>, place: Place, now: Instant) -> Grant {
        let (holder, Place { member, device }) = (waiter.holder, place);
        if let Some((device, share)) = device
            && let Some(device) = self.devices.get_mut(device.0)
        {
            device.give(share);
        }
        let mut grant = Grant { ticket, holder, member: None, device, charged: 0.0 };
        if let Some(id) = member
            && let Some(member) = self.members.get_mut(&id)
        {
            let pool = member.spec.pool;
            member.in_use += 1;
            if let Some(meter) = &mut member.meter {
                meter.start(ticket, &choice::ask(waiter, 0), now);
            }
            *self.held.entry((pool, holder)).or_default() += 1;
            grant.member = Some((pool, id));
            grant.charged = member.service_time.map_or(FIRST_CHARGE_S, |time| time.as_secs_f64());
            self.usage.charge(holder, grant.charged, now);
            self.affinity.note((pool, holder), id, now);
        }
        grant
    }

    fn let_go(&mut self, key: (PoolId, HolderId)) {
        if let Some(count) = self.held.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod endpoint_tests;
#[cfg(test)]
mod tests;
