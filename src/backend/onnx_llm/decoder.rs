//! A decoder graph with its cache, by the contract of the hub's ONNX exports: everything is found by name, and an
//! input is fed only where the graph declares it.
//!
//! What comes out of a step as cache goes into the next as it is, wherever it lies: on a GPU it never leaves it. Logits
//! alone come to the CPU.

use half::f16;
use ort::memory::AllocationDevice;
use ort::session::Session;
use ort::value::{DynTensorValueType, DynValue, PrimitiveTensorElementType, Tensor, TensorElementType};
use serde_json::Value;

use super::prefix::Remembered;
use crate::backend::onnx::{Binding, CacheSlot, PAST, last_row};
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
}

/// What the model remembers of one answer so far.
#[derive(Debug)]
pub(super) struct Cache {
    values: Vec<DynValue>,
    len: usize,
}

impl Cache {
    /// A cache that belongs to no model: what is left where one was taken.
    pub(super) fn nothing() -> Self {
        Self { values: Vec::new(), len: 0 }
    }

    /// Tokens in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Remembered for Cache {
    fn bytes(&self) -> usize {
        let count = |value: &DynValue| value.dtype().tensor_shape().map_or(0, |shape| shape.num_elements());
        let number = |value: &DynValue| match value.dtype().tensor_type() {
            Some(TensorElementType::Float16 | TensorElementType::Bfloat16) => size_of::<f16>(),
            _ => size_of::<f32>(),
        };
        self.values.iter().map(|value| count(value) * number(value)).sum()
    }

    /// Only of caches in 32 and 16 bits that hold every token; others are read again.
    fn prefix(&self, tokens: usize) -> Option<Self> {
        let part = |value: &DynValue| {
            let lengths = (tokens, self.len);
            let fetched = fetched(value)?;
            let value = fetched.as_ref().unwrap_or(value);
            first_tokens::<f32>(value, lengths).or_else(|| first_tokens::<f16>(value, lengths))
        };
        Some(Self { values: self.values.iter().map(part).collect::<Option<_>>()?, len: tokens })
    }
}

/// A copy on the CPU of a tensor that lies elsewhere; the outer `None` where that fails. The first step that reads the
/// part that is made of it brings that back.
#[expect(clippy::option_option, reason = "what needs no copy has none, what cannot be copied is given up")]
fn fetched(value: &DynValue) -> Option<Option<DynValue>> {
    let tensor = value.view().downcast::<DynTensorValueType>().ok()?;
    if tensor.memory_info().is_cpu_accessible() {
        return Some(None);
    }
    Some(Some(tensor.to(AllocationDevice::CPU, 0).ok()?.into_dyn()))
}

/// The first `tokens` of a tensor of batch 1, heads, `length` tokens, head size.
fn first_tokens<T>(value: &DynValue, (tokens, length): (usize, usize)) -> Option<DynValue>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Copy + 'static,
{
    let (shape, values) = value.try_extract_tensor::<T>().ok()?;
    let &[1, heads, held, size] = &shape[..] else { return None };
    let [heads, held, size] = [heads, held, size].map(|side| usize::try_from(side).unwrap_or_default());
    if held != length || tokens > length {
        return None; // a cache that has let its beginning go, by a window
    }
    let head = |head: usize| &values[head * length * size..][..tokens * size];
    let kept: Vec<T> = (0..heads).flat_map(head).copied().collect();
    Some(Tensor::from_array(([1, heads, tokens, size], kept)).ok()?.into_dyn())
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
    /// that the graph leaves open; `device` is where the session computes.
    pub(super) fn new(session: Session, config: &Value, device: Device) -> Result<Self, String> {
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
                Ok(Self { session, inputs, cache, binding })
            }
            kind => Err(format!("its logits are {kind:?}; take an export with Float32 or Float16 logits")),
        }
    }

    /// A cache of no tokens.
    pub(super) fn empty_cache(&self) -> Result<Cache, String> {
        let values = self.cache.iter().map(|slot| slot.empty(&self.session)).collect::<Result<_, _>>()?;
        Ok(Cache { values, len: 0 })
    }

    /// Appends `tokens` to the cache; the logits of what follows the last of them. After an error the cache is
    /// of no more use.
    pub(super) fn step(&mut self, cache: &mut Cache, tokens: &[i64]) -> Result<Vec<f32>, String> {
        self.append(cache, tokens, true).map(Option::unwrap_or_default)
    }

    /// The same where more follows: the logits, one row for each token in many exports, stay where they were computed.
    pub(super) fn read(&mut self, cache: &mut Cache, tokens: &[i64]) -> Result<(), String> {
        self.append(cache, tokens, false).map(drop)
    }

    /// `wants_logits`: they come to the CPU, and are answered.
    fn append(
        &mut self,
        cache: &mut Cache,
        tokens: &[i64],
        wants_logits: bool,
    ) -> Result<Option<Vec<f32>>, String> {
        let outcome = self.bind(cache, tokens, wants_logits).and_then(|()| self.run(wants_logits));
        self.binding.clear(); // it would keep the caches of this step until the next one
        let (logits, values) = outcome?;
        *cache = Cache { values, len: cache.len + tokens.len() };
        Ok(logits)
    }

    /// Says what the next step reads, and where what it writes is to lie.
    fn bind(&mut self, cache: &Cache, tokens: &[i64], wants_logits: bool) -> Result<(), String> {
        let (inputs, len) = (self.inputs, cache.len + tokens.len());
        let binding = &mut self.binding;
        binding.feed("input_ids", vec![1, tokens.len()], tokens.to_vec())?;
        if inputs.attention_mask {
            binding.feed("attention_mask", vec![1, len], vec![1_i64; len])?;
        }
        if inputs.position_ids {
            let positions = (cache.len as i64..len as i64).collect();
            binding.feed::<i64>("position_ids", vec![1, tokens.len()], positions)?;
        }
        if inputs.use_cache_branch {
            binding.feed("use_cache_branch", vec![1], vec![cache.len > 0])?;
        }
        if let Some(sides) = inputs.num_logits_to_keep {
            binding.feed("num_logits_to_keep", vec![1; sides], vec![1_i64])?;
        }
        for (slot, value) in self.cache.iter().zip(&cache.values) {
            binding.pass(&slot.past, value)?;
            binding.keep(&slot.present)?;
        }
        if wants_logits { binding.fetch(LOGITS) } else { binding.keep(LOGITS) }
    }

    /// Makes the step that is bound: the logits of what follows, and the cache.
    fn run(&mut self, wants_logits: bool) -> Result<(Option<Vec<f32>>, Vec<DynValue>), String> {
        let mut outputs = self.binding.run(&mut self.session, None)?;
        let logits = outputs.get(LOGITS).ok_or("no logits came out")?;
        let logits = wants_logits.then(|| last_row(logits)).transpose()?;
        let present =
            |slot: &CacheSlot| outputs.remove(&slot.present).ok_or("a part of the cache did not come out");
        Ok((logits, self.cache.iter().map(present).collect::<Result<_, _>>()?))
    }
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
