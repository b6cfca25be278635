//! Who is in, who waits and in which order. Pure: `now` is given, and never goes back.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::decide::{AdmissionLimits, Decision, Load};
use super::turnover::Turnover;

/// After a strain, people are let in one by one, this far apart: what each adds must show before the next.
const EASING_PACE: Duration = Duration::from_secs(1);
/// For how long: by then the measured turns are all from after the strain.
const EASING: Duration = Duration::from_secs(30);

/// Names one who waits. Earlier ones are less.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticket(u64);

/// What became of a newcomer, counted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It has a place.
    Admitted,
    /// It waits.
    Queued(Ticket),
    /// It is to be told to come back; say [`Line::refused`] when it has been.
    Refused(Duration),
    /// It is not counted at all.
    TurnedAway(Duration),
}

/// What became of one who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who.
    pub ticket: Ticket,
    /// How long it waited.
    pub waited: Duration,
    /// Whether it has a place now. Otherwise it waited too long and is to be told when to come back.
    pub admitted: bool,
}

/// Those who are in and those who wait.
#[derive(Clone, Debug)]
pub struct Line {
    limits: AdmissionLimits,
    open: usize,
    refusing: usize,
    strained: bool,
    held: bool,
    /// When a strain was last seen.
    strained_at: Option<Instant>,
    /// When somebody was last let in.
    let_in_at: Option<Instant>,
    waiting: BTreeMap<Ticket, Instant>,
    next: u64,
    turnover: Turnover,
}

