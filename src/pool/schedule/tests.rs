//! Tables for each rule; `random` has the properties that hold whatever happens in whatever order.

mod random;

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
            compute: Compute::Call(device),
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
        compute: Compute::Call(device),
        limits: None,
    });
    let now = Instant::now();
    let deadline = now + seconds(5);
    schedule.ask(waiter(tts, 1, WorkClass::Continuation, deadline)).expect("room");
    let running = grants(&drain(&mut schedule, now));
    schedule.ask(step(device, WorkClass::FirstClause, deadline)).expect("room");
    assert_eq!(grants(&drain(&mut schedule, now)).len(), 1, "beside the call");
    let (second, _) = schedule.ask(step(device, WorkClass::FirstClause, deadline)).expect("room");
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

/// As each step of a language model's thread.
fn step(device: DeviceId, class: WorkClass, deadline: Instant) -> Waiter<Target> {
    Waiter { target: Target::Device(device), holder: HolderId(9), class, deadline, tokens: 0 }
}

#[test]
fn a_step_that_somebody_waits_for_runs_beside_calls_that_hold_every_permit() {
    let (mut schedule, pool, device) = schedule(&[4], 2);
    let now = Instant::now();
    let deadline = now + seconds(5);
    for holder in 0..3 {
        schedule.ask(waiter(pool, holder, WorkClass::FinalTranscript, deadline)).expect("room");
    }
    let calls = grants(&drain(&mut schedule, now));
    schedule.ask(step(device, WorkClass::Continuation, deadline)).expect("room");
    assert!(drain(&mut schedule, now).is_empty(), "nobody waits for it in silence");
    let (urgent, _) = schedule.ask(step(device, WorkClass::FirstClause, deadline)).expect("room");
    let beside = grants(&drain(&mut schedule, now));
    assert_eq!((beside[0].ticket, schedule.device_load(device)), (urgent, (2, 2)), "it takes no permit");
    let (another, _) = schedule.ask(step(device, WorkClass::FirstClause, deadline)).expect("room");
    assert!(drain(&mut schedule, now).is_empty(), "one at a time");
    schedule.release(&calls[0], seconds(1), now);
    let given = grants(&drain(&mut schedule, now));
    assert_eq!(given[0].holder, HolderId(2), "who waits for a permit gets it all the same");
    schedule.release(&beside[0], seconds(1), now);
    assert_eq!(grants(&drain(&mut schedule, now))[0].ticket, another);
    assert_eq!(schedule.device_load(device), (2, 2));
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
