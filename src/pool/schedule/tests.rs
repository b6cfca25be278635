//! Tables for each rule, and properties that hold whatever happens in whatever order.

use proptest::prelude::*;

use super::*;

const CLASSES: [WorkClass; 5] = [
    WorkClass::FinalTranscript,
    WorkClass::FirstClause,
    WorkClass::Continuation,
    WorkClass::PartialTranscript,
    WorkClass::Background,
];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A schedule with one pool of these slots on a device with so many permits.
fn schedule(slots: &[usize], permits: usize) -> (Schedule, PoolId, DeviceId) {
    let mut schedule = Schedule::new(64, 1.0);
    let (pool, device) = (schedule.add_pool(), schedule.add_device(permits));
    for &slots in slots {
        schedule.add_member(MemberSpec {
            pool,
            slots,
            fallback: false,
            compute: Compute::Call(device, 1),
            limits: None,
        });
    }
    (schedule, pool, device)
}

fn waiter(pool: PoolId, holder: u64, class: WorkClass, deadline: Instant) -> Waiter<Target> {
    Waiter { target: Target::Pool(pool, None), holder: HolderId(holder), class, deadline, tokens: 0 }
}

fn drain(schedule: &mut Schedule, now: Instant) -> Vec<Decision> {
    std::iter::from_fn(|| schedule.next(now)).collect()
}

fn grants(decisions: &[Decision]) -> Vec<Grant> {
    decisions
        .iter()
        .filter_map(|decision| if let Decision::Granted(grant) = decision { Some(*grant) } else { None })
        .collect()
}

#[test]
fn slot_and_device_are_given_together() {
    let (mut schedule, pool, device) = schedule(&[4], 2);
    let now = Instant::now();
    for holder in 0..3 {
        schedule.ask(waiter(pool, holder, WorkClass::FirstClause, now + seconds(5))).expect("room");
    }
    let given = grants(&drain(&mut schedule, now));
    assert_eq!(given.len(), 2, "two cores, though there are four slots");
    assert_eq!(schedule.load(pool), PoolLoad { slots: 4, in_use: 2, waiting: 1 });
    assert_eq!(schedule.device_load(device), (2, 2));
    schedule.release(&given[0], seconds(1), now);
    assert_eq!(grants(&drain(&mut schedule, now)).len(), 1);
}

#[test]
fn a_session_goes_where_it_was_served_last_unless_others_are_in_its_way() {
    let (mut schedule, pool, _) = schedule(&[2, 2], 8);
    let now = Instant::now();
    let mut serve = |holder: u64| {
        schedule.ask(waiter(pool, holder, WorkClass::FirstClause, now + seconds(5))).expect("room");
        let given = grants(&drain(&mut schedule, now));
        let (_, member) = given[0].member.expect("an instance");
        (member, given[0])
    };
    let (first, _held) = serve(1);
    let (second, given) = serve(2);
    assert_ne!(first, second, "the less loaded one");
    let (again, _) = serve(2);
    assert_eq!(again, second, "though both serve one call");
    let (elsewhere, _) = serve(2);
    assert_eq!(elsewhere, first, "its own has no free slot: {given:?}");
}

#[test]
fn the_order_holds_across_pools_and_steps() {
    let (mut schedule, stt, device) = schedule(&[4], 1);
    let tts = schedule.add_pool();
    schedule.add_member(MemberSpec {
        pool: tts,
        slots: 4,
        fallback: false,
        compute: Compute::Call(device, 1),
        limits: None,
    });
    let now = Instant::now();
    let deadline = now + seconds(5);
    schedule.ask(waiter(tts, 1, WorkClass::Continuation, deadline)).expect("room");
    let running = grants(&drain(&mut schedule, now));
    let step = Waiter {
        target: Target::Device(device),
        holder: HolderId(9),
        class: WorkClass::FirstClause,
        deadline,
        tokens: 0,
    };
    let (second, _) = schedule.ask(step).expect("room");
    let (third, _) = schedule.ask(waiter(tts, 2, WorkClass::Continuation, deadline)).expect("room");
    let (first, _) = schedule.ask(waiter(stt, 3, WorkClass::FinalTranscript, deadline)).expect("room");
    let mut last = running[0];
    for expected in [first, second, third] {
        schedule.release(&last, seconds(1), now);
        let given = grants(&drain(&mut schedule, now));
        assert_eq!(given.iter().map(|grant| grant.ticket).collect::<Vec<_>>(), [expected]);
        last = given[0];
    }
}

