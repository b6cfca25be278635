//! What can be set of an ONNX language model.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::Placement;
use crate::engine::Device;
use crate::engine::cost::OwnCost;

/// Configuration of [`OnnxLlm`](super::OnnxLlm).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnnxLlmConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Answers written at once, a token each.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Where it runs: in the server itself, or in a child process that may crash alone.
    pub placement: Placement,
    /// Where it computes.
    pub device: Device,
    /// Directory of the model as the hub lays it out: `config.json`, `tokenizer.json`, `tokenizer_config.json`,
    /// and the graph.
    pub model: PathBuf,
    /// The graph within it. By default the best for its device of those that are there, in `onnx` or beside
    /// `config.json`: on a CPU `model_q4.onnx`, `model_quantized.onnx`, `model_int8.onnx`, `model_uint8.onnx`,
    /// `model.onnx`, `model_q4f16.onnx`, `model_fp16.onnx`, `model_bnb4.onnx`; on a GPU `model_q4f16.onnx`,
    /// `model_fp16.onnx`, `model_q4.onnx`, `model.onnx`, and the rest.
    pub file: Option<PathBuf>,
    /// The most tokens of a prompt and its answer; the model's own limit where that is less. A cache of so many
    /// tokens is held for each answer that is being written.
    pub max_context: usize,
    /// The most tokens of an answer where the request does not say.
    pub max_tokens: u32,
    /// Memory of its device for what was read of talks lately, in MiB, so that a turn reads only what is new; 0 reads everything
    /// again. 256 holds 30 talks of 2,000 tokens of the starter model (4 KiB a token).
    pub prefix_cache_mib: usize,
    /// Answers that are written at once make their steps together, which reads the weights once for all; without it in
    /// turn. By default together where the weights are of 100 MiB or more: below, copying caches costs what it saves.
    pub batching: Option<bool>,
    /// How tokens are chosen.
    pub sampling: SamplingConfig,
    /// What the operator knows of its cost; the rest is worked out from the model's files.
    pub cost: OwnCost,
}

impl Default for OnnxLlmConfig {
    /// The starter model. Eight slots: on two cores the eighth answer still comes faster than it is spoken.
    /// 4,096 tokens hold an hour of talk; 512 tokens are about three minutes of speech.
    fn default() -> Self {
        Self {
            name: "onnx".into(),
            slots: 8,
            fallback: false,
            placement: Placement::default(),
            device: Device::default(),
            model: "models/starter/llm".into(),
            file: None,
            max_context: 4096,
            max_tokens: 512,
            prefix_cache_mib: 256,
            batching: None,
            sampling: SamplingConfig::default(),
            cost: OwnCost::default(),
        }
    }
}

/// How the next token is chosen. What is not set is as the model's `generation_config.json` says, and where that says
/// nothing, the likeliest token is always taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingConfig {
    /// 0 takes the likeliest token always; 1 draws by the model's own probabilities.
    pub temperature: Option<f32>,
    /// Draws among the likeliest tokens whose probabilities add up to this, 1 among all.
    pub top_p: Option<f32>,
    /// Draws among so many of the likeliest tokens, 0 among all.
    pub top_k: Option<usize>,
    /// Makes tokens that stand in the prompt or answer less likely; 1 does not.
    pub repetition_penalty: Option<f32>,
}

impl SamplingConfig {
    /// The first value that cannot be: key, value, what would be right.
    pub(super) fn problem(&self) -> Option<(&'static str, f32, &'static str)> {
        let rules = [
            ("temperature", self.temperature, (0.0, 5.0), "from 0 to 5"),
            ("top_p", self.top_p, (f32::MIN_POSITIVE, 1.0), "above 0, up to 1"),
            ("repetition_penalty", self.repetition_penalty, (0.1, 10.0), "from 0.1 to 10"),
        ];
        let broken =
            |(key, value, (low, high), rule): (&'static str, Option<f32>, (f32, f32), &'static str)| {
                value.filter(|value| !(low..=high).contains(value)).map(|value| (key, value, rule))
            };
        rules.into_iter().find_map(broken)
    }
}
