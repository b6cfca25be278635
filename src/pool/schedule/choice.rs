//! Where a waiter could run now: which instance, and whether its device and its endpoint's limits let it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Avoid, Compute, DeviceId, MemberId, MemberSpec, PoolId, Rather, Schedule, Standing, Target};
use crate::pool::endpoint::{Ask, Meter, Verdict};
use crate::pool::queue::{HolderId, Waiter, WorkClass};
use crate::pool::select::{Load, least_loaded};

/// How long an endpoint that may not be called now is waited for where a fallback could serve. 1 s: twice what an
/// answer takes to begin.
const FALLBACK_AFTER: Duration = Duration::from_secs(1);

/// An instance as the schedule keeps it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) spec: MemberSpec,
    pub(super) standing: Standing,
    pub(super) in_use: usize,
    pub(super) service_time: Option<Duration>,
    /// Calls that it gets at once, however many slots it has.
    pub(super) at_once: usize,
    pub(super) meter: Option<Meter>,
}

impl Member {
    pub(super) fn new(spec: MemberSpec) -> Self {
        let meter = spec.limits.map(Meter::new);
        let (standing, at_once) = (Standing::Serving, usize::MAX);
        Self { spec, standing, in_use: 0, service_time: None, at_once, meter }
    }

    /// Calls at once.
    pub(super) fn slots(&self) -> usize {
        self.spec.slots.min(self.at_once)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    pub(super) permits: usize,
    pub(super) in_use: usize,
    /// A step runs beside them.
    pub(super) has_beside: bool,
}

/// What somebody has of a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Share {
    /// One of its permits.
    Permit,
    /// The one step that may run beside them.
    Beside,
}

impl Device {
    pub(super) fn give(&mut self, share: Share) {
        match share {
            Share::Permit => self.in_use += 1,
            Share::Beside => self.has_beside = true,
        }
    }

    pub(super) fn take_back(&mut self, share: Share) {
        match share {
            Share::Permit => self.in_use -= 1,
            Share::Beside => self.has_beside = false,
        }
    }
}

/// What a waiter is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    Run(Place),
    /// Until something changes, or until this time.
    Wait(Option<Instant>),
    /// It makes no sense to wait until then.
    Refuse(Instant),
}

/// Where a call runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) member: Option<MemberId>,
    pub(super) device: Option<(DeviceId, Share)>,
}

/// What a waiter asks of an endpoint that so many sessions use.
pub(super) fn ask(waiter: &Waiter<Target>, active: u64) -> Ask {
    let urgent = waiter.class <= WorkClass::Continuation;
    Ask { holder: waiter.holder, tokens: waiter.tokens, urgent, active }
}

impl Avoid {
    /// Whether this instance may take the place of the one to avoid.
    pub(in crate::pool) fn lets(self, member: MemberId, is_fallback: bool) -> bool {
        member != self.member && (self.rather != Rather::Again || !is_fallback)
    }
}

impl Schedule {
    /// Where a waiter could run now.
    pub(super) fn choose(&self, waiter: &Waiter<Target>, now: Instant) -> Choice {
        match waiter.target {
            Target::Device(device) if self.has_permit(device) => {
                Choice::Run(Place { member: None, device: Some((device, Share::Permit)) })
            }
            Target::Device(device) if self.may_go_beside(device, waiter.class) => {
                Choice::Run(Place { member: None, device: Some((device, Share::Beside)) })
            }
            Target::Device(_) => Choice::Wait(None),
            Target::Pool(pool, avoid) => {
                let holds = self.held.get(&(pool, waiter.holder)).copied().unwrap_or(0);
                if holds >= self.share(pool) {
                    Choice::Wait(None)
                } else {
                    self.pick((pool, avoid), waiter, now)
                }
            }
        }
    }