#[test]
fn expired_waiters_are_answered_and_not_run() {
    let (mut schedule, pool, _) = schedule(&[1], 1);
    let now = Instant::now();
    let (late, _) = schedule.ask(waiter(pool, 1, WorkClass::FinalTranscript, now)).expect("room");
    let (fine, _) = schedule.ask(waiter(pool, 2, WorkClass::Background, now + seconds(1))).expect("room");
    let decisions = drain(&mut schedule, now);
    assert_eq!(decisions[0], Decision::Expired(late));
    assert_eq!(grants(&decisions)[0].ticket, fine);
}

#[test]
fn without_a_healthy_instance_nobody_waits() {
    let (mut schedule, pool, _) = schedule(&[1], 1);
    let now = Instant::now();
    let member = *schedule.members.keys().next().expect("one");
    schedule.set_standing(member, Standing::Stopped);
    let (ticket, _) = schedule.ask(waiter(pool, 1, WorkClass::FirstClause, now + seconds(1))).expect("room");
    assert_eq!(drain(&mut schedule, now), [Decision::Unserved(ticket)]);
    let spec = MemberSpec { pool, slots: 1, fallback: true, compute: Compute::None, limits: None };
    let fallback = schedule.add_member(spec);
    schedule.ask(waiter(pool, 1, WorkClass::FirstClause, now + seconds(1))).expect("room");
    assert_eq!(grants(&drain(&mut schedule, now))[0].member, Some((pool, fallback)));
}

#[test]
fn a_failed_call_goes_elsewhere_where_there_is_an_elsewhere() {
    let (mut schedule, pool, _) = schedule(&[1, 1], 4);
    let now = Instant::now();
    let [first, second] = [0, 1].map(MemberId);
    let ask = |avoid| Waiter {
        target: Target::Pool(pool, Some(Avoid { member: avoid, rather: Rather::Elsewhere })),
        tokens: 0,
        ..waiter(pool, 1, WorkClass::FirstClause, now + seconds(1))
    };
    schedule.ask(ask(first)).expect("room");
    assert_eq!(grants(&drain(&mut schedule, now))[0].member, Some((pool, second)));
    schedule.set_standing(second, Standing::Stopped);
    schedule.ask(ask(first)).expect("room");
    assert_eq!(grants(&drain(&mut schedule, now))[0].member, Some((pool, first)), "better than nowhere");
}

#[test]
fn a_holder_has_its_share_and_no_more() {
    let (mut schedule, pool, _) = schedule(&[8], 8);
    schedule.set_limits(64, 0.5);
    let now = Instant::now();
    for _ in 0..6 {
        schedule.ask(waiter(pool, 1, WorkClass::FirstClause, now + seconds(1))).expect("room");
    }
    let first = grants(&drain(&mut schedule, now));
    assert_eq!(first.len(), 4);
    schedule.ask(waiter(pool, 2, WorkClass::Background, now + seconds(1))).expect("room");
    assert_eq!(
        grants(&drain(&mut schedule, now))[0].holder,
        HolderId(2),
        "a lower class, but within its share"
    );
    schedule.release(&first[0], seconds(1), now);
    assert_eq!(grants(&drain(&mut schedule, now))[0].holder, HolderId(1));
}

