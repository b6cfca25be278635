//! One pool: instances of an engine with slots, and those who wait for one.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::lease::{Lease, LeaseError, LeaseRequest};
use super::queue::{Ticket, WaitQueue};
use super::select::{Load, least_loaded};
use crate::telemetry::metrics as names;

/// An engine and how many calls it serves at once.
#[derive(Debug)]
pub struct Instance<E: ?Sized> {
    /// Name for status and logs.
    pub name: String,
    /// The engine.
    pub engine: Arc<E>,
    /// Calls at once.
    pub slots: usize,
}

/// What a pool does now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolStats {
    /// The pool's name.
    pub name: &'static str,
    /// Slots of all instances.
    pub slots: usize,
    /// Slots in use.
    pub in_use: usize,
    /// Requests that wait.
    pub waiting: usize,
}

/// Engines of one kind that sessions share. Clones are handles to the same pool.
pub struct ResourcePool<E: ?Sized> {
    shared: Arc<Shared<E>>,
}

impl<E: ?Sized> Clone for ResourcePool<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<E: ?Sized> fmt::Debug for ResourcePool<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResourcePool").field(&self.stats()).finish()
    }
}

impl<E: ?Sized> ResourcePool<E> {
    /// A pool of these instances. `name` stands in errors and metrics.
    pub fn new(name: &'static str, instances: Vec<Instance<E>>, max_waiting: usize) -> Self {
        let members = instances.into_iter().map(|instance| Member { instance, in_use: 0 }).collect();
        let state = Mutex::new(State { members, waiting: WaitQueue::default() });
        Self { shared: Arc::new(Shared { name, max_waiting, state }) }
    }

    /// A slot of the least loaded instance, at once or when it is this request's turn. Dropping the future
    /// leaves the line; a slot that was granted meanwhile goes to the next.
    pub async fn lease(&self, request: LeaseRequest) -> Result<Lease<E>, LeaseError> {
        let asked = Instant::now();
        let result = match self.shared.enter(request)? {
            Entry::Served(lease) => Ok(lease),
            Entry::Waiting(place) => place.wait(request.deadline).await,
        };
        metrics::histogram!(names::POOL_WAIT_SECONDS, "pool" => self.shared.name)
            .record(asked.elapsed().as_secs_f64());
        result
    }

    /// What the pool does now.
    pub fn stats(&self) -> PoolStats {
        let state = self.shared.lock();
        PoolStats {
            name: self.shared.name,
            slots: state.members.iter().map(|member| member.instance.slots).sum(),
            in_use: state.members.iter().map(|member| member.in_use).sum(),
            waiting: state.waiting.len(),
        }
    }

    /// The engines, for what concerns all of them (say, their voices).
    pub fn engines(&self) -> Vec<Arc<E>> {
        self.shared.lock().members.iter().map(|member| Arc::clone(&member.instance.engine)).collect()
    }
}

/// What all handles and leases of a pool share. The lock is held for a few instructions and never across
/// a send or an await.
pub(super) struct Shared<E: ?Sized> {
    name: &'static str,
    max_waiting: usize,
    state: Mutex<State<E>>,
}

struct State<E: ?Sized> {
    members: Vec<Member<E>>,
    waiting: WaitQueue<oneshot::Sender<Lease<E>>>,
}

struct Member<E: ?Sized> {
    instance: Instance<E>,
    in_use: usize,
}

impl<E: ?Sized> State<E> {
    fn take_slot(&mut self) -> Option<(usize, Arc<E>)> {
        let loads = self.members.iter().map(|m| Load { in_use: m.in_use, slots: m.instance.slots });
        let index = least_loaded(loads)?;
        let member = self.members.get_mut(index)?;
        member.in_use += 1;
        Some((index, Arc::clone(&member.instance.engine)))
    }
}

enum Entry<E: ?Sized> {
    Served(Lease<E>),
    Waiting(Place<E>),
}

