//! A language model in ONNX Runtime.
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LoadError;
use crate::engine::llm::{LlmEngine, LlmEvent, LlmRequest};
use crate::engine::{CancelFlag, EngineStream};

/// Configuration of [`OnnxLlm`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnnxLlmConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Answers written at once.
    pub slots: usize,
    /// Directory of the model.
    pub model: PathBuf,
}

impl Default for OnnxLlmConfig {
    fn default() -> Self {
        Self { name: "onnx".into(), slots: 8, model: "models/starter/llm".into() }
    }
}

/// A language model in ONNX Runtime.
#[derive(Debug)]
pub struct OnnxLlm;

impl OnnxLlm {
    /// Loads the model.
    pub fn load(config: &OnnxLlmConfig, _runtime: &Path) -> Result<Self, LoadError> {
        Err(LoadError::Start { engine: config.name.clone(), reason: config.model.display().to_string() })
    }
}

impl LlmEngine for OnnxLlm {
    fn generate(&self, _request: LlmRequest, _cancel: CancelFlag) -> EngineStream<LlmEvent> {
        Box::pin(futures::stream::pending())
    }
}
