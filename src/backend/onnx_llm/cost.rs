//! What an ONNX language model takes, from `config.json` and the sizes of its files.

use serde_json::Value;

use super::OnnxLlmConfig;
use super::files::{Files, is_cache_half, len, weight_bytes};
use super::sequence::prompt_chunk;
use crate::backend::onnx::Room;
use crate::engine::cost::{Footprint, Source, WorkCost};
use crate::engine::{Device, EngineCost};

/// ONNX Runtime itself: the touched pages of its library and its tables, once a process. Measured with 1.31.1 on
/// x86-64; counted with every instance, as it cannot be known here whether another is loaded already.
const RUNTIME_BYTES: u64 = 32 << 20;
/// Weights are held once; some are packed anew for the CPU's kernels: half of them in int4, as measured with the shapes
/// of SmolLM2-360M and Qwen2.5-0.5B (`examples/minds.rs`).
const PACKED_PART: u64 = 2;
/// A tokenizer's tables in memory, for each byte of its file.
const TOKENIZER_FACTOR: u64 = 12;
/// Bytes of a 32-bit float: what most exports keep in their cache, and what logits are read as.
const F32: u64 = 4;
/// Bytes of a number in a cache in half precision.
const F16: u64 = 2;
/// Memory that what is kept of talks takes, for each byte of it: it lies between what steps take and give back.
/// 30 users of the load tester grew the process by 1.7 bytes for each byte kept.
const PREFIX_FACTOR: u64 = 2;
/// A step reads one cache and writes the next.
const CACHE_COPIES: u64 = 2;
/// Weights that one core reads from memory a second.
const CORE_BYTES_A_SECOND: f64 = 10e9;
/// A step costs this whatever the model: inputs, outputs, kernels called.
const STEP_S: f64 = 0.2e-3;
/// How much faster tokens of a prompt are read, many at once, than an answer's are written.
const PROMPT_SPEEDUP: f64 = 12.0;

impl OnnxLlmConfig {
    /// What one instance costs that computes on `device`; the error says why that cannot be known.
    pub fn cost(&self, device: Device) -> Result<EngineCost, String> {
        let files = Files { config: self, device };
        let graph = files.graph().map_err(|error| error.to_string())?;
        let settings = files.settings().map_err(|error| error.to_string())?;
        let shape = Shape::of(&settings, if is_cache_half(&graph, &settings) { F16 } else { F32 })?;
        let (tokens, weights) = (shape.tokens(self.max_context), weight_bytes(&graph));
        let tables = RUNTIME_BYTES + TOKENIZER_FACTOR * len(&files.path("tokenizer.json"));
        let step_bytes = shape.step_bytes(tokens, prompt_chunk(device) as u64);
        let kept = shape.cache_bytes(tokens).saturating_add(self.kept_bytes_a_slot());
        let (instance_bytes, call_bytes) = if device.is_gpu() {
            // Nothing is packed anew, and its one thread makes one step at a time.
            (weights.saturating_add(step_bytes), kept)
        } else {
            (tables + weights + weights / PACKED_PART, kept.saturating_add(step_bytes))
        };
        let memory = Footprint { instance_bytes, slot_bytes: 0, call_bytes, source: Source::Declared };
        let cost = EngineCost { ram: memory, vram: Footprint::default(), work: work(weights), threads: 1 };
        Ok(if device.is_gpu() { cost.on_gpu(tables) } else { cost })
    }

    /// What its graph may take of a GPU: what the budget counts for it.
    pub(super) fn room(&self, device: Device) -> Room {
        let room = Room::on(device).growing();
        let cost = self.cost(device).map(|cost| cost.with_own(&self.cost));
        cost.map_or(room, |cost| room.of(cost.vram.peak_bytes(self.slots)))
    }

    /// What is kept of talks, shared out among the slots.
    fn kept_bytes_a_slot(&self) -> u64 {
        (PREFIX_FACTOR * ((self.prefix_cache_mib as u64) << 20)) / (self.slots as u64).max(1)
    }
}

/// The sizes that a call's memory depends on. A sliding window (Gemma) does not count: the exports give those layers
/// a cache of every token too, and look at its end alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    layers: u64,
    heads: u64,
    cache_heads: u64,
    head_size: u64,
    vocabulary: u64,
    /// Bytes of a number in the cache.
    number: u64,
    /// Tokens that the model can hold.
    limit: u64,
}

