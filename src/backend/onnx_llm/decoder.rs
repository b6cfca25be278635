//! A decoder graph with its cache, by the contract of the hub's ONNX exports: everything is found by name, and an
//! input is fed only where the graph declares it.
//!
//! What comes out of a step as cache goes into the next as it is, wherever it lies: on a GPU it never leaves it. Logits
//! alone come to the CPU.

use std::path::Path;

use ort::session::Session;
use ort::value::{DynValue, TensorElementType};
use serde_json::Value;

use super::cache::{Batch, Cache, Padding};
use crate::backend::onnx::{Binding, CacheSlot, Gather, PAST, last_rows};
use crate::engine::Device;

const LOGITS: &str = "logits";

/// A loaded graph.
#[derive(Debug)]
pub(super) struct Decoder {
    session: Session,
    inputs: Inputs,
    cache: Vec<CacheSlot>,
    /// What the next step reads and writes; empty between two steps, so that no cache is held here.
    binding: Binding,
    gather: Gather,
    /// Where answers that step together have room.
    pub(super) padding: Padding,
}

/// Which of the optional inputs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Inputs {
    attention_mask: bool,
    position_ids: bool,
    use_cache_branch: bool,
    /// A number, or a list of one.
    num_logits_to_keep: Option<usize>,
}

impl Decoder {
    /// Checks that the graph keeps the contract. `config` is the model's `config.json`, which gives the sizes
    /// that the graph leaves open; `device` is where the session computes; `library` is ONNX Runtime's.
    pub(super) fn new(
        session: Session,
        config: &Value,
        device: Device,
        library: &Path,
    ) -> Result<Self, String> {
        let mut inputs = Inputs::default();
        let mut cache = Vec::new();
        for input in session.inputs() {
            match input.name() {
                "input_ids" => {}
                "attention_mask" => inputs.attention_mask = true,
                "position_ids" => inputs.position_ids = true,
                "use_cache_branch" => inputs.use_cache_branch = true,
                "num_logits_to_keep" => {
                    inputs.num_logits_to_keep =
                        Some(input.dtype().tensor_shape().map_or(0, |shape| shape.len()));
                }
                name if name.starts_with(PAST) => {
                    cache.push(CacheSlot::new(name, input.dtype(), sizes(config))?);
                }
                name => return Err(format!("its input `{name}` is not known")),
            }
        }
        if cache.is_empty() {
            return Err("it has no cache inputs (`past_key_values.*`); export it with its cache".into());
        }
        let outputs: Vec<&str> = session.outputs().iter().map(|output| output.name()).collect();
        let needed = cache.iter().map(|slot| slot.present.as_str()).chain([LOGITS]);
        if let Some(missing) = needed.into_iter().find(|name| !outputs.contains(name)) {
            return Err(format!("it has no output `{missing}`"));
        }
        let logits = session.outputs().iter().find(|output| output.name() == LOGITS);
        match logits.and_then(|output| output.dtype().tensor_type()) {
            Some(TensorElementType::Float32 | TensorElementType::Float16) => {
                let binding = Binding::new(&session, device)?;
                let gather = Gather::new(&session, device, library)?;
                Ok(Self { session, inputs, cache, binding, gather, padding: Padding::default() })
            }
            kind => Err(format!("its logits are {kind:?}; take an export with Float32 or Float16 logits")),
        }
    }

    /// A cache of no tokens.
    pub(super) fn empty_cache(&self) -> Result<Cache, String> {
        let values = self.cache.iter().map(|slot| slot.empty(&self.session)).collect::<Result<_, _>>()?;
        Cache::of(Batch { values, width: 0, rows: 1 }, &[0]).pop().ok_or_else(|| "there is no row".into())
    }

    /// The first `tokens` of a cache, copied where it holds more or others hold it too; `None` where that cannot be had.
    pub(super) fn first(&mut self, cache: &Cache, tokens: usize) -> Option<Cache> {
        cache.first(tokens, self.padding, &mut self.gather).ok()
    }

    /// Appends `tokens` to the cache; the logits of what follows the last of them. After an error the cache is as it was.
    pub(super) fn step(&mut self, cache: &mut Cache, tokens: &[i64]) -> Result<Vec<f32>, String> {
        let logits = self.append(&mut [cache], tokens, true)?;
        logits.into_iter().next().ok_or_else(|| "no logits came out".into())
    }

    /// The same where more follows: the logits, one row for each token in many exports, stay where they were computed.
    pub(super) fn read(&mut self, cache: &mut Cache, tokens: &[i64]) -> Result<(), String> {
        self.append(&mut [cache], tokens, false).map(drop)
    }

    /// Appends a token to each cache, in one step; the logits of what follows each.
    pub(super) fn step_together(
        &mut self,
        caches: &mut [&mut Cache],
        tokens: &[i64],
    ) -> Result<Vec<Vec<f32>>, String> {
        self.append(caches, tokens, true)
    }