impl<E: ?Sized> Shared<E> {
    fn enter(self: &Arc<Self>, request: LeaseRequest) -> Result<Entry<E>, LeaseError> {
        let mut state = self.lock();
        if state.members.is_empty() {
            return Err(LeaseError::NoInstance { pool: self.name });
        }
        // Those who wait already go first: a newcomer takes a free slot only from an empty line.
        if state.waiting.is_empty()
            && let Some((index, engine)) = state.take_slot()
        {
            drop(state);
            self.report();
            return Ok(Entry::Served(Lease::new(engine, index, Arc::clone(self))));
        }
        if state.waiting.len() >= self.max_waiting {
            return Err(LeaseError::QueueFull { pool: self.name, limit: self.max_waiting });
        }
        let (grant, granted) = oneshot::channel();
        let ticket = state.waiting.push(request.class, grant);
        Ok(Entry::Waiting(Place { shared: Arc::clone(self), ticket, granted, since: Instant::now() }))
    }

    pub(super) fn release(self: &Arc<Self>, instance: usize) {
        let next = {
            let mut state = self.lock();
            if let Some(member) = state.members.get_mut(instance) {
                member.in_use -= 1;
            }
            if state.waiting.is_empty() {
                None
            } else {
                state.take_slot().and_then(|(index, engine)| Some((state.waiting.pop()?, index, engine)))
            }
        };
        if let Some((waiter, index, engine)) = next {
            // A waiter that has gone drops the lease here, outside the lock, and so serves the one after it.
            drop(waiter.send(Lease::new(engine, index, Arc::clone(self))));
        }
        self.report();
    }

    fn report(&self) {
        let in_use: usize = self.lock().members.iter().map(|member| member.in_use).sum();
        #[expect(clippy::cast_precision_loss, reason = "a handful of slots")]
        metrics::gauge!(names::POOL_IN_USE, "pool" => self.name).set(in_use as f64);
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line, left when dropped.
struct Place<E: ?Sized> {
    shared: Arc<Shared<E>>,
    ticket: Ticket,
    granted: oneshot::Receiver<Lease<E>>,
    since: Instant,
}

impl<E: ?Sized> Place<E> {
    async fn wait(mut self, deadline: Instant) -> Result<Lease<E>, LeaseError> {
        match timeout_at(deadline, &mut self.granted).await {
            Ok(Ok(lease)) => Ok(lease),
            // The sender lives in the line until it is used, so its loss means the line is gone.
            Ok(Err(_)) => Err(LeaseError::NoInstance { pool: self.shared.name }),
            Err(_) => Err(LeaseError::TimedOut {
                pool: self.shared.name,
                waited_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

impl<E: ?Sized> Drop for Place<E> {
    fn drop(&mut self) {
        drop(self.shared.lock().waiting.remove(self.ticket));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::super::queue::{HolderId, WorkClass};
    use super::*;

    trait Engine: Send + Sync {
        fn name(&self) -> &str;
    }

    impl Engine for &'static str {
        fn name(&self) -> &str {
            self
        }
    }

    fn pool(slots: &[usize]) -> ResourcePool<dyn Engine> {
        let names = ["first", "second", "third"];
        let instances = slots.iter().zip(names).map(|(&slots, name)| Instance {
            name: name.to_owned(),
            engine: Arc::new(name) as Arc<dyn Engine>,
            slots,
        });
        ResourcePool::new("test", instances.collect(), 4)
    }

    fn request(class: WorkClass) -> LeaseRequest {
        LeaseRequest { holder: HolderId(1), class, deadline: Instant::now() + Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn spreads_over_instances_and_gives_slots_back() {
        let pool = pool(&[1, 2]);
        let a = pool.lease(request(WorkClass::FirstClause)).await.expect("free");
        let b = pool.lease(request(WorkClass::FirstClause)).await.expect("free");
        assert_eq!((a.name(), b.name()), ("first", "second"));
        assert_eq!(pool.stats(), PoolStats { name: "test", slots: 3, in_use: 2, waiting: 0 });
        drop((a, b));
        assert_eq!(pool.stats().in_use, 0);
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
        assert_eq!(pool.stats(), PoolStats { name: "test", slots: 1, in_use: 0, waiting: 0 });
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
}