impl Shape {
    fn of(config: &Value, bytes: u64) -> Result<Self, String> {
        let number = |key: &str| config[key].as_u64().filter(|number| *number > 0);
        let needed = |key: &str| number(key).ok_or_else(|| format!("config.json has no `{key}`"));
        let heads = needed("num_attention_heads")?;
        let by_heads = || number("hidden_size").map(|width| width / heads);
        Ok(Self {
            layers: needed("num_hidden_layers")?,
            heads,
            cache_heads: number("num_key_value_heads").unwrap_or(heads),
            head_size: number("head_dim").or_else(by_heads).ok_or("config.json has no `hidden_size`")?,
            vocabulary: needed("vocab_size")?,
            number: bytes,
            limit: number("max_position_embeddings").unwrap_or(u64::MAX),
        })
    }

    /// Keys and values of one token.
    fn token_bytes(&self) -> u64 {
        2 * self.number * self.layers * self.cache_heads * self.head_size
    }

    /// The most tokens of an answer and its prompt.
    fn tokens(&self, max_context: usize) -> u64 {
        self.limit.min(max_context as u64)
    }

    /// An answer's cache at its longest.
    fn cache_bytes(&self, tokens: u64) -> u64 {
        (CACHE_COPIES * self.token_bytes()).saturating_mul(tokens)
    }

    /// What a step over a piece of the prompt takes: attention and logits.
    fn step_bytes(&self, tokens: u64, chunk: u64) -> u64 {
        (F32 * chunk).saturating_mul(tokens.saturating_mul(self.heads).saturating_add(self.vocabulary))
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a file, far below 2^52")]
fn work(weights: u64) -> WorkCost {
    let token_s = weights as f64 / CORE_BYTES_A_SECOND;
    WorkCost {
        call_cpu_s: 0.0,
        input_cpu_s: token_s / PROMPT_SPEEDUP + STEP_S / prompt_chunk(Device::Cpu) as f64,
        unit_cpu_s: token_s + STEP_S,
        source: Source::Declared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Qwen2.5-0.5B: 24 layers, 2 cache heads of 64 values: 24 KiB a token in 32 bits.
    #[test]
    fn a_cache_is_as_large_as_its_shape() {
        let config = json!({ "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
            "hidden_size": 896, "vocab_size": 151_936, "max_position_embeddings": 32_768 });
        let shape = Shape::of(&config, F32).expect("all there");
        assert_eq!(shape.token_bytes(), 24 << 10);
        assert_eq!(shape.cache_bytes(4096) - shape.cache_bytes(2048), 2048 * 2 * (24 << 10));
        assert_eq!(shape.step_bytes(4096, 64) - shape.step_bytes(2048, 64), 2048 * 4 * 64 * 14);
        assert_eq!(Shape::of(&config, F16).expect("all there").token_bytes(), 12 << 10);
        assert_eq!(shape.tokens(1 << 20), 32_768, "no longer than the model can");
    }

    #[test]
    fn on_a_gpu_weights_and_caches_are_its_memory() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llm/llama3");
        let config = OnnxLlmConfig { model: model.into(), slots: 4, ..OnnxLlmConfig::default() };
        let (cpu, gpu) =
            (config.cost(Device::Cpu).expect("all there"), config.cost(Device::Cuda(0)).expect("too"));
        assert_eq!(cpu.vram, Footprint::default());
        let weights = weight_bytes(&Files { config: &config, device: Device::Cuda(0) }.graph().expect("one"));
        assert!(gpu.vram.instance_bytes > weights, "{gpu:?}");
        // Talks that are kept, two of 256 MiB for each, lie there too.
        assert!(gpu.vram.call_bytes * 4 > 512 << 20 && gpu.ram.call_bytes == 0, "{gpu:?}");
        assert!(gpu.ram.instance_bytes < cpu.ram.instance_bytes && gpu.work.cpu_s(1.0, 1.0) == 0.0);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Shape::of(&json!({ "num_attention_heads": 4 }), F32).expect_err("no layers");
        assert_eq!(error, "config.json has no `num_hidden_layers`");
        let config = OnnxLlmConfig { model: "/nowhere/llm".into(), ..OnnxLlmConfig::default() };
        assert!(config.cost(Device::Cpu).expect_err("not there").contains("/nowhere/llm"));
    }
}