#[test]
fn the_line_is_bounded_but_a_partial_may_replace_its_own() {
    let (mut schedule, pool, _) = schedule(&[1], 1);
    schedule.set_limits(2, 1.0);
    let now = Instant::now();
    let deadline = now + seconds(1);
    schedule.ask(waiter(pool, 1, WorkClass::FirstClause, deadline)).expect("room");
    drain(&mut schedule, now);
    let (older, _) = schedule.ask(waiter(pool, 2, WorkClass::PartialTranscript, deadline)).expect("room");
    schedule.ask(waiter(pool, 3, WorkClass::Background, deadline)).expect("room");
    assert_eq!(schedule.ask(waiter(pool, 4, WorkClass::FinalTranscript, deadline)), Err(QueueFull));
    let newer = schedule.ask(waiter(pool, 2, WorkClass::PartialTranscript, deadline)).expect("its own place");
    assert_eq!(newer.1, Some(older));
}

#[test]
fn the_faster_instance_gets_more() {
    let (mut schedule, pool, _) = schedule(&[4, 4], 8);
    let mut now = Instant::now();
    for (turn, took) in [(0, 100), (1, 20)] {
        schedule.ask(waiter(pool, turn, WorkClass::FirstClause, now + seconds(1))).expect("room");
        let grant = grants(&drain(&mut schedule, now))[0];
        assert_eq!(grant.member, Some((pool, MemberId(turn))), "one that was not measured is tried");
        now += Duration::from_millis(took);
        schedule.release(&grant, Duration::from_millis(took), now);
    }
    for holder in 10..15 {
        schedule.ask(waiter(pool, holder, WorkClass::FirstClause, now + seconds(1))).expect("room");
    }
    let given = grants(&drain(&mut schedule, now));
    let fast = given.iter().filter(|grant| grant.member == Some((pool, MemberId(1)))).count();
    assert_eq!((fast, given.len()), (4, 5));
}

#[test]
fn a_removed_instance_leaves_no_debt() {
    let (mut schedule, pool, device) = schedule(&[2], 2);
    let now = Instant::now();
    schedule.ask(waiter(pool, 1, WorkClass::FirstClause, now + seconds(1))).expect("room");
    let grant = grants(&drain(&mut schedule, now))[0];
    schedule.remove_member(MemberId(0));
    schedule.release(&grant, seconds(1), now);
    assert!(schedule.held.is_empty());
    assert_eq!(schedule.device_load(device), (0, 2));
}

/// What may happen to a schedule.
#[derive(Clone, Debug)]
enum Event {
    Ask { pool: usize, holder: u64, class: usize, patience_ms: u64 },
    Leave(usize),
    Release { which: usize, used_ms: u64 },
    Standing { member: u64, serving: bool },
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0_usize..2, 0_u64..6, 0_usize..5, 0_u64..3_000)
            .prop_map(|(pool, holder, class, patience_ms)| Event::Ask { pool, holder, class, patience_ms }),
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
            let (pool, compute) = (pools[pool], Compute::Call(device, 1));
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
                let waiter = waiter(self.pools[pool], holder, CLASSES[class], deadline);
                if let Ok((ticket, replaced)) = self.schedule.ask(waiter) {
                    self.waiting.insert(ticket, waiter);
                    if let Some(replaced) = replaced {
                        self.answer(replaced)?;
                    }
                }
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

    /// Nobody of an earlier class, or of the same class with less use, was passed over for this instance's pool.
    fn check_order(&self, grant: &Grant) -> Result<(), TestCaseError> {
        let served = self.waiting[&grant.ticket];
        prop_assert!(served.deadline > self.now, "too late, and run all the same");
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

    fn check_limits(&self) -> Result<(), TestCaseError> {
        let (used, permits) = self.schedule.device_load(self.device);
        prop_assert!(used <= permits, "{used} permits of {permits}");
        prop_assert_eq!(used, self.running.len());
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
