//! Endpoints with limits in the schedule: who waits for them, until when, and who serves instead.

use super::*;

const URGENT: WorkClass = WorkClass::FirstClause;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limits(requests_per_minute: u32) -> EndpointLimits {
    EndpointLimits { min_interval_ms: 0, requests_per_minute, tokens_per_minute: 0, retries: 2 }
}

fn endpoint(pool: PoolId, limits: EndpointLimits) -> MemberSpec {
    MemberSpec { pool, slots: 4, fallback: false, compute: Compute::None, limits: Some(limits) }
}

fn waiter(pool: PoolId, holder: u64, deadline: Instant) -> Waiter<Target> {
    let target = Target::Pool(pool, None);
    Waiter { target, holder: HolderId(holder), class: URGENT, deadline, tokens: 0 }
}

/// Asks, and gives what is granted back at once; the instance that served.
fn call(schedule: &mut Schedule, waiter: Waiter<Target>, now: Instant) -> Option<MemberId> {
    let (ticket, _) = schedule.ask(waiter).expect("room");
    let decision = schedule.next(now);
    let Some(Decision::Granted(grant)) = decision else {
        schedule.leave(ticket);
        return None;
    };
    schedule.release(&grant, Duration::from_millis(10), now);
    grant.member.map(|(_, member)| member)
}

#[test]
fn who_waits_for_a_limit_is_served_when_it_lets_them_through() {
    let mut schedule = Schedule::new(64, 1.0);
    let pool = schedule.add_pool();
    let member = schedule.add_member(endpoint(pool, EndpointLimits { min_interval_ms: 50, ..limits(0) }));
    let now = Instant::now();
    assert_eq!(call(&mut schedule, waiter(pool, 1, now + seconds(5)), now), Some(member));
    let (ticket, _) = schedule.ask(waiter(pool, 2, now + seconds(5))).expect("room");
    assert_eq!((schedule.next(now), schedule.wake()), (None, Some(now + Duration::from_millis(50))));
    let then = schedule.wake().expect("a time");
    assert!(matches!(schedule.next(then), Some(Decision::Granted(grant)) if grant.ticket == ticket));
    assert_eq!((schedule.next(then), schedule.wake()), (None, None));
}

#[test]
fn a_pause_beyond_the_deadline_is_told_at_once() {
    let mut schedule = Schedule::new(64, 1.0);
    let pool = schedule.add_pool();
    let member = schedule.add_member(endpoint(pool, limits(0)));
    let now = Instant::now();
    schedule.hold(member, now + seconds(30));
    let (ticket, _) = schedule.ask(waiter(pool, 1, now + seconds(5))).expect("room");
    assert_eq!(schedule.next(now), Some(Decision::Limited(ticket, now + seconds(30))));
    let (patient, _) = schedule.ask(waiter(pool, 1, now + seconds(40))).expect("room");
    assert_eq!((schedule.next(now), schedule.wake()), (None, Some(now + seconds(30))));
    assert!(
        matches!(schedule.next(now + seconds(30)), Some(Decision::Granted(grant)) if grant.ticket == patient)
    );
}

#[test]
fn another_endpoint_serves_and_then_the_fallback() {
    let mut schedule = Schedule::new(64, 1.0);
    let pool = schedule.add_pool();
    let now = Instant::now();
    let [first, second] = [(); 2].map(|()| schedule.add_member(endpoint(pool, limits(0))));
    let local = MemberSpec { pool, slots: 1, fallback: true, compute: Compute::None, limits: None };
    let fallback = schedule.add_member(local);
    schedule.hold(first, now + seconds(3));
    assert_eq!(call(&mut schedule, waiter(pool, 1, now + seconds(5)), now), Some(second));
    schedule.hold(second, now + Duration::from_millis(900));
    assert_eq!(
        call(&mut schedule, waiter(pool, 1, now + seconds(5)), now),
        None,
        "it is waited for a second"
    );
    schedule.hold(second, now + seconds(2));
    assert_eq!(call(&mut schedule, waiter(pool, 1, now + seconds(5)), now), Some(fallback));
}

#[test]
fn a_failed_call_goes_to_the_same_endpoint_before_it_goes_to_the_fallback() {
    let mut schedule = Schedule::new(64, 1.0);
    let pool = schedule.add_pool();
    let now = Instant::now();
    let member = schedule.add_member(endpoint(pool, limits(0)));
    let local = MemberSpec { pool, slots: 1, fallback: true, compute: Compute::None, limits: None };
    let fallback = schedule.add_member(local);
    for (rather, expected) in [(Rather::Again, member), (Rather::Elsewhere, fallback)] {
        let target = Target::Pool(pool, Some(Avoid { member, rather }));
        let again = Waiter { target, ..waiter(pool, 1, now + seconds(5)) };
        assert_eq!(call(&mut schedule, again, now), Some(expected));
    }
}

#[test]
fn sessions_share_a_limit_whoever_asks_more() {
    let mut schedule = Schedule::new(64, 1.0);
    let pool = schedule.add_pool();
    schedule.add_member(endpoint(pool, limits(60)));
    let mut now = Instant::now();
    let mut served = [0_u32; 4];
    // One asks ten times as often as the others, all of it for ten minutes.
    for _ in 0..600 {
        now += seconds(1);
        for (holder, times) in [(0, 10), (1, 1), (2, 1), (3, 1)] {
            for _ in 0..times {
                let asked = waiter(pool, holder, now + seconds(5));
                served[holder as usize] += u32::from(call(&mut schedule, asked, now).is_some());
            }
        }
    }
    let total: u32 = served.iter().sum();
    assert!((540..=600).contains(&total), "the limit is used, and kept: {served:?}");
    assert!(served[1..].iter().all(|calls| *calls >= 115), "a fifth of 600 each, about: {served:?}");
}

#[test]
fn one_call_at_a_time_and_what_a_session_leaves() {
    let mut schedule = Schedule::new(64, 1.0);
    let pool = schedule.add_pool();
    let member = schedule.add_member(endpoint(pool, limits(60)));
    let now = Instant::now();
    schedule.set_at_once(member, 1);
    assert_eq!(schedule.load(pool).slots, 1);
    schedule.ask(waiter(pool, 1, now + seconds(5))).expect("room");
    schedule.ask(waiter(pool, 2, now + seconds(5))).expect("room");
    assert!(matches!(schedule.next(now), Some(Decision::Granted(_))));
    assert_eq!(schedule.next(now), None);
    let shares = |schedule: &Schedule| schedule.metered(member, now).expect("an endpoint").shares.len();
    assert_eq!(shares(&schedule), 1);
    schedule.forget(HolderId(1));
    assert_eq!(shares(&schedule), 0);
    schedule.set_at_once(member, usize::MAX);
    assert!(matches!(schedule.next(now), Some(Decision::Granted(_))));
}
