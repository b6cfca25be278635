//! A decoder graph with its cache, by the contract of the hub's ONNX exports: everything is found by name, and an
//! input is fed only where the graph declares it.
//!
//! What comes out of a step as cache goes into the next as it is, wherever it lies: on a GPU it never leaves it. Logits
//! alone come to the CPU.

use half::f16;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::value::{
    DynTensor, DynTensorValueType, DynValue, IntoTensorElementType, PrimitiveTensorElementType, Tensor,
    TensorElementType, ValueType,
};
use serde_json::Value;

use super::prefix::Remembered;
use crate::backend::onnx::last_row;
use crate::engine::Device;

const PAST: &str = "past_key_values.";
const PRESENT: &str = "present.";
const LOGITS: &str = "logits";

/// A loaded graph.
#[derive(Debug)]
pub(super) struct Decoder {
    session: Session,
    inputs: Inputs,
    cache: Vec<CacheSlot>,
    /// What the next step reads and writes; empty between two steps, so that no cache is held here.
    binding: IoBinding,
    /// Where caches lie.
    device: MemoryInfo<'static>,
    host: MemoryInfo<'static>,
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

#[derive(Clone, Debug, PartialEq, Eq)]
struct CacheSlot {
    past: String,
    present: String,
    shape: [i64; 4],
    kind: TensorElementType,
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
                name if name.starts_with(PAST) => cache.push(cache_slot(name, input.dtype(), config)?),
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
                let binding = session.create_binding().map_err(text)?;
                let (device, host) = (memory(device)?, memory(Device::Cpu)?);
                Ok(Self { session, inputs, cache, binding, device, host })
            }
            kind => Err(format!("its logits are {kind:?}; take an export with Float32 or Float16 logits")),
        }
    }

    /// A cache of no tokens.
    pub(super) fn empty_cache(&self) -> Result<Cache, String> {
        let allocator = self.session.allocator();
        let empty = |slot: &CacheSlot| {
            let tensor = DynTensor::new(allocator, slot.kind, slot.shape.to_vec());
            tensor.map(|tensor| tensor.into_dyn()).map_err(|error| error.to_string())
        };
        Ok(Cache { values: self.cache.iter().map(empty).collect::<Result<_, _>>()?, len: 0 })
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
        self.feed("input_ids", vec![1, tokens.len()], tokens.to_vec())?;
        if inputs.attention_mask {
            self.feed("attention_mask", vec![1, len], vec![1_i64; len])?;
        }
        if inputs.position_ids {
            let positions = (cache.len as i64..len as i64).collect();
            self.feed("position_ids", vec![1, tokens.len()], positions)?;
        }
        if inputs.use_cache_branch {
            self.feed("use_cache_branch", vec![1], vec![cache.len > 0])?;
        }
        if let Some(sides) = inputs.num_logits_to_keep {
            self.feed("num_logits_to_keep", vec![1; sides], vec![1_i64])?;
        }
        let Self { binding, device, host, cache: slots, .. } = self;
        for (slot, value) in slots.iter().zip(&cache.values) {
            binding.bind_input(slot.past.as_str(), value).map_err(text)?;
            binding.bind_output_to_device(slot.present.as_str(), device).map_err(text)?;
        }
        binding.bind_output_to_device(LOGITS, if wants_logits { host } else { device }).map_err(text)
    }

    fn feed<T>(&mut self, name: &str, shape: Vec<usize>, values: Vec<T>) -> Result<(), String>
    where
        T: IntoTensorElementType + PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
    {
        let value = Tensor::from_array((shape, values)).map_err(text)?;
        self.binding.bind_input(name, &value).map_err(text)
    }

    /// Makes the step that is bound: the logits of what follows, and the cache.
    fn run(&mut self, wants_logits: bool) -> Result<(Option<Vec<f32>>, Vec<DynValue>), String> {
        // What was copied to a GPU has arrived there.
        self.binding.synchronize_inputs().map_err(text)?;
        let mut outputs = self.session.run_binding(&self.binding).map_err(text)?;
        let logits = outputs.get(LOGITS).ok_or("no logits came out")?;
        let logits = wants_logits.then(|| last_row(logits)).transpose()?;
        let present =
            |slot: &CacheSlot| outputs.remove(&slot.present).ok_or("a part of the cache did not come out");
        Ok((logits, self.cache.iter().map(present).collect::<Result<_, _>>()?))
    }
}

/// Memory of a device.
fn memory(device: Device) -> Result<MemoryInfo<'static>, String> {
    let (name, number) = match device {
        Device::Cpu => (AllocationDevice::CPU, 0),
        Device::Cuda(number) => (AllocationDevice::CUDA, i32::try_from(number).unwrap_or_default()),
    };
    MemoryInfo::new(name, number, AllocatorType::Device, MemoryType::Default).map_err(text)
}

fn cache_slot(name: &str, kind: &ValueType, config: &Value) -> Result<CacheSlot, String> {
    let wrong = || format!("its cache input `{name}` has not the shape batch, heads, tokens, head size");
    let (Some(shape), Some(element)) = (kind.tensor_shape(), kind.tensor_type()) else { return Err(wrong()) };
    let &[_, heads, _, head_size] = &shape[..] else { return Err(wrong()) };
    let number = |key: &str| config.get(key).and_then(Value::as_i64).filter(|number| *number > 0);
    let attention_heads = number("num_attention_heads");
    let from_config = || number("num_key_value_heads").or(attention_heads);
    let heads = Some(heads).filter(|heads| *heads > 0).or_else(from_config).ok_or_else(wrong)?;
    let by_heads = || Some(number("hidden_size")? / attention_heads?);
    let head_size = Some(head_size).filter(|size| *size > 0).or_else(|| number("head_dim")).or_else(by_heads);
    let suffix = name.strip_prefix(PAST).unwrap_or_default();
    Ok(CacheSlot {
        past: name.to_owned(),
        present: format!("{PRESENT}{suffix}"),
        shape: [1, heads, 0, head_size.ok_or_else(wrong)?],
        kind: element,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn text(error: ort::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ort::value::{Shape, SymbolicDimensions};
    use serde_json::json;

    fn tensor(shape: [i64; 4]) -> ValueType {
        let dimension_symbols = SymbolicDimensions::empty(4);
        ValueType::Tensor { ty: TensorElementType::Float32, shape: Shape::new(shape), dimension_symbols }
    }

    #[test]
    fn sizes_come_from_the_graph_or_else_from_the_configuration() {
        let config = json!({ "num_attention_heads": 8, "hidden_size": 512 });
        let table = [
            ([-1, 2, -1, 64], json!({}), Some([1, 2, 0, 64])),
            ([-1, -1, -1, -1], config.clone(), Some([1, 8, 0, 64])),
            ([-1, -1, -1, -1], json!({ "num_key_value_heads": 4, "head_dim": 32 }), Some([1, 4, 0, 32])),
            ([-1, -1, -1, 64], json!({}), None),
        ];
        for (shape, config, expected) in table {
            let slot = cache_slot("past_key_values.3.value", &tensor(shape), &config);
            assert_eq!(slot.as_ref().ok().map(|slot| slot.shape), expected, "{shape:?} {config}");
            assert!(slot.map_or(true, |slot| slot.present == "present.3.value"));
        }
        let flat = ValueType::Tensor {
            ty: TensorElementType::Float32,
            shape: Shape::new([1, 2]),
            dimension_symbols: SymbolicDimensions::empty(2),
        };
        assert!(cache_slot("past_key_values.0.key", &flat, &config).is_err());
    }
}
