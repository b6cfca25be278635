//! The [`Schedule`] behind a lock, with a channel to each waiter. Knows no engine.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::PoolsConfig;
use super::gate::Gate;
use super::queue::{HolderId, Ticket, Waiter, WorkClass};
use super::schedule::{
    Decision, DeviceId, Grant, MemberId, MemberSpec, MeterReading, PoolId, PoolLoad, QueueFull, Schedule,
    Standing, Target,
};
use crate::engine::Device;
use crate::engine::compute::ComputeGate;

/// Waits of a pool that are remembered, to see whether it keeps up.
const REMEMBERED_WAITS: usize = 256;
/// How far back they are looked at.
const RECENT: Duration = Duration::from_secs(5);
/// Steps are charged to nobody: their call is.
pub(super) const NOBODY: HolderId = HolderId(u64::MAX);

/// Shares slots and devices out. Clones are handles to the same.
#[derive(Clone)]
pub struct Scheduler {
    shared: Arc<Mutex<State>>,
    /// Told when the time to look again has changed.
    rewound: Arc<Notify>,
    cpu: DeviceId,
}

struct State {
    schedule: Schedule,
    /// The GPUs that were asked for, by their numbers.
    gpus: BTreeMap<u32, DeviceId>,
    /// Calls and steps that compute on each of them at once.
    gpu_permits: usize,
    pending: HashMap<Ticket, Pending>,
    held: BTreeMap<Ticket, Held>,
    waits: HashMap<PoolId, VecDeque<(Instant, Duration)>>,
}

/// Where an outcome goes, and the outcome.
type Answer = (Option<oneshot::Sender<Result<Slot, Refusal>>>, Result<Slot, Refusal>);

struct Pending {
    answer: oneshot::Sender<Result<Slot, Refusal>>,
    target: Target,
    asked: Instant,
}

struct Held {
    grant: Grant,
    since: Instant,
    /// When its caller let go; the engine has not yet.
    abandoned: Option<Instant>,
}

impl Held {
    fn member(&self) -> Option<MemberId> {
        self.grant.member.map(|(_, member)| member)
    }
}

impl State {
    /// Gives back what a ticket was granted; once.
    fn release(&mut self, ticket: Ticket, now: Instant) {
        if let Some(held) = self.held.remove(&ticket) {
            self.schedule.release(&held.grant, now.saturating_duration_since(held.since), now);
        }
    }
}

