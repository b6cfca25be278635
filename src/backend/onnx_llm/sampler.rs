//! Chooses the next token. Pure but for its dice.

use std::collections::HashSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::config::SamplingConfig;

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub(super) struct Sampler {
    config: SamplingConfig,
    dice: StdRng,
    seen: HashSet<u32>,
}

impl Sampler {
    /// A sampler that has seen the prompt.
    pub(super) fn new(config: SamplingConfig, prompt: &[u32]) -> Self {
        Self { config, dice: StdRng::from_os_rng(), seen: prompt.iter().copied().collect() }
    }

    /// The next token by `logits`, one a token; `None` where no logit is a number.
    pub(super) fn choose(&mut self, logits: &mut [f32]) -> Option<u32> {
        self.punish_repetition(logits);
        let token = match self.config.temperature {
            temperature if temperature > 0.0 => self.draw(logits, temperature),
            _ => likeliest(logits),
        }?;
        self.seen.insert(token);
        Some(token)
    }

    /// A number that only this answer has.
    pub(super) fn number(&mut self) -> u64 {
        self.dice.random()
    }

    /// As in the CTRL paper: divides what is likely, multiplies what is not.
    fn punish_repetition(&self, logits: &mut [f32]) {
        let penalty = self.config.repetition_penalty;
        if (penalty - 1.0).abs() < f32::EPSILON {
            return;
        }
        for token in &self.seen {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    fn draw(&mut self, logits: &[f32], temperature: f32) -> Option<u32> {
        let mut tokens: Vec<(u32, f32)> =
            (0..).zip(logits.iter().copied()).filter(|(_, logit)| !logit.is_nan()).collect();
        let by_logit = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1);
        if self.config.top_k > 0 && self.config.top_k < tokens.len() {
            tokens.select_nth_unstable_by(self.config.top_k, by_logit);
            tokens.truncate(self.config.top_k);
        }
        tokens.sort_unstable_by(by_logit);
        let max = tokens.first()?.1;
        for (_, logit) in &mut tokens {
            *logit = ((*logit - max) / temperature).exp();
        }
        let total: f32 = tokens.iter().map(|(_, weight)| weight).sum();
        let nucleus = total * self.config.top_p;
        let mut kept = 0.0;
        let within = tokens.iter().take_while(|(_, weight)| {
            let is_within = kept < nucleus;
            kept += weight;
            is_within
        });
        let len = within.count().max(1);
        tokens.truncate(len);
        let kept: f32 = tokens.iter().map(|(_, weight)| weight).sum();
        let mut throw = self.dice.random::<f32>() * kept;
        let hit = tokens.iter().find(|(_, weight)| {
            throw -= weight;
            throw <= 0.0
        });
        hit.or(tokens.first()).map(|(token, _)| *token)
    }
}

fn likeliest(logits: &[f32]) -> Option<u32> {
    let numbers = (0..).zip(logits).filter(|(_, logit)| !logit.is_nan());
    // The first of equals, as everybody's argmax does.
    numbers.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(token, _)| token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(config: SamplingConfig) -> Sampler {
        Sampler { dice: StdRng::seed_from_u64(7), ..Sampler::new(config, &[]) }
    }

    #[test]
    fn greedy_takes_the_first_likeliest() {
        let mut greedy = sampler(SamplingConfig::default());
        assert_eq!(greedy.choose(&mut [0.0, 2.0, f32::NAN, 2.0]), Some(1));
        assert_eq!(greedy.choose(&mut [f32::NEG_INFINITY, -5.0]), Some(1));
        assert_eq!(greedy.choose(&mut [f32::NAN]), None);
        assert_eq!(greedy.choose(&mut []), None);
    }

    #[test]
    fn repetition_is_punished() {
        let mut sampler = sampler(SamplingConfig { repetition_penalty: 2.0, ..SamplingConfig::default() });
        let logits = [3.0, 2.0, 1.0];
        assert_eq!(sampler.choose(&mut logits.clone()), Some(0));
        assert_eq!(sampler.choose(&mut logits.clone()), Some(1));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = sampler(SamplingConfig { temperature: 1.0, ..SamplingConfig::default() });
        let mut counts = [0u32; 3];
        for _ in 0..4000 {
            let token = sampler.choose(&mut [0.0, 1.0986, f32::NEG_INFINITY]).expect("a token");
            counts[token as usize] += 1;
        }
        assert!((850..1150).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    proptest! {
        #[test]
        fn draws_stay_within_top_k_and_top_p(
            logits in prop::collection::vec(-20f32..20.0, 1..50),
            top_k in 0usize..60, top_p in 0.01f32..=1.0, temperature in 0.1f32..3.0,
        ) {
            let config = SamplingConfig { temperature, top_p, top_k, repetition_penalty: 1.0 };
            let token = sampler(config).choose(&mut logits.clone()).expect("a token") as usize;
            let likelier = logits.iter().filter(|logit| **logit > logits[token]).count();
            prop_assert!(top_k == 0 || likelier < top_k);
            let weight = |logit: &f32| ((logit - 20.0) / temperature).exp();
            let total: f32 = logits.iter().map(weight).sum();
            let before: f32 = logits.iter().filter(|logit| **logit > logits[token]).map(weight).sum();
            prop_assert!(before <= total * top_p * 1.001 + f32::EPSILON);
        }
    }
}
