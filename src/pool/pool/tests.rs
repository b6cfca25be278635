//! The pool on engines that are plain names.

use std::time::Duration;

use futures::FutureExt;

use super::super::queue::{HolderId, WorkClass};
use super::*;

trait Named: Send + Sync {
    fn name(&self) -> &str;
}

impl Named for &'static str {
    fn name(&self) -> &str {
        self
    }
}

fn config() -> PoolsConfig {
    PoolsConfig { max_waiting: 4, max_share: 1.0, cpu_permits: 4, ..PoolsConfig::default() }
}

fn pool(slots: &[usize]) -> ResourcePool<dyn Named> {
    let names = ["first", "second", "third"];
    let instances = slots.iter().zip(names);
    let instances =
        instances.map(|(&slots, name)| Instance::new(name, Arc::new(name) as Arc<dyn Named>, slots));
    ResourcePool::new("test", instances.collect(), &Scheduler::new(&config()), &config())
}

fn request(class: WorkClass) -> LeaseRequest {
    LeaseRequest { holder: HolderId(1), class, deadline: Instant::now() + Duration::from_secs(1) }
}

fn counts(pool: &ResourcePool<dyn Named>) -> (usize, usize, usize) {
    let stats = pool.stats();
    (stats.slots, stats.in_use, stats.waiting)
}

#[tokio::test]
async fn spreads_over_instances_and_gives_slots_back() {
    let pool = pool(&[1, 2]);
    let a = pool.lease(request(WorkClass::FirstClause)).await.expect("free");
    let other = LeaseRequest { holder: HolderId(2), ..request(WorkClass::FirstClause) };
    let b = pool.lease(other).await.expect("free");
    let mut names = [a.name(), b.name()];
    names.sort_unstable();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(counts(&pool), (3, 2, 0));
    drop((a, b));
    assert_eq!(counts(&pool), (3, 0, 0));
}

#[tokio::test]
async fn a_slot_is_free_when_caller_and_engine_have_let_go() {
    let pool = pool(&[1]);
    let lease = pool.lease(request(WorkClass::FirstClause)).await.expect("free");
    let kept_by_the_engine = lease.cancel_flag();
    drop(lease);
    assert!(kept_by_the_engine.is_cancelled(), "the engine is told");
    assert_eq!(counts(&pool), (1, 1, 0), "but it has not let go");
    let mut next = Box::pin(pool.lease(request(WorkClass::FirstClause)));
    assert!((&mut next).now_or_never().is_none());
    drop(kept_by_the_engine);
    drop(next.now_or_never().expect("granted").expect("a lease"));
    assert_eq!(counts(&pool), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_times_out_and_leaves_the_line() {
    let pool = pool(&[1]);
    let held = pool.lease(request(WorkClass::FirstClause)).await.expect("free");
    let error = pool.lease(request(WorkClass::FirstClause)).await.expect_err("taken");
    assert_eq!(error, LeaseError::TimedOut { pool: "test", waited_ms: 1000 });
    assert_eq!(pool.stats().waiting, 0);
    drop(held);
}

#[tokio::test]
async fn the_higher_class_is_served_first_and_the_line_is_bounded() {
    let pool = pool(&[1]);
    let held = pool.lease(request(WorkClass::FirstClause)).await.expect("free");
    let mut later = Box::pin(pool.lease(request(WorkClass::Continuation)));
    let mut sooner = Box::pin(pool.lease(request(WorkClass::FinalTranscript)));
    assert!((&mut later).now_or_never().is_none());
    assert!((&mut sooner).now_or_never().is_none());
    drop(held);
    assert!((&mut later).now_or_never().is_none());
    let granted = sooner.now_or_never().expect("granted").expect("a lease");
    let more: Vec<_> = (0..3)
        .map(|_| {
            let mut waiter = Box::pin(pool.lease(request(WorkClass::Background)));
            assert!((&mut waiter).now_or_never().is_none());
            waiter
        })
        .collect();
    let refused = pool.lease(request(WorkClass::Background)).await.expect_err("the line is full");
    assert_eq!(refused, LeaseError::QueueFull { pool: "test", limit: 4 });
    drop((granted, more));
    drop(later.now_or_never().expect("granted").expect("a lease"));
    assert_eq!(counts(&pool), (1, 0, 0));
}

#[tokio::test]
async fn a_newer_partial_takes_the_place_of_the_older() {
    let pool = pool(&[1]);
    let held = pool.lease(request(WorkClass::FirstClause)).await.expect("free");
    let mut older = Box::pin(pool.lease(request(WorkClass::PartialTranscript)));
    assert!((&mut older).now_or_never().is_none());
    let mut newer = Box::pin(pool.lease(request(WorkClass::PartialTranscript)));
    assert!((&mut newer).now_or_never().is_none());
    let error = older.now_or_never().expect("answered").expect_err("its place is taken");
    assert_eq!(error, LeaseError::Superseded { pool: "test" });
    drop(held);
    drop(newer.now_or_never().expect("granted").expect("a lease"));
}

/// Callers that go away at every moment: before they wait, in line, after the grant and while they hold.
#[tokio::test]
async fn no_cancellation_loses_a_slot() {
    let pool = pool(&[1, 1]);
    for round in 0..64_u32 {
        let held: Vec<_> =
            futures::future::join_all((0..2).map(|_| pool.lease(request(WorkClass::FirstClause)))).await;
        let mut waiters: Vec<_> =
            (0..4).map(|_| Box::pin(pool.lease(request(WorkClass::FirstClause)))).collect();
        // Some are polled into the line, some never are.
        for (at, waiter) in waiters.iter_mut().enumerate() {
            if round & (1 << at) != 0 {
                assert!(waiter.now_or_never().is_none());
            }
        }
        if round & 16 != 0 {
            drop(waiters.remove(0)); // leaves the line
        }
        drop(held); // grants to those in line
        if round & 32 != 0 {
            drop(waiters.remove(0)); // leaves after the grant, before it is taken
        }
        let mut leases = Vec::new();
        for waiter in waiters {
            leases.extend(waiter.now_or_never());
        }
        assert!(leases.len() >= 2, "round {round}: the slots went on");
        drop(leases);
        assert_eq!(counts(&pool), (2, 0, 0), "round {round}");
    }
}

#[tokio::test]
async fn a_slot_granted_to_a_waiter_that_left_goes_to_the_next() {
    let pool = pool(&[1]);
    let held = pool.lease(request(WorkClass::FirstClause)).await.expect("free");
    let mut gone = Box::pin(pool.lease(request(WorkClass::FirstClause)));
    let mut next = Box::pin(pool.lease(request(WorkClass::FirstClause)));
    assert!((&mut gone).now_or_never().is_none());
    assert!((&mut next).now_or_never().is_none());
    drop(held); // grants to `gone`, which never takes it
    drop(gone);
    drop(next.now_or_never().expect("granted").expect("a lease"));
    assert_eq!(pool.stats().in_use, 0);
}

#[tokio::test]
async fn an_empty_pool_says_so() {
    let error = pool(&[]).lease(request(WorkClass::FirstClause)).await.expect_err("no engine");
    assert_eq!(error, LeaseError::NoInstance { pool: "test" });
}