/// Why a waiter was not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    Full,
    TimedOut,
    Superseded,
    Unhealthy,
    /// No endpoint may be called before this time.
    Limited {
        until: Instant,
    },
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("device", &self.device_load()).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler for the engines of this machine.
    pub fn new(config: &PoolsConfig) -> Self {
        let mut schedule = Schedule::new(config.max_waiting, config.max_share);
        let cpu = schedule.add_device(config.permits());
        let state = State {
            schedule,
            gpus: BTreeMap::new(),
            gpu_permits: config.gpu_permits,
            pending: HashMap::new(),
            held: BTreeMap::new(),
            waits: HashMap::new(),
        };
        Self { shared: Arc::new(Mutex::new(state)), rewound: Arc::default(), cpu }
    }

    /// The CPU's cores, or a GPU; one that was never asked for before is there from now on.
    pub fn device(&self, device: Device) -> DeviceId {
        let Device::Cuda(number) = device else { return self.cpu };
        let mut state = self.lock();
        let State { schedule, gpus, gpu_permits, .. } = &mut *state;
        *gpus.entry(number).or_insert_with(|| schedule.add_device(*gpu_permits))
    }

    /// Where engines ask for each of their steps.
    pub fn gate(&self) -> Arc<dyn ComputeGate> {
        Arc::new(Gate::new(self.clone()))
    }

    /// Changes the limits; nobody who waits or runs is disturbed.
    pub fn reconfigure(&self, config: &PoolsConfig) {
        let gpus: Vec<DeviceId> = {
            let mut state = self.lock();
            state.gpu_permits = config.gpu_permits;
            state.gpus.values().copied().collect()
        };
        self.change(|schedule| {
            schedule.set_limits(config.max_waiting, config.max_share);
            schedule.set_permits(self.cpu, config.permits());
            gpus.into_iter().for_each(|gpu| schedule.set_permits(gpu, config.gpu_permits));
        });
    }

    /// Permits of the CPU in use, and all of them.
    pub fn device_load(&self) -> (usize, usize) {
        self.lock().schedule.device_load(self.cpu)
    }

    /// The same of each GPU that engines compute on, by its number.
    pub fn gpu_loads(&self) -> Vec<(u32, (usize, usize))> {
        let state = self.lock();
        state.gpus.iter().map(|(number, id)| (*number, state.schedule.device_load(*id))).collect()
    }

    pub(super) fn add_pool(&self) -> PoolId {
        self.lock().schedule.add_pool()
    }

    /// Adds an instance that gets no calls yet.
    pub(super) fn add_member(&self, spec: MemberSpec) -> MemberId {
        let mut state = self.lock();
        let id = state.schedule.add_member(spec);
        state.schedule.set_standing(id, Standing::Stopped);
        id
    }

    pub(super) fn set_standing(&self, member: MemberId, standing: Standing) {
        self.change(|schedule| schedule.set_standing(member, standing));
    }

    /// Forgets an instance. What its calls still hold is given back now: they may never end.
    pub(super) fn remove_member(&self, member: MemberId) {
        {
            let (mut state, now) = (self.lock(), Instant::now());
            let of_it = state.held.iter().filter(|(_, held)| held.member() == Some(member));
            let tickets: Vec<_> = of_it.map(|(ticket, _)| *ticket).collect();
            for ticket in tickets {
                state.release(ticket, now);
            }
            state.schedule.remove_member(member);
        }
        self.serve();
    }

    pub(super) fn set_at_once(&self, member: MemberId, calls: usize) {
        self.change(|schedule| schedule.set_at_once(member, calls));
    }

    pub(super) fn hold(&self, member: MemberId, until: Instant) {
        self.change(|schedule| schedule.hold(member, until));
    }

    pub(super) fn settle(&self, member: MemberId, ticket: Ticket, tokens: u64) {
        self.change(|schedule| schedule.settle(member, ticket, tokens));
    }

    pub(super) fn metered(&self, member: MemberId) -> Option<MeterReading> {
        self.lock().schedule.metered(member, Instant::now())
    }

    /// A session has ended: nothing of it is kept.
    pub fn forget(&self, holder: HolderId) {
        self.change(|schedule| schedule.forget(holder));
    }

    /// Serves those who wait for an endpoint's limit, when it lets them through. Until shutdown.
    pub(super) async fn keep_time(self, shutdown: CancellationToken) {
        loop {
            let wake = self.lock().schedule.wake();
            let due = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.rewound.notified() => {}
                () = due => self.serve(),
            }
        }
    }

    pub(super) fn in_use(&self, member: MemberId) -> usize {
        self.lock().schedule.in_use(member)
    }

    pub(super) fn service_time(&self, member: MemberId) -> Option<Duration> {
        self.lock().schedule.service_time(member)
    }

    pub(super) fn load(&self, pool: PoolId) -> PoolLoad {
        self.lock().schedule.load(pool)
    }

    pub(super) fn has_members(&self, pool: PoolId) -> bool {
        self.lock().schedule.has_members(pool)
    }

    /// The longest that anybody waited for a pool lately, or has waited by now.
    pub(super) fn queue_delay(&self, pool: PoolId, now: Instant) -> Duration {
        let state = self.lock();
        let is_for = |pending: &&Pending| matches!(pending.target, Target::Pool(p, _) if p == pool);
        let waiting = state.pending.values().filter(is_for).map(|p| now.saturating_duration_since(p.asked));
        let recent = state.waits.get(&pool).into_iter().flatten();
        let recent =
            recent.filter(|(at, _)| now.saturating_duration_since(*at) < RECENT).map(|(_, wait)| *wait);
        waiting.chain(recent).max().unwrap_or_default()
    }

    /// Instances with a call that its caller gave up before `since` and that has not ended yet.
    pub(super) fn stuck_since(&self, since: Instant) -> Vec<MemberId> {
        let state = self.lock();
        let stuck = state.held.values().filter(|held| held.abandoned.is_some_and(|at| at <= since));
        stuck.filter_map(Held::member).collect()
    }

    /// The caller of a call has let go of it.
    pub(super) fn abandon(&self, ticket: Ticket) {
        if let Some(held) = self.lock().held.get_mut(&ticket) {
            held.abandoned = Some(Instant::now());
        }
    }

    /// Waits in line. Dropping the future leaves the line; what was granted meanwhile goes to the next.
    pub(super) async fn slot(&self, waiter: Waiter<Target>) -> Result<Slot, Refusal> {
        let (ticket, mut answer) = self.ask(waiter).map_err(|QueueFull| Refusal::Full)?;
        let _place = Place { scheduler: self, ticket };
        match timeout_at(waiter.deadline, &mut answer).await {
            Ok(Ok(outcome)) => outcome,
            // The sender lives until it is used or the waiter leaves.
            Ok(Err(_)) => Err(Refusal::Superseded),
            Err(_) => Err(Refusal::TimedOut),
        }
    }

    /// Room on a device for work that nobody waits for; `None` if there was none by the deadline.
    pub(super) async fn room(&self, device: DeviceId, deadline: Instant) -> Option<Slot> {
        let (target, class) = (Target::Device(device), WorkClass::Background);
        self.slot(Waiter { target, holder: NOBODY, class, deadline, tokens: 0 }).await.ok()
    }

    pub(super) fn ask(
        &self,
        waiter: Waiter<Target>,
    ) -> Result<(Ticket, oneshot::Receiver<Result<Slot, Refusal>>), QueueFull> {
        let (answer, answered) = oneshot::channel();
        let (ticket, replaced) = {
            let mut state = self.lock();
            let (ticket, replaced) = state.schedule.ask(waiter)?;
            let pending = Pending { answer, target: waiter.target, asked: Instant::now() };
            state.pending.insert(ticket, pending);
            (ticket, replaced.and_then(|ticket| state.pending.remove(&ticket)))
        };
        if let Some(replaced) = replaced {
            drop(replaced.answer.send(Err(Refusal::Superseded)));
        }
        self.serve();
        Ok((ticket, answered))
    }

    fn change(&self, change: impl FnOnce(&mut Schedule)) {
        change(&mut self.lock().schedule);
        self.serve();
    }

    /// Answers everybody who can be answered now.
    fn serve(&self) {
        let mut answers = Vec::new();
        {
            let (mut state, now) = (self.lock(), Instant::now());
            let before = state.schedule.wake();
            while let Some(decision) = state.schedule.next(now) {
                answers.push(self.follow(&mut state, decision, now));
            }
            if state.schedule.wake() != before {
                self.rewound.notify_one();
            }
        }
        for (answer, outcome) in answers {
            // A waiter that has gone drops the slot here, outside the lock, which serves the one after it.
            drop(answer.map(|answer| answer.send(outcome)));
        }
    }

    fn follow(&self, state: &mut State, decision: Decision, now: Instant) -> Answer {
        let (ticket, outcome) = match decision {
            Decision::Granted(grant) => {
                state.held.insert(grant.ticket, Held { grant, since: now, abandoned: None });
                let member = grant.member.map(|(_, member)| member);
                let slot = Slot { scheduler: self.clone(), ticket: grant.ticket, member };
                (grant.ticket, Ok(slot))
            }
            Decision::Expired(ticket) => (ticket, Err(Refusal::TimedOut)),
            Decision::Unserved(ticket) => (ticket, Err(Refusal::Unhealthy)),
            Decision::Limited(ticket, until) => (ticket, Err(Refusal::Limited { until })),
        };
        let pending = state.pending.remove(&ticket);
        if let Some(Pending { target: Target::Pool(pool, _), asked, .. }) = pending {
            let waits = state.waits.entry(pool).or_default();
            if waits.len() == REMEMBERED_WAITS {
                waits.pop_front();
            }
            waits.push_back((now, now.saturating_duration_since(asked)));
        }
        (pending.map(|pending| pending.answer), outcome)
    }

    /// The lock is held for a few instructions and never across a send or an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line, left when dropped.
struct Place<'a> {
    scheduler: &'a Scheduler,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.scheduler.lock();
        state.schedule.leave(self.ticket);
        let pending = state.pending.remove(&self.ticket);
        drop(state);
        drop(pending);
    }
}

/// What was granted; given back when dropped.
pub(super) struct Slot {
    scheduler: Scheduler,
    ticket: Ticket,
    member: Option<MemberId>,
}

impl Slot {
    pub(super) fn member(&self) -> Option<MemberId> {
        self.member
    }

    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.scheduler.lock().release(self.ticket, Instant::now());
        self.scheduler.serve();
    }
}
