//! Steps that several answers make as one: whether a graph can, whether it is quicker, and who steps with whom.
//!
//! A step of a large model is the reading of its weights, and a step of several answers reads them once. What it costs
//! is room: rows are as wide as the longest.

use super::OnnxLlmConfig;
use super::cache::{Cache, Padding};
use super::decoder::Decoder;
use super::prefix::Remembered;

/// From so many bytes of weights on, steps are batched. Between the models that it was measured with (decision 7): the
/// starter's 5.4 MiB, where it hardly pays, and 217 MiB, where it does.
const MIN_WEIGHTS: u64 = 100 << 20;
/// A step reads a row's tokens, its attention goes through them, and it writes them anew.
const PASSES: u64 = 3;
/// Tokens of the two answers that a graph is tried with, one much longer.
const SHORT: [i64; 3] = [1, 2, 3];
const LONG: [i64; 11] = [4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5];
/// Steps of both.
const STEPS: usize = 3;
/// How far the logits of an answer in a batch may be from those of the answer alone, as a part of their spread: sums may
/// be made in another order, of numbers of 16 bits. ONNX Runtime's CPU kernels give the same numbers; room at the wrong
/// side was off by 0.16 and more, a scale of quantised activations that answers share by 0.015 (`tests/families.rs`).
const TOLERANCE: f32 = 0.005;

/// How steps are batched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batching {
    /// Tokens that a row may have for room.
    room: usize,
}

impl Batching {
    /// How the steps of this model are batched; `None` where they are not: where one answer is written at a time, where it
    /// does not pay, or where the graph gives an answer in a batch other numbers than alone.
    pub(super) fn settle(
        config: &OnnxLlmConfig,
        decoder: &mut Decoder,
        weights: u64,
    ) -> Result<Option<Self>, String> {
        let engine = config.name.as_str();
        if config.slots < 2 || !config.batching.unwrap_or(weights >= MIN_WEIGHTS) {
            return Ok(None);
        }
        let alone = alone(decoder)?;
        let token_bytes =
            alone.iter().map(|(start, _)| start.bytes() / start.len()).max().unwrap_or_default();
        for padding in [Padding::After, Padding::Before] {
            decoder.padding = padding;
            // A graph that takes no batch at all fails, or does not.
            if is_as_alone(decoder, &alone).unwrap_or(false) {
                let batching = Self::new(weights, token_bytes as u64);
                tracing::info!(engine, most_room = batching.room, "language model: answers step together");
                return Ok(Some(batching));
            }
        }
        let told = "language model: answers take turns, as this graph gives one that steps with others other numbers than \
                    alone; an export in int4 may not";
        if config.batching.is_some() {
            tracing::warn!(engine, "{told}; `batching = false` keeps this silent");
        } else {
            tracing::info!(engine, "{told}");
        }
        Ok(None)
    }

    /// For a model of so many bytes of weights, and of its cache for each token.
    fn new(weights: u64, token_bytes: u64) -> Self {
        let room = weights / 2 / (PASSES * token_bytes).max(1);
        Self { room: usize::try_from(room).unwrap_or(usize::MAX) }
    }

    /// How many of the answers step together, and of the next, and so on: `lens` are the lengths of their caches, the
    /// longest first. An answer joins where its room costs less than half of what reading the weights again would.
    pub(super) fn groups(self, lens: &[usize]) -> Vec<usize> {
        let mut groups = Vec::new();
        let mut rest = lens;
        while let Some(longest) = rest.first() {
            let count = rest.iter().take_while(|len| longest - **len <= self.room).count();
            groups.push(count);
            rest = &rest[count..];
        }
        groups
    }
}

/// Two answers, each after its prompt, and the logits of its next steps.
type Alone = [(Cache, Vec<Vec<f32>>); 2];

fn alone(decoder: &mut Decoder) -> Result<Alone, String> {
    let mut write = |prompt: &[i64]| {
        let mut cache = decoder.empty_cache()?;
        decoder.read(&mut cache, prompt)?;
        let start = cache.clone();
        let logits =
            (0..STEPS).map(|step| decoder.step(&mut cache, &[token(step)])).collect::<Result<_, _>>()?;
        Ok::<_, String>((start, logits))
    };
    Ok([write(&SHORT)?, write(&LONG)?])
}

fn token(step: usize) -> i64 {
    SHORT[step % SHORT.len()]
}

fn is_as_alone(decoder: &mut Decoder, alone: &Alone) -> Result<bool, String> {
    let mut caches: Vec<Cache> = alone.iter().map(|(start, _)| start.clone()).collect();
    for step in 0..STEPS {
        let mut rows: Vec<&mut Cache> = caches.iter_mut().collect();
        let together = decoder.step_together(&mut rows, &vec![token(step); alone.len()])?;
        let is_same = |(row, (_, logits)): (&Vec<f32>, &(Cache, Vec<Vec<f32>>))| is_near(row, &logits[step]);
        if !together.iter().zip(alone).all(is_same) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_near(row: &[f32], alone: &[f32]) -> bool {
    let (low, high) =
        alone.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let most = (high - low) * TOLERANCE;
    row.len() == alone.len() && row.iter().zip(alone).all(|(row, alone)| (row - alone).abs() <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_like_length_step_together() {
        let batching = Batching { room: 100 };
        let table: [(&[usize], &[usize]); 6] = [
            (&[], &[]),
            (&[7], &[1]),
            (&[300, 300, 200], &[3]),
            (&[301, 300, 200], &[2, 1]),
            (&[900, 850, 500, 420, 401, 10], &[2, 3, 1]),
            (&[500, 1, 1, 1], &[1, 3]),
        ];
        for (lens, expected) in table {
            assert_eq!(batching.groups(lens), expected, "{lens:?}");
        }
    }

    #[test]
    fn heavy_weights_are_worth_more_room() {
        // Qwen2.5-0.5B in int4, 24 KiB a token, and the starter model.
        assert_eq!(Batching::new(303 << 20, 24 << 10), Batching { room: 2154 });
        assert_eq!(Batching::new(5_622_697, 4 << 10), Batching { room: 228 });
        assert_eq!(Batching::new(1, 0), Batching { room: 0 });
    }

    #[test]
    fn near_is_what_another_order_of_sums_makes() {
        let alone = [-5.0, 0.0, 5.0];
        assert!(is_near(&[-5.02, 0.0, 5.02], &alone));
        assert!(!is_near(&[-5.0, 0.2, 5.0], &alone) && !is_near(&[-5.0, 0.0], &alone));
        assert!(!is_near(&[f32::NAN, 0.0, 5.0], &alone));
    }
}
