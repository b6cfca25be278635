//! Who says what: every user's facts, disjoint from all others', and its talk turn by turn. Pure: the same seed
//! gives the same talk. Read [`Planner`] first.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::scenario::Scenario;
use crate::score::Owners;

/// The most facts of one user: as many as can be told in the first minute.
const FACTS: usize = 3;

/// What a turn is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TurnKind {
    Greeting,
    Statement,
    Question,
    /// A question about a fact that this user never told: an answer with a value would be another's.
    Untold,
    Neutral,
    /// A recording of `--wav-dir`.
    Recording,
}

/// One thing a user says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    pub(crate) kind: TurnKind,
    pub(crate) text: String,
    /// Words that a right answer holds.
    pub(crate) expect: Vec<String>,
    /// Whether the answer is to be interrupted.
    pub(crate) barge_in: bool,
}

/// The facts of all users.
#[derive(Debug)]
pub(crate) struct Allotment {
    /// Per user, `(kind, value)` of the scenario; different kinds.
    facts: Vec<Vec<(usize, usize)>>,
    pub(crate) owners: Arc<Owners>,
    /// Whether there were too few values and some are shared.
    pub(crate) shared: bool,
}

impl Allotment {
    /// Deals the scenario's values: up to three each while they last, at least one each, shared only past that.
    pub(crate) fn new(scenario: &Scenario, users: usize, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut deck: Vec<_> = scenario.values().collect();
        deck.shuffle(&mut rng);
        let each = (deck.len() / users.max(1)).clamp(1, FACTS);
        let mut deal = Self { facts: vec![Vec::new(); users], owners: Arc::default(), shared: false };
        let mut free = deck.clone();
        for _ in 0..each {
            for user in 0..users {
                deal.give(user, &mut free, &deck);
            }
        }
        deal.owners = Arc::new(deal.owners_in(scenario));
        deal
    }

    /// Gives `user` the next free value of a kind that it has none of.
    fn give(&mut self, user: usize, free: &mut Vec<(usize, usize)>, deck: &[(usize, usize)]) {
        let held = &mut self.facts[user];
        let fits = |(kind, _): &(usize, usize)| held.iter().all(|(own, _)| own != kind);
        if let Some(index) = free.iter().rposition(fits) {
            held.push(free.remove(index));
        } else if held.is_empty() {
            self.shared = true;
            held.push(deck[user % deck.len()]);
        }
    }

    fn owners_in(&self, scenario: &Scenario) -> Owners {
        let mut owners = Owners::default();
        for (user, facts) in self.facts.iter().enumerate() {
            for fact in facts {
                owners.insert(scenario.value_words(*fact), user);
            }
        }
        owners
    }
}

/// One user's talk: greet, tell the facts with small talk between, then ask them back, tell them again, and so on
/// without end.
#[derive(Debug)]
pub(crate) struct Planner {
    scenario: Arc<Scenario>,
    facts: Vec<(usize, usize)>,
    told: usize,
    /// Facts to ask back before the round begins anew.
    to_ask: Vec<usize>,
    greeted: bool,
    barge_in: f64,
    rng: StdRng,
}

