//! What an ONNX language model takes, from `config.json` and the sizes of its files.

use serde_json::Value;

use super::OnnxLlmConfig;
use super::files::{Files, is_cache_half, len, weight_bytes};
use super::sequence::PROMPT_CHUNK;
use crate::engine::EngineCost;
use crate::engine::cost::{Footprint, Source, WorkCost};

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
    /// What one instance costs; the error says why that cannot be known.
    pub fn cost(&self) -> Result<EngineCost, String> {
        let files = Files { config: self };
        let graph = files.graph().map_err(|error| error.to_string())?;
        let settings = files.settings().map_err(|error| error.to_string())?;
        let shape = Shape::of(&settings, if is_cache_half(&graph, &settings) { F16 } else { F32 })?;
        let weights = weight_bytes(&graph);
        Ok(EngineCost {
            ram: Footprint {
                instance_bytes: RUNTIME_BYTES
                    + weights
                    + weights / PACKED_PART
                    + TOKENIZER_FACTOR * len(&files.path("tokenizer.json")),
                slot_bytes: 0,
                call_bytes: shape.call_bytes(self.max_context as u64) + self.kept_bytes_a_slot(),
                source: Source::Declared,
            },
            vram: Footprint::default(),
            work: work(weights),
            threads: 1,
        })
    }
}

impl OnnxLlmConfig {
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

    /// An answer's cache at its longest, and what a step over a piece of the prompt takes: attention and logits.
    fn call_bytes(&self, max_context: u64) -> u64 {
        let tokens = max_context.min(self.limit);
        let chunk = PROMPT_CHUNK as u64;
        let step = F32 * chunk * (tokens * self.heads + self.vocabulary);
        (CACHE_COPIES * self.token_bytes()).saturating_mul(tokens).saturating_add(step)
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a file, far below 2^52")]
fn work(weights: u64) -> WorkCost {
    let token_s = weights as f64 / CORE_BYTES_A_SECOND;
    WorkCost {
        call_cpu_s: 0.0,
        input_cpu_s: token_s / PROMPT_SPEEDUP + STEP_S / PROMPT_CHUNK as f64,
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
        let longer = shape.call_bytes(4096) - shape.call_bytes(2048);
        assert_eq!(longer, 2048 * (2 * (24 << 10) + 4 * 64 * 14));
        assert_eq!(Shape::of(&config, F16).expect("all there").token_bytes(), 12 << 10);
        assert_eq!(shape.call_bytes(1 << 20), shape.call_bytes(32_768), "no longer than the model can");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Shape::of(&json!({ "num_attention_heads": 4 }), F32).expect_err("no layers");
        assert_eq!(error, "config.json has no `num_hidden_layers`");
        let config = OnnxLlmConfig { model: "/nowhere/llm".into(), ..OnnxLlmConfig::default() };
        assert!(config.cost().expect_err("not there").contains("/nowhere/llm"));
    }
}