    /// Appends as many of `tokens` to each cache. `wants_logits`: they come to the CPU, and are answered.
    fn append(
        &mut self,
        caches: &mut [&mut Cache],
        tokens: &[i64],
        wants_logits: bool,
    ) -> Result<Vec<Vec<f32>>, String> {
        let past: Vec<&Cache> = caches.iter().map(|cache| &**cache).collect();
        let batch = Cache::join(&past, self.padding, &mut self.gather)?;
        let lens: Vec<usize> = past.iter().map(|cache| cache.len()).collect();
        let outcome = self.bind((&batch, &lens), tokens, wants_logits).and_then(|()| self.run(wants_logits));
        self.binding.clear(); // it would keep the caches of this step until the next one
        let (logits, values) = outcome?;
        let (rows, new) = (batch.rows, tokens.len() / batch.rows);
        let lens: Vec<usize> = lens.into_iter().map(|len| len + new).collect();
        let grown = Cache::of(Batch { values, width: batch.width + new, rows }, &lens);
        caches.iter_mut().zip(grown).for_each(|(cache, grown)| **cache = grown);
        Ok(logits)
    }

    /// Says what the next step reads, and where what it writes is to lie.
    fn bind(
        &mut self,
        (batch, lens): (&Batch, &[usize]),
        tokens: &[i64],
        wants_logits: bool,
    ) -> Result<(), String> {
        let (inputs, padding, rows) = (self.inputs, self.padding, lens.len());
        let new = tokens.len() / rows;
        let binding = &mut self.binding;
        binding.feed("input_ids", vec![rows, new], tokens.to_vec())?;
        if inputs.attention_mask {
            let mask = lens.iter().flat_map(|len| mask(len + new, batch.width + new, padding)).collect();
            binding.feed::<i64>("attention_mask", vec![rows, batch.width + new], mask)?;
        }
        if inputs.position_ids {
            let positions = lens.iter().flat_map(|len| *len as i64..(len + new) as i64).collect();
            binding.feed::<i64>("position_ids", vec![rows, new], positions)?;
        }
        if inputs.use_cache_branch {
            binding.feed("use_cache_branch", vec![1], vec![batch.width > 0])?;
        }
        if let Some(sides) = inputs.num_logits_to_keep {
            binding.feed("num_logits_to_keep", vec![1; sides], vec![1_i64])?;
        }
        for (slot, value) in self.cache.iter().zip(&batch.values) {
            binding.pass(&slot.past, value)?;
            binding.keep(&slot.present)?;
        }
        if wants_logits { binding.fetch(LOGITS) } else { binding.keep(LOGITS) }
    }

    /// Makes the step that is bound: the logits of what follows each answer, if they are wanted, and the caches.
    fn run(&mut self, wants_logits: bool) -> Result<(Vec<Vec<f32>>, Vec<DynValue>), String> {
        let mut outputs = self.binding.run(&mut self.session, None)?;
        let logits = outputs.get(LOGITS).ok_or("no logits came out")?;
        let logits = if wants_logits { last_rows(logits)? } else { Vec::new() };
        let present =
            |slot: &CacheSlot| outputs.remove(&slot.present).ok_or("a part of the cache did not come out");
        Ok((logits, self.cache.iter().map(present).collect::<Result<_, _>>()?))
    }
}

/// 1 for each token of a row, 0 for its room.
fn mask(len: usize, width: usize, padding: Padding) -> impl Iterator<Item = i64> {
    (0..width).map(move |at| match padding {
        Padding::After => i64::from(at < len),
        Padding::Before => i64::from(at >= width - len),
    })
}

/// Heads of a cache and their size, as `config.json` tells them.
fn sizes(config: &Value) -> (Option<i64>, Option<i64>) {
    let number = |key: &str| config.get(key).and_then(Value::as_i64).filter(|number| *number > 0);
    let attention_heads = number("num_attention_heads");
    let by_heads = || Some(number("hidden_size")? / attention_heads?);
    (number("num_key_value_heads").or(attention_heads), number("head_dim").or_else(by_heads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_of_a_cache_are_told_or_follow_from_others() {
        let table = [
            (json!({}), (None, None)),
            (json!({ "num_attention_heads": 8, "hidden_size": 512 }), (Some(8), Some(64))),
            (json!({ "num_key_value_heads": 4, "head_dim": 32 }), (Some(4), Some(32))),
            (
                json!({ "num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 512, "head_dim": 128 }),
                (Some(2), Some(128)),
            ),
            (json!({ "num_attention_heads": 0, "hidden_size": 512 }), (None, None)),
        ];
        for (config, expected) in table {
            assert_eq!(sizes(&config), expected, "{config}");
        }
    }
}