impl Planner {
    /// The talk of `user`. A fraction `barge_in` of its turns are long answers that it interrupts.
    pub(crate) fn new(
        scenario: Arc<Scenario>,
        allotment: &Allotment,
        user: usize,
        seed: u64,
        barge_in: f64,
    ) -> Self {
        Self {
            scenario,
            facts: allotment.facts[user].clone(),
            told: 0,
            to_ask: Vec::new(),
            greeted: false,
            barge_in,
            rng: StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(user as u64)),
        }
    }

    /// What the user says next.
    pub(crate) fn next_turn(&mut self) -> Turn {
        if !self.greeted {
            self.greeted = true;
            return self.neutral(TurnKind::Greeting, |kind, _| kind == "hello");
        }
        if self.rng.random_bool(self.barge_in) {
            let turn = self.neutral(TurnKind::Neutral, |_, long| long);
            return Turn { barge_in: true, ..turn };
        }
        // Of the rest, a quarter is small talk and a tenth asks for what was never told.
        match self.rng.random_range(0..20) {
            0..5 => self.neutral(TurnKind::Neutral, |kind, long| !long && kind != "hello"),
            5..7 => self.untold(),
            _ => self.fact(),
        }
    }

    fn fact(&mut self) -> Turn {
        if self.told < self.facts.len() {
            self.told += 1;
            if self.told == self.facts.len() {
                self.start_asking();
            }
            return self.statement(self.told - 1);
        }
        match self.to_ask.pop() {
            Some(fact) => self.question(fact),
            None => {
                self.start_asking();
                let again = self.rng.random_range(0..self.facts.len());
                self.statement(again)
            }
        }
    }

    fn start_asking(&mut self) {
        self.to_ask = (0..self.facts.len()).collect();
        self.to_ask.shuffle(&mut self.rng);
    }

    fn statement(&mut self, fact: usize) -> Turn {
        let (kind, value) = self.facts[fact];
        let kind = &self.scenario.facts[kind];
        let text = pick(&kind.statements, &mut self.rng).replace("{value}", &kind.values[value]);
        Turn { kind: TurnKind::Statement, text, expect: Vec::new(), barge_in: false }
    }

    fn question(&mut self, fact: usize) -> Turn {
        let (kind, value) = self.facts[fact];
        let kind = &self.scenario.facts[kind];
        let text = pick(&kind.questions, &mut self.rng);
        Turn { kind: TurnKind::Question, text, expect: vec![kind.values[value].clone()], barge_in: false }
    }

    fn untold(&mut self) -> Turn {
        let told = &self.facts[..self.told];
        let unknown = |(index, _): &(usize, _)| told.iter().all(|(kind, _)| kind != index);
        let kinds: Vec<_> = self.scenario.facts.iter().enumerate().filter(unknown).collect();
        let Some((_, kind)) = kinds.choose(&mut self.rng) else { return self.fact() };
        let text = pick(&kind.questions, &mut self.rng);
        Turn { kind: TurnKind::Untold, text, expect: vec![self.scenario.untold.clone()], barge_in: false }
    }

    fn neutral(&mut self, kind: TurnKind, fits: impl Fn(&str, bool) -> bool) -> Turn {
        let fitting: Vec<_> = self.scenario.neutral.iter().filter(|n| fits(&n.kind, n.long)).collect();
        let Some(neutral) = fitting.choose(&mut self.rng) else { return self.fact() };
        Turn { kind, text: neutral.user.clone(), expect: neutral.expect.clone(), barge_in: false }
    }
}

fn pick(texts: &[String], rng: &mut StdRng) -> String {
    texts.choose(rng).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    fn plan(users: usize, seed: u64) -> (Arc<Scenario>, Allotment) {
        let scenario = Arc::new(Scenario::embedded().unwrap());
        let allotment = Allotment::new(&scenario, users, seed);
        (scenario, allotment)
    }

    #[test]
    fn facts_are_disjoint_while_they_last() {
        for users in [1, 2, 30, 60, 116, 117, 300] {
            let (_, allotment) = plan(users, 7);
            let all: Vec<_> = allotment.facts.iter().flatten().collect();
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "{users} users share a value");
            assert!(allotment.facts.iter().all(|facts| !facts.is_empty()) && !allotment.shared);
            for facts in &allotment.facts {
                let kinds: HashSet<_> = facts.iter().map(|(kind, _)| kind).collect();
                assert_eq!(kinds.len(), facts.len(), "one value of a kind");
            }
        }
        assert!(plan(500, 7).1.shared, "there are not 500 values");
    }

    #[test]
    fn the_same_seed_gives_the_same_talk() {
        let (scenario, allotment) = plan(3, 1);
        let talk = |user, seed| {
            let mut planner = Planner::new(scenario.clone(), &allotment, user, seed, 0.1);
            (0..50).map(|_| planner.next_turn().text).collect::<Vec<_>>()
        };
        assert_eq!(talk(1, 5), talk(1, 5));
        assert_ne!(talk(1, 5), talk(1, 6));
        assert_ne!(talk(1, 5), talk(2, 5));
    }

    #[test]
    fn facts_are_asked_only_after_they_were_told() {
        let (scenario, allotment) = plan(30, 3);
        for user in 0..30 {
            let mut planner = Planner::new(scenario.clone(), &allotment, user, 3, 0.0);
            let mut told = String::new();
            let mut kinds = HashMap::new();
            for number in 0..80 {
                let turn = planner.next_turn();
                *kinds.entry(format!("{:?}", turn.kind)).or_insert(0) += 1;
                assert_eq!(turn.kind == TurnKind::Greeting, number == 0);
                assert!(!turn.text.contains('{') && !turn.barge_in);
                assert!(allotment.owners.foreign(&turn.text, user).is_empty(), "{}", turn.text);
                match turn.kind {
                    TurnKind::Statement => told += &turn.text,
                    TurnKind::Question => assert!(told.contains(&turn.expect[0]), "asked before told"),
                    _ => {}
                }
            }
            assert_eq!(kinds.len(), 5, "{kinds:?}");
        }
    }

    #[test]
    fn a_fraction_of_the_turns_interrupts() {
        let (scenario, allotment) = plan(1, 3);
        let mut planner = Planner::new(scenario, &allotment, 0, 3, 0.3);
        let count = (0..1_000).filter(|_| planner.next_turn().barge_in).count();
        assert!((200..400).contains(&count), "{count} of 1000");
    }
}