impl Line {
    /// Nobody is in and nobody waits.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            open: 0,
            refusing: 0,
            strained: false,
            held: false,
            strained_at: None,
            let_in_at: None,
            waiting: BTreeMap::new(),
            next: 0,
            turnover: Turnover::default(),
        }
    }

    /// Other limits from now on. Nobody who is in has to go.
    pub fn reconfigure(&mut self, limits: AdmissionLimits) {
        self.limits = limits;
    }

    /// The limits.
    pub fn limits(&self) -> &AdmissionLimits {
        &self.limits
    }

    /// Takes in how fast those who talk are answered. Gives the headroom.
    pub fn observe(&mut self, p95: Option<Duration>, now: Instant) -> f64 {
        let headroom = self.limits.headroom(p95);
        self.strained = self.limits.is_strained(headroom, self.strained);
        if self.strained {
            self.strained_at = Some(now);
        }
        headroom
    }

    /// Lets nobody in beside those who talk while `held`.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Whether headroom was too low when it was last looked at.
    pub fn is_strained(&self) -> bool {
        self.strained
    }

    /// What a decision would look at.
    pub fn load(&self, now: Instant) -> Load {
        Load {
            open: self.open,
            queued: self.waiting.len(),
            refusing: self.refusing,
            // Where nobody talks, nobody can be disturbed by a newcomer.
            strained: (self.held && self.open > 0) || self.strained || self.is_easing(now),
            retry_after: self.turnover.retry_after(now),
        }
    }

    /// Somebody comes.
    pub fn arrive(&mut self, now: Instant) -> Arrival {
        match self.limits.decide(&self.load(now)) {
            Decision::Admit => {
                self.let_in(now);
                Arrival::Admitted
            }
            Decision::Queue => {
                let ticket = Ticket(self.next);
                self.next += 1;
                self.waiting.insert(ticket, now);
                Arrival::Queued(ticket)
            }
            Decision::RefuseSoft { retry_after } => {
                self.refusing += 1;
                Arrival::Refused(retry_after)
            }
            Decision::RefuseHard { retry_after } => Arrival::TurnedAway(retry_after),
        }
    }

    /// Moves the line on: whoever waited too long is out, then places go to the first in line.
    pub fn advance(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((ticket, arrived)) = self.waiting.first_key_value() {
            let (ticket, waited) = (*ticket, now.saturating_duration_since(*arrived));
            let expired = waited >= self.limits.max_wait;
            if !expired && !self.limits.has_place(&self.load(now)) {
                break;
            }
            self.waiting.remove(&ticket);
            if expired {
                self.refusing += 1;
            } else {
                self.let_in(now);
            }
            steps.push(Step { ticket, waited, admitted: !expired });
        }
        steps
    }

    fn let_in(&mut self, now: Instant) {
        self.open += 1;
        self.let_in_at = Some(now);
    }

    /// Whether a strain is just over and somebody was let in a moment ago.
    fn is_easing(&self, now: Instant) -> bool {
        let within =
            |at: Option<Instant>, span| at.is_some_and(|at| now.saturating_duration_since(at) < span);
        within(self.strained_at, EASING) && within(self.let_in_at, EASING_PACE)
    }

    /// One who waits goes. Gives how long it waited, or `None` if it does not wait any more.
    pub fn leave(&mut self, ticket: Ticket, now: Instant) -> Option<Duration> {
        self.waiting.remove(&ticket).map(|arrived| now.saturating_duration_since(arrived))
    }

    /// A session ended, and its place is free.
    pub fn free(&mut self, now: Instant) {
        self.open = self.open.saturating_sub(1);
        self.turnover.record(now);
    }

    /// One who was refused has been told.
    pub fn refused(&mut self) {
        self.refusing = self.refusing.saturating_sub(1);
    }

    /// The place in line of one who waits, 1 for the next, and a guess of its wait.
    pub fn position(&self, ticket: Ticket, now: Instant) -> Option<(usize, Option<Duration>)> {
        let arrived = self.waiting.get(&ticket)?;
        let place = self.waiting.range(..=ticket).count();
        // Where places are free, it waits for headroom, and when that comes is not known.
        let estimate = self.turnover.estimate(place, now).filter(|_| !self.strained && !self.held);
        let left = self.limits.max_wait.saturating_sub(now.saturating_duration_since(*arrived));
        Some((place, estimate.filter(|estimate| *estimate <= left)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::AdmissionConfig;
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn line() -> Line {
        let config = AdmissionConfig {
            max_connections: 8,
            max_queue: 4,
            max_wait_s: 20,
            ..AdmissionConfig::default()
        };
        Line::new(AdmissionLimits::new(2, &config))
    }

    #[tokio::test(start_paused = true)]
    async fn places_go_to_the_first_in_line() {
        let (now, mut line) = (Instant::now(), line());
        let arrivals: Vec<Arrival> = (0..9).map(|_| line.arrive(now)).collect();
        let queued = |at: u64| Arrival::Queued(Ticket(at));
        assert_eq!(arrivals[..3], [Arrival::Admitted, Arrival::Admitted, queued(0)]);
        assert_eq!(arrivals[3..6], [queued(1), queued(2), queued(3)]);
        assert_eq!(
            arrivals[6..],
            [Arrival::Refused(s(5)), Arrival::Refused(s(5)), Arrival::TurnedAway(s(5))]
        );
        assert_eq!(line.advance(now), []);
        assert_eq!(line.leave(Ticket(0), now), Some(s(0)));
        assert_eq!(line.position(Ticket(2), now), Some((2, None)));
        line.free(now);
        assert_eq!(line.advance(now), [Step { ticket: Ticket(1), waited: s(0), admitted: true }]);
        assert_eq!(line.position(Ticket(1), now), None);
        let late = now + s(20);
        let out = |at| Step { ticket: Ticket(at), waited: s(20), admitted: false };
        assert_eq!(line.advance(late), [out(2), out(3)]);
        assert_eq!(line.load(late).refusing, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn without_headroom_newcomers_wait_though_places_are_free() {
        let (now, mut line) = (Instant::now(), line());
        line.observe(Some(Duration::from_millis(950)), now);
        assert_eq!(line.arrive(now), Arrival::Queued(Ticket(0)));
        line.observe(Some(Duration::from_millis(800)), now);
        assert_eq!(line.advance(now), [], "better, but not by enough");
        line.observe(None, now);
        line.hold(true);
        assert_eq!(line.advance(now).len(), 1, "nobody is in who could be disturbed");
        assert_eq!(line.arrive(now), Arrival::Queued(Ticket(1)));
        assert_eq!(line.advance(now + s(1)), [], "somebody else holds the door");
        line.hold(false);
        assert_eq!(line.advance(now + s(1)).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_strain_people_are_let_in_one_by_one() {
        let (now, mut line) = (Instant::now(), line());
        line.observe(Some(s(2)), now);
        for _ in 0..2 {
            line.arrive(now);
        }
        line.observe(None, now);
        let pace = Duration::from_millis(500);
        let let_in: Vec<usize> = (0..4).map(|half| line.advance(now + pace * half).len()).collect();
        assert_eq!(let_in, [1, 0, 1, 0]);
        for _ in 0..2 {
            line.free(now + s(30));
        }
        let arrivals = [line.arrive(now + s(30)), line.arrive(now + s(30))];
        assert_eq!(arrivals, [Arrival::Admitted; 2], "the strain is long over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_guess_is_given_where_it_can_be_met() {
        let (start, mut line) = (Instant::now(), line());
        for _ in 0..2 {
            line.arrive(start);
        }
        for second in 0..3 {
            line.free(start + s(second * 5));
            line.arrive(start + s(second * 5));
        }
        let now = start + s(15);
        let tickets: Vec<Ticket> = (0..4)
            .filter_map(|_| match line.arrive(now) {
                Arrival::Queued(ticket) => Some(ticket),
                _ => None,
            })
            .collect();
        assert_eq!(line.position(tickets[0], now), Some((1, Some(s(5)))));
        assert_eq!(line.position(tickets[3], now), Some((4, Some(s(20)))));
        assert_eq!(line.position(tickets[3], now + s(10)), Some((4, None)), "it will be refused before");
        line.observe(Some(s(2)), now);
        assert_eq!(line.position(tickets[0], now), Some((1, None)), "headroom has no timetable");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lower_limit_ends_nobody_and_a_higher_one_lets_in_at_once() {
        let (now, mut line) = (Instant::now(), line());
        for _ in 0..4 {
            line.arrive(now);
        }
        let limits = |max_sessions| AdmissionLimits { max_sessions, ..line.limits().clone() };
        let (low, high) = (limits(1), limits(3));
        line.reconfigure(low);
        assert_eq!((line.load(now).open, line.advance(now).len()), (2, 0));
        line.free(now);
        assert_eq!(line.advance(now), [], "one is in, one may be");
        line.reconfigure(high);
        assert_eq!(line.advance(now).len(), 2);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arrive,
        Leave(usize),
        Free,
        Told,
        Wait(u64),
        Measure(Option<u64>),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            5 => Just(Op::Arrive),
            1 => (0usize..8).prop_map(Op::Leave),
            2 => Just(Op::Free),
            1 => Just(Op::Told),
            2 => (0u64..9).prop_map(Op::Wait),
            1 => prop::option::of(0u64..1_500).prop_map(Op::Measure),
        ]
    }

    proptest! {
        /// Whatever happens: never more in than may be, the line is served in order, nobody waits past the
        /// limit, and nobody waits for nothing.
        #[test]
        fn the_line_is_fair(ops in prop::collection::vec(op(), 1..120)) {
            let mut now = Instant::now();
            let mut line = line();
            let mut waiting: Vec<(Ticket, Instant)> = Vec::new();
            for op in ops {
                match op {
                    Op::Arrive => if let Arrival::Queued(ticket) = line.arrive(now) {
                        waiting.push((ticket, now));
                    },
                    Op::Leave(index) if index < waiting.len() => {
                        let (ticket, since) = waiting.remove(index);
                        prop_assert_eq!(line.leave(ticket, now), Some(now - since));
                        prop_assert_eq!(line.leave(ticket, now), None);
                    }
                    Op::Leave(_) => {}
                    Op::Free => if line.load(now).open > 0 { line.free(now) },
                    Op::Told => line.refused(),
                    Op::Wait(seconds) => now += s(seconds),
                    Op::Measure(ms) => { line.observe(ms.map(Duration::from_millis), now); }
                }
                for step in line.advance(now) {
                    let (first, since) = waiting.remove(0);
                    prop_assert_eq!(step.ticket, first);
                    prop_assert_eq!(step.admitted, now - since < s(20));
                }
                let load = line.load(now);
                prop_assert!(load.open <= 2 && load.queued <= 4);
                prop_assert_eq!(load.queued, waiting.len());
                prop_assert!(waiting.iter().all(|(_, since)| now - *since < s(20)));
                prop_assert!(waiting.is_empty() || !line.limits().has_place(&load));
                for (index, (ticket, _)) in waiting.iter().enumerate() {
                    prop_assert_eq!(line.position(*ticket, now).map(|(place, _)| place), Some(index + 1));
                }
            }
        }
    }
}
