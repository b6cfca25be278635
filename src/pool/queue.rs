//! The waiting line before the engines: who is served next. Pure: it is told the time.
//!
//! One line for all pools, so that the order holds across them. The order is (class, fair share, deadline,
//! arrival): an earlier class first; within a class the holder that used least lately; then who must be served
//! soonest.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::usage::UsageLedger;

/// Who asks for a slot: one session.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HolderId(pub u64);

/// What a slot is wanted for. Earlier classes are served first: a person waits for them in silence.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum WorkClass {
    /// The transcript of a finished utterance.
    FinalTranscript,
    /// Everything up to the first audio of an answer.
    FirstClause,
    /// The rest of an answer, while its beginning plays.
    Continuation,
    /// A transcript while the person still speaks. A newer one of a session replaces an older one that waits.
    PartialTranscript,
    /// Nobody waits for it.
    Background,
}

/// Names one waiter.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(u64);

#[cfg(test)]
impl Ticket {
    pub(super) fn numbered(number: u64) -> Self {
        Self(number)
    }
}

/// One who waits, for something that a `K` names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiter<K> {
    /// What is waited for.
    pub target: K,
    /// Who waits.
    pub holder: HolderId,
    /// For which kind of work.
    pub class: WorkClass,
    /// When waiting any longer is of no use.
    pub deadline: Instant,
    /// Tokens that a language model is thought to take for it; 0 for the others.
    pub tokens: u64,
}

/// Waiters, taken in order.
#[derive(Debug)]
pub struct WaitQueue<K> {
    waiters: BTreeMap<Ticket, Waiter<K>>,
    next_ticket: u64,
}

impl<K> Default for WaitQueue<K> {
    fn default() -> Self {
        Self { waiters: BTreeMap::new(), next_ticket: 0 }
    }
}

impl<K: Copy + PartialEq> WaitQueue<K> {
    /// Adds a waiter and says how to name it, and which older one it replaces.
    pub fn push(&mut self, waiter: Waiter<K>) -> (Ticket, Option<Ticket>) {
        let replaced = self.older_partial(&waiter);
        if let Some(ticket) = replaced {
            self.waiters.remove(&ticket);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiters.insert(ticket, waiter);
        (ticket, replaced)
    }

    fn older_partial(&self, newer: &Waiter<K>) -> Option<Ticket> {
        let same = |older: &Waiter<K>| {
            (older.class, older.holder) == (newer.class, newer.holder) && older.target == newer.target
        };
        let is_partial = newer.class == WorkClass::PartialTranscript;
        self.waiters.iter().find(|(_, older)| is_partial && same(older)).map(|(ticket, _)| *ticket)
    }

    /// Takes a waiter out of the line; `None` if it has left already.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Waiter<K>> {
        self.waiters.remove(&ticket)
    }

    /// Takes a waiter whose deadline has passed.
    pub fn pop_expired(&mut self, now: Instant) -> Option<(Ticket, Waiter<K>)> {
        self.pop_where(|waiter| waiter.deadline <= now)
    }

    /// Takes a waiter that `matches`, in no particular order.
    pub fn pop_where(&mut self, matches: impl Fn(&Waiter<K>) -> bool) -> Option<(Ticket, Waiter<K>)> {
        let ticket = self.waiters.iter().find(|(_, waiter)| matches(waiter)).map(|(ticket, _)| *ticket)?;
        Some((ticket, self.waiters.remove(&ticket)?))
    }

    /// Everybody in the order of service.
    pub fn in_order(&self, usage: &UsageLedger, now: Instant) -> Vec<(Ticket, Waiter<K>)> {
        let mut order: Vec<_> = self
            .waiters
            .iter()
            .map(|(ticket, waiter)| (usage.of(waiter.holder, now), *ticket, *waiter))
            .collect();
        order.sort_by(|(used_a, a, x), (used_b, b, y)| {
            let class = x.class.cmp(&y.class).then(used_a.total_cmp(used_b));
            class.then(x.deadline.cmp(&y.deadline)).then(a.cmp(b))
        });
        order.into_iter().map(|(_, ticket, waiter)| (ticket, waiter)).collect()
    }

    /// Those who wait.
    pub fn iter(&self) -> impl Iterator<Item = &Waiter<K>> {
        self.waiters.values()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn waiter(now: Instant, holder: u64, class: WorkClass, deadline_s: u64) -> Waiter<()> {
        let deadline = now + Duration::from_secs(deadline_s);
        Waiter { target: (), holder: HolderId(holder), class, deadline, tokens: 0 }
    }

    #[test]
    fn order_is_class_then_share_then_deadline_then_arrival() {
        use WorkClass::{Continuation, FinalTranscript, FirstClause};
        let (mut queue, mut usage, now) = (WaitQueue::default(), UsageLedger::default(), Instant::now());
        usage.charge(HolderId(1), 2.0, now);
        usage.charge(HolderId(2), 1.0, now);
        let entries = [
            (1, FinalTranscript, 5), // 5th: used most in its class
            (4, Continuation, 1),    // last: its class
            (2, FinalTranscript, 5), // 4th
            (3, FinalTranscript, 9), // 3rd: late deadline
            (5, FinalTranscript, 4), // 1st
            (6, FinalTranscript, 4), // 2nd: came later
            (7, FirstClause, 1),
        ];
        for (holder, class, deadline) in entries {
            queue.push(waiter(now, holder, class, deadline));
        }
        let order: Vec<_> = queue.in_order(&usage, now).into_iter().map(|(_, w)| w.holder.0).collect();
        assert_eq!(order, [5, 6, 3, 2, 1, 7, 4]);
    }

    #[test]
    fn a_newer_partial_replaces_the_older_of_its_session() {
        let (mut queue, now) = (WaitQueue::default(), Instant::now());
        let (first, _) = queue.push(waiter(now, 1, WorkClass::PartialTranscript, 5));
        let (_, replaced) = queue.push(waiter(now, 2, WorkClass::PartialTranscript, 5));
        assert_eq!(replaced, None, "another session's stays");
        let (_, replaced) = queue.push(waiter(now, 1, WorkClass::FinalTranscript, 5));
        assert_eq!(replaced, None, "a final one does not replace");
        let (_, replaced) = queue.push(waiter(now, 1, WorkClass::PartialTranscript, 5));
        assert_eq!((replaced, queue.len()), (Some(first), 3));
    }

    #[test]
    fn a_waiter_leaves_once() {
        let (mut queue, now) = (WaitQueue::default(), Instant::now());
        let (ticket, _) = queue.push(waiter(now, 1, WorkClass::Background, 5));
        assert!(queue.remove(ticket).is_some());
        assert!(queue.remove(ticket).is_none());
        assert!(queue.is_empty());
    }

    #[test]
    fn the_expired_are_found() {
        let (mut queue, now) = (WaitQueue::default(), Instant::now());
        queue.push(waiter(now, 1, WorkClass::Background, 5));
        assert!(queue.pop_expired(now + Duration::from_secs(4)).is_none());
        assert!(queue.pop_expired(now + Duration::from_secs(5)).is_some());
    }
}
