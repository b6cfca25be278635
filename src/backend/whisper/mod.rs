//! Speech-to-text by whisper.cpp.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::LoadError;
use crate::engine::stt::{SttEngine, SttRequest, Transcript};
use crate::engine::{CancelFlag, EngineFuture};

/// Configuration of [`WhisperEngine`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WhisperConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Utterances transcribed at once: a thread and a state each.
    pub slots: usize,
    /// A ggml Whisper model file.
    pub model: PathBuf,
}

impl Default for WhisperConfig {
    fn default() -> Self {
        Self { name: "whisper".into(), slots: 2, model: "models/starter/stt/ggml-starter.bin".into() }
    }
}

/// Speech-to-text by whisper.cpp.
#[derive(Debug)]
pub struct WhisperEngine;

impl WhisperEngine {
    /// Loads the model.
    pub fn load(config: &WhisperConfig) -> Result<Self, LoadError> {
        Err(LoadError::Start { engine: config.name.clone(), reason: "not built yet".into() })
    }
}

impl SttEngine for WhisperEngine {
    fn transcribe(&self, _request: SttRequest, _cancel: CancelFlag) -> EngineFuture<Transcript> {
        Box::pin(std::future::pending())
    }
}