    fn pick(&self, (pool, avoid): (PoolId, Option<Avoid>), waiter: &Waiter<Target>, now: Instant) -> Choice {
        let ids = self.candidates(pool, avoid);
        let has_fallback = ids.iter().any(|(_, member)| member.spec.fallback);
        let patience = if has_fallback { waiter.deadline.min(now + FALLBACK_AFTER) } else { waiter.deadline };
        let last = self.affinity.of(pool, waiter.holder);
        let (mut loads, mut wake, mut refused) = (Vec::new(), None, None);
        for (id, member) in ids {
            let at = self.limited_until(member, waiter, now);
            if at.is_some_and(|at| at > patience) {
                refused = [refused, at].into_iter().flatten().min();
                continue;
            }
            wake = [wake, at].into_iter().flatten().min();
            loads.push((id, self.load_of(member, at.is_none(), last == Some(id))));
        }
        if let (true, Some(until)) = (loads.is_empty(), refused) {
            return Choice::Refuse(until);
        }
        let chosen = least_loaded(loads).and_then(|id| Some((id, self.members.get(&id)?)));
        let Some((id, member)) = chosen else { return Choice::Wait(wake) };
        let device = match member.spec.compute {
            Compute::None => None,
            Compute::Call(device) => Some((device, Share::Permit)),
        };
        Choice::Run(Place { member: Some(id), device })
    }

    /// Instances of a pool that serve; without the one to avoid where that leaves any that may take its place.
    fn candidates(&self, pool: PoolId, avoid: Option<Avoid>) -> Vec<(MemberId, &Member)> {
        let serving = |(_, member): &(&MemberId, &Member)| {
            member.spec.pool == pool && member.standing == Standing::Serving
        };
        let mut ids: Vec<_> = self.members.iter().filter(serving).map(|(id, member)| (*id, member)).collect();
        let Some(avoid) = avoid else { return ids };
        if ids.iter().any(|(id, member)| avoid.lets(*id, member.spec.fallback)) {
            ids.retain(|(id, _)| *id != avoid.member);
        }
        if avoid.rather == Rather::Fallback && ids.iter().any(|(_, member)| member.spec.fallback) {
            ids.retain(|(_, member)| member.spec.fallback);
        }
        ids
    }

    /// Its load; one that may not be called now, or whose device is taken, has no free slot.
    fn load_of(&self, member: &Member, may_call: bool, familiar: bool) -> Load {
        let Member { spec, in_use, service_time, .. } = member;
        let slots = if may_call && self.may_compute(spec.compute) { member.slots() } else { *in_use };
        Load { in_use: *in_use, slots, service_time: *service_time, fallback: spec.fallback, familiar }
    }

    /// When this instance's endpoint may be called; `None`: now.
    fn limited_until(&self, member: &Member, waiter: &Waiter<Target>, now: Instant) -> Option<Instant> {
        let meter = member.meter.as_ref()?;
        let active = self.active(member.spec.pool, meter, Some(waiter.holder));
        match meter.verdict(&ask(waiter, active), now) {
            Verdict::Now => None,
            Verdict::At(at) => Some(at),
        }
    }

    /// Sessions that wait for this pool or used this endpoint in the last minute.
    pub(super) fn active(&self, pool: PoolId, meter: &Meter, also: Option<HolderId>) -> u64 {
        let waiting = self.queue.iter().filter(|w| matches!(w.target, Target::Pool(p, _) if p == pool));
        let active: BTreeSet<_> =
            waiting.map(|waiter| waiter.holder).chain(meter.holders()).chain(also).collect();
        active.len() as u64
    }

    fn may_compute(&self, compute: Compute) -> bool {
        match compute {
            Compute::None => true,
            Compute::Call(device) => self.has_permit(device),
        }
    }

    fn has_permit(&self, device: DeviceId) -> bool {
        self.devices.get(device.0).is_some_and(|device| device.in_use < device.permits)
    }

    /// One step that a person waits for in silence runs beside the permits: it takes a few milliseconds, and each of the
    /// calls that hold them up to a hundred, so that an answer of ten steps would wait a second. The system shares the
    /// cores out meanwhile.
    fn may_go_beside(&self, device: DeviceId, class: WorkClass) -> bool {
        class == WorkClass::FirstClause && self.devices.get(device.0).is_some_and(|device| !device.has_beside)
    }

    /// Slots of a pool that one holder may have. Two at least: a call that was given up ends within 50 ms, and
    /// the one that takes its place should not wait for that.
    pub(super) fn share(&self, pool: PoolId) -> usize {
        #[expect(clippy::cast_precision_loss, reason = "a handful of slots")]
        let share = (self.load(pool).slots as f64 * self.max_share).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
        let share = share as usize;
        share.max(2)
    }
}
