//! `InOrder`: what ends in any order is told in the order in which it began. Pure.

use std::collections::VecDeque;

/// Things under way, oldest first, and the outcomes of those that wait for an older one.
#[derive(Debug)]
pub struct InOrder<T> {
    waiting: VecDeque<(u64, Option<T>)>,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<T> InOrder<T> {
    /// One more is under way.
    pub fn begin(&mut self, number: u64) {
        self.waiting.push_back((number, None));
    }

    /// One ended; gives all that may be told now. What is unknown, or has ended before, changes nothing.
    pub fn end(&mut self, number: u64, outcome: T) -> Vec<(u64, T)> {
        let ended = self.waiting.iter_mut().find(|(waiting, held)| *waiting == number && held.is_none());
        if let Some((_, held)) = ended {
            *held = Some(outcome);
        }
        let mut ready = Vec::new();
        while let Some((number, Some(outcome))) = self.waiting.pop_front_if(|(_, held)| held.is_some()) {
            ready.push((number, outcome));
        }
        ready
    }

    /// How many are not told yet.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all are told.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_late_one_holds_the_others_back_and_no_longer() {
        let mut order = InOrder::default();
        (1..=3).for_each(|number| order.begin(number));
        assert!(order.end(2, "b").is_empty());
        assert!(order.end(2, "again").is_empty());
        assert_eq!(order.end(1, "a"), [(1, "a"), (2, "b")]);
        assert!(order.end(9, "unknown").is_empty());
        assert_eq!((order.end(3, "c"), order.len()), (vec![(3, "c")], 0));
    }

    proptest! {
        /// Begun in order and ended in any: each is told once, in order.
        #[test]
        fn told_in_order(ends in Just((0u64..20).collect::<Vec<_>>()).prop_shuffle(), early in 0usize..20) {
            let mut order = InOrder::default();
            let mut told = Vec::new();
            // Some end while others have not begun.
            let mut begun = 0u64;
            for (step, number) in ends.iter().enumerate() {
                while begun <= *number || (begun as usize) < step.min(early) {
                    order.begin(begun);
                    begun += 1;
                }
                told.extend(order.end(*number, *number));
            }
            prop_assert_eq!(told, (0..20).map(|number| (number, number)).collect::<Vec<_>>());
        }
    }
}
