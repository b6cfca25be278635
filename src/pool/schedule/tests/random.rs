//! Properties of the order that hold whatever happens, in whatever order.

use proptest::prelude::*;

use super::*;

/// What may happen to a schedule.
#[derive(Clone, Debug)]
enum Event {
    Ask { pool: usize, holder: u64, class: usize, patience_ms: u64 },
    Step { class: WorkClass, patience_ms: u64 },
    Leave(usize),
    Release { which: usize, used_ms: u64 },
    Standing { member: u64, serving: bool },
    Wait(u64),
}

/// What steps are for, and probes that wait for room on a device.
const STEPS: [WorkClass; 3] = [WorkClass::FirstClause, WorkClass::Continuation, WorkClass::Background];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0_usize..2, 0_u64..6, 0_usize..5, 0_u64..3_000)
            .prop_map(|(pool, holder, class, patience_ms)| Event::Ask { pool, holder, class, patience_ms }),
        3 => (prop::sample::select(&STEPS[..]), 0_u64..3_000)
            .prop_map(|(class, patience_ms)| Event::Step { class, patience_ms }),
        1 => any::<usize>().prop_map(Event::Leave),
        4 => (any::<usize>(), 0_u64..500).prop_map(|(which, used_ms)| Event::Release { which, used_ms }),
        1 => (0_u64..4, any::<bool>()).prop_map(|(member, serving)| Event::Standing { member, serving }),
        2 => (0_u64..800).prop_map(Event::Wait),
    ]
}

/// A schedule of two pools on one device, and what became of everybody.
struct World {
    schedule: Schedule,
    pools: [PoolId; 2],
    device: DeviceId,
    now: Instant,
    waiting: BTreeMap<Ticket, Waiter<Target>>,
    running: Vec<Grant>,
    answered: Vec<Ticket>,
}

