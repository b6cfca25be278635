//! What can be set of a Moonshine model.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::Placement;
use crate::backend::guards::GuardsConfig;
use crate::engine::Device;
use crate::engine::cost::OwnCost;

/// Configuration of [`MoonshineEngine`](super::MoonshineEngine).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MoonshineConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Utterances transcribed at once: a thread and a copy of both graphs each.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Where it runs: in the server itself, or in a child process that may crash alone.
    pub placement: Placement,
    /// Where its graphs compute.
    pub device: Device,
    /// Directory of the model as the hub lays it out: `config.json`, `tokenizer.json`, and the graphs.
    pub model: PathBuf,
    /// The encoder's graph within it. By default the best for the device of those that are there, in `onnx` or beside
    /// `config.json`: `encoder_model_quantized.onnx`, `_uint8`, `_int8`, none of these ends, `_q4`, `_q4f16`, `_fp16`; for
    /// a GPU `_fp16` and none first.
    pub encoder: Option<PathBuf>,
    /// The decoder's graph, likewise: `decoder_model_merged_quantized.onnx`, ..
    pub decoder: Option<PathBuf>,
    /// ISO 639-1 code of the one language that the model knows, which its files do not say; none takes requests of
    /// any language and tells none.
    pub language: Option<String>,
    /// The most tokens that a second of speech can hold. 6.5 is what the makers' own code allows; for scripts that
    /// take more tokens a word (Arabic, Chinese, Japanese, Korean, ..) it allows 13.
    pub max_tokens_per_second: f64,
    /// Guards against invented text. The model has no opinion on whether there was speech: `no_speech_probability`
    /// and `mean_logprob` have no effect.
    pub guards: GuardsConfig,
    /// What the operator knows of its cost; the rest is worked out from the model's files.
    pub cost: OwnCost,
}

impl Default for MoonshineConfig {
    /// Two slots, one for each core of the smallest machine this is meant for.
    fn default() -> Self {
        Self {
            name: "moonshine".into(),
            slots: 2,
            fallback: false,
            placement: Placement::default(),
            device: Device::default(),
            model: "models/moonshine".into(),
            encoder: None,
            decoder: None,
            language: Some("en".into()),
            max_tokens_per_second: 6.5,
            guards: GuardsConfig::default(),
            cost: OwnCost::default(),
        }
    }
}
