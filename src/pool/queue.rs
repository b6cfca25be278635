//! The waiting line of a pool: who is served next. Pure: no clock, no channel.

use std::collections::BTreeMap;

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
    /// A transcript while the person still speaks.
    PartialTranscript,
    /// Nobody waits for it.
    Background,
}

/// Names one waiter in its line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticket {
    class: WorkClass,
    arrival: u64,
}

/// Waiters in the order in which they are served: by class, then by arrival.
#[derive(Debug)]
pub struct WaitQueue<T> {
    waiters: BTreeMap<Ticket, T>,
    next_arrival: u64,
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        Self { waiters: BTreeMap::new(), next_arrival: 0 }
    }
}

impl<T> WaitQueue<T> {
    /// Adds a waiter and says how to name it.
    pub fn push(&mut self, class: WorkClass, waiter: T) -> Ticket {
        let ticket = Ticket { class, arrival: self.next_arrival };
        self.next_arrival += 1;
        self.waiters.insert(ticket, waiter);
        ticket
    }

    /// Takes the waiter that is served next.
    pub fn pop(&mut self) -> Option<T> {
        self.waiters.pop_first().map(|(_, waiter)| waiter)
    }

    /// Takes a waiter out of the line; `None` if it has left already.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.waiters.remove(&ticket)
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
    use super::*;

    #[test]
    fn serves_by_class_then_by_arrival() {
        let mut queue = WaitQueue::default();
        queue.push(WorkClass::Continuation, "a");
        queue.push(WorkClass::FinalTranscript, "b");
        queue.push(WorkClass::Continuation, "c");
        queue.push(WorkClass::FirstClause, "d");
        queue.push(WorkClass::FinalTranscript, "e");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["b", "e", "d", "a", "c"]);
    }

    #[test]
    fn a_waiter_leaves_once() {
        let mut queue = WaitQueue::default();
        let ticket = queue.push(WorkClass::Background, 1);
        queue.push(WorkClass::Background, 2);
        assert_eq!(queue.remove(ticket), Some(1));
        assert_eq!(queue.remove(ticket), None);
        assert_eq!((queue.pop(), queue.pop()), (Some(2), None));
    }
}