impl World {
    fn new() -> Self {
        let mut schedule = Schedule::new(16, 0.5);
        let (pools, device) = ([schedule.add_pool(), schedule.add_pool()], schedule.add_device(3));
        for (pool, slots) in [(0, 3), (0, 2), (1, 2), (1, 4)] {
            let (pool, compute) = (pools[pool], Compute::Call(device));
            schedule.add_member(MemberSpec { pool, slots, fallback: false, compute, limits: None });
        }
        Self {
            schedule,
            pools,
            device,
            now: Instant::now(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            answered: Vec::new(),
        }
    }

    fn apply(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match *event {
            Event::Ask { pool, holder, class, patience_ms } => {
                let deadline = self.now + Duration::from_millis(patience_ms);
                self.ask(waiter(self.pools[pool], holder, CLASSES[class], deadline))?;
            }
            Event::Step { class, patience_ms } => {
                let deadline = self.now + Duration::from_millis(patience_ms);
                let target = Target::Device(self.device);
                self.ask(Waiter { target, ..waiter(self.pools[0], 99, class, deadline) })?;
            }
            Event::Leave(which) => {
                let ticket = self.waiting.keys().nth(which % self.waiting.len().max(1)).copied();
                if let Some(ticket) = ticket {
                    prop_assert!(self.schedule.leave(ticket), "who waits is in line");
                    self.answer(ticket)?;
                }
            }
            Event::Release { which, used_ms } => {
                if !self.running.is_empty() {
                    let grant = self.running.swap_remove(which % self.running.len());
                    self.schedule.release(&grant, Duration::from_millis(used_ms), self.now);
                }
            }
            Event::Standing { member, serving } => {
                let standing = if serving { Standing::Serving } else { Standing::Stopped };
                self.schedule.set_standing(MemberId(member), standing);
            }
            Event::Wait(ms) => self.now += Duration::from_millis(ms),
        }
        self.pump()
    }

    fn ask(&mut self, waiter: Waiter<Target>) -> Result<(), TestCaseError> {
        if let Ok((ticket, replaced)) = self.schedule.ask(waiter) {
            self.waiting.insert(ticket, waiter);
            if let Some(replaced) = replaced {
                self.answer(replaced)?;
            }
        }
        Ok(())
    }

    /// Takes every decision and checks each.
    fn pump(&mut self) -> Result<(), TestCaseError> {
        while let Some(decision) = self.schedule.next(self.now) {
            match decision {
                Decision::Granted(grant) => {
                    self.check_order(&grant)?;
                    self.running.push(grant);
                    self.answer(grant.ticket)?;
                }
                Decision::Expired(ticket) => {
                    prop_assert!(self.waiting[&ticket].deadline <= self.now);
                    self.answer(ticket)?;
                }
                Decision::Unserved(ticket) => self.answer(ticket)?,
                Decision::Limited(..) => prop_assert!(false, "nobody has a limit here"),
            }
        }
        self.check_limits()
    }

    /// Everybody is answered once.
    fn answer(&mut self, ticket: Ticket) -> Result<(), TestCaseError> {
        prop_assert!(self.waiting.remove(&ticket).is_some(), "answered twice, or never asked");
        self.answered.push(ticket);
        Ok(())
    }

    /// Nobody of an earlier class, or of the same class with less use, was passed over for this instance's pool, or for
    /// the device.
    fn check_order(&self, grant: &Grant) -> Result<(), TestCaseError> {
        let served = self.waiting[&grant.ticket];
        prop_assert!(served.deadline > self.now, "too late, and run all the same");
        if let Some((_, Share::Beside)) = grant.device {
            prop_assert_eq!((grant.member, served.class), (None, WorkClass::FirstClause));
            prop_assert_eq!(self.permits_in_use(), 3, "a permit was free");
        }
        if grant.member.is_none() {
            let steps = self.waiting.values().filter(|other| other.target == served.target);
            prop_assert!(
                steps.into_iter().all(|other| other.class >= served.class),
                "{served:?} went before"
            );
        }
        for other in self.waiting.values().filter(|other| other.target == served.target) {
            let Target::Pool(pool, _) = other.target else { continue };
            let held = self.running.iter().filter(|g| g.holder == other.holder);
            let held = held.filter(|g| g.member.map(|(of, _)| of) == Some(pool)).count();
            if held < self.schedule.share(pool) {
                prop_assert!(other.class >= served.class, "{other:?} waits behind {served:?}");
            }
        }
        Ok(())
    }

    fn permits_in_use(&self) -> usize {
        self.running.iter().filter(|grant| matches!(grant.device, Some((_, Share::Permit)))).count()
    }

    fn check_limits(&self) -> Result<(), TestCaseError> {
        let (used, permits) = self.schedule.device_load(self.device);
        prop_assert!(used <= permits, "{used} permits of {permits}");
        prop_assert_eq!(used, self.permits_in_use());
        prop_assert!(self.running.len() - used <= 1, "one step goes beside");
        for (id, member) in &self.schedule.members {
            let running = self.running.iter().filter(|grant| grant.member.map(|(_, id)| id) == Some(*id));
            prop_assert_eq!(member.in_use, running.count());
            prop_assert!(member.in_use <= member.spec.slots);
        }
        prop_assert_eq!(self.schedule.queue.len(), self.waiting.len(), "nobody is lost");
        Ok(())
    }
}

proptest! {
    #[test]
    fn everybody_is_answered_once_and_in_order(events in prop::collection::vec(event(), 0..120)) {
        let mut world = World::new();
        for event in &events {
            world.apply(event)?;
        }
        // With every instance well again, and every call ended, all who wait come to an end.
        for member in 0..4 {
            world.apply(&Event::Standing { member, serving: true })?;
        }
        while !world.running.is_empty() {
            world.apply(&Event::Release { which: 0, used_ms: 10 })?;
        }
        prop_assert!(world.waiting.is_empty(), "{:?} wait for nothing", world.waiting);
        let mut once = world.answered.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), world.answered.len());
    }

    /// Sessions that ask again as soon as they are served get equal engine time, whatever their calls take.
    #[test]
    fn nobody_starves_within_a_class(costs in prop::collection::vec(20_u64..400, 15)) {
        let (mut schedule, pool, _) = schedule(&[1, 1, 1], 3);
        let mut now = Instant::now();
        let far = now + seconds(100_000);
        let mut used = vec![0_u64; costs.len()];
        for holder in 0..costs.len() as u64 {
            schedule.ask(waiter(pool, holder, WorkClass::FirstClause, far)).expect("room");
        }
        let mut running: Vec<(Instant, Grant)> = Vec::new();
        for _ in 0..600 {
            for grant in grants(&drain(&mut schedule, now)) {
                running.push((now + Duration::from_millis(costs[grant.holder.0 as usize]), grant));
            }
            running.sort_by_key(|(end, _)| *end);
            let (end, grant) = running.remove(0);
            now = end;
            let holder = grant.holder.0 as usize;
            schedule.release(&grant, Duration::from_millis(costs[holder]), now);
            used[holder] += costs[holder];
            schedule.ask(waiter(pool, grant.holder.0, WorkClass::FirstClause, far)).expect("room");
        }
        let (least, most) = (used.iter().min().expect("some"), used.iter().max().expect("some"));
        // Fair up to the calls under way; use fades, so old debts are forgiven.
        prop_assert!(*least * 2 + 2_000 >= *most, "{used:?}");
    }
}
