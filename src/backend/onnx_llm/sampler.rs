//! Chooses the next token. Pure but for its dice.

use std::collections::HashSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use serde_json::Value;

use super::config::SamplingConfig;

/// How tokens are chosen: what the operator set, or else what the model's makers did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    repetition_penalty: f32,
}

impl Sampling {
    /// `generation` is the model's `generation_config.json`, read as transformers reads it: without `do_sample` its
    /// temperature means nothing. A value there that cannot be is passed over.
    pub(super) fn new(config: &SamplingConfig, generation: &Value) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a temperature or a share")]
        let number = |key: &str, low: f32, high: f32| {
            let value = generation[key].as_f64().map(|value| value as f32);
            value.filter(|value| (low..=high).contains(value))
        };
        let samples = generation["do_sample"].as_bool().unwrap_or_default();
        let temperature = if samples { number("temperature", 0.0, 5.0).unwrap_or(1.0) } else { 0.0 };
        let top_k = generation["top_k"].as_u64().and_then(|top_k| usize::try_from(top_k).ok());
        Self {
            temperature: config.temperature.unwrap_or(temperature),
            top_p: config.top_p.or_else(|| number("top_p", f32::MIN_POSITIVE, 1.0)).unwrap_or(1.0),
            top_k: config.top_k.or(top_k).unwrap_or_default(),
            repetition_penalty: config
                .repetition_penalty
                .or_else(|| number("repetition_penalty", 0.1, 10.0))
                .unwrap_or(1.0),
        }
    }
}

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub(super) struct Sampler {
    config: Sampling,
    dice: StdRng,
    seen: HashSet<u32>,
}

impl Sampler {
    /// A sampler that has seen the prompt.
    pub(super) fn new(config: Sampling, prompt: &[u32]) -> Self {
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
    use serde_json::json;

    const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, repetition_penalty: 1.0 };

    /// What Qwen2.5 comes with stands where the operator sets nothing; without `do_sample` nothing is drawn.
    #[test]
    fn the_model_s_own_settings_stand_under_the_operator_s() {
        let made = json!({ "do_sample": true, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1 });
        let of = |config: SamplingConfig, made: &Value| Sampling::new(&config, made);
        let unset = SamplingConfig::default();
        let own = Sampling { temperature: 0.7, top_p: 0.8, top_k: 20, repetition_penalty: 1.1 };
        assert_eq!(of(unset, &made), own);
        let set = SamplingConfig { temperature: Some(0.0), top_k: Some(5), ..unset };
        assert_eq!(of(set, &made), Sampling { temperature: 0.0, top_k: 5, ..own });
        assert_eq!(of(unset, &Value::Null), GREEDY);
        assert_eq!(of(unset, &json!({ "temperature": 0.7 })), GREEDY);
        assert_eq!(
            of(unset, &json!({ "do_sample": true, "top_p": 7 })),
            Sampling { temperature: 1.0, ..GREEDY }
        );
    }

    fn sampler(config: Sampling) -> Sampler {
        Sampler { dice: StdRng::seed_from_u64(7), ..Sampler::new(config, &[]) }
    }

    #[test]
    fn greedy_takes_the_first_likeliest() {
        let mut greedy = sampler(GREEDY);
        assert_eq!(greedy.choose(&mut [0.0, 2.0, f32::NAN, 2.0]), Some(1));
        assert_eq!(greedy.choose(&mut [f32::NEG_INFINITY, -5.0]), Some(1));
        assert_eq!(greedy.choose(&mut [f32::NAN]), None);
        assert_eq!(greedy.choose(&mut []), None);
    }

    #[test]
    fn repetition_is_punished() {
        let mut sampler = sampler(Sampling { repetition_penalty: 2.0, ..GREEDY });
        let logits = [3.0, 2.0, 1.0];
        assert_eq!(sampler.choose(&mut logits.clone()), Some(0));
        assert_eq!(sampler.choose(&mut logits.clone()), Some(1));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = sampler(Sampling { temperature: 1.0, ..GREEDY });
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
            let config = Sampling { temperature, top_p, top_k, repetition_penalty: 1.0 };
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
