//! An engine that may run in a process of its own: its configuration, and what it is there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::Placement;
use crate::backend::catalog::{LlmConfig, SttConfig, TtsConfig};
use crate::engine::llm::LlmEngine;
use crate::engine::stt::SttEngine;
use crate::engine::tts::TtsEngine;

/// The configuration of one engine, whatever its kind.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacedConfig {
    /// Speech-to-text.
    Stt(SttConfig),
    /// A language model.
    Llm(LlmConfig),
    /// Text-to-speech.
    Tts(TtsConfig),
}

impl PlacedConfig {
    /// The name that its errors bear.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Stt(SttConfig::Whisper(config)) => &config.name,
            Self::Stt(SttConfig::Scripted(config)) => &config.name,
            Self::Llm(LlmConfig::Onnx(config)) => &config.name,
            Self::Llm(LlmConfig::Scripted(config)) => &config.name,
            Self::Tts(TtsConfig::Espeak(config)) => &config.name,
            Self::Tts(TtsConfig::Scripted(config)) => &config.name,
        }
    }

    /// Whether it is to run in a process of its own.
    pub(in crate::backend) fn is_apart(&self) -> bool {
        self.placement() == Placement::Process
    }

    fn placement(&self) -> Placement {
        match self {
            Self::Stt(SttConfig::Whisper(config)) => config.placement,
            Self::Stt(SttConfig::Scripted(config)) => config.placement,
            Self::Llm(LlmConfig::Onnx(config)) => config.placement,
            Self::Llm(LlmConfig::Scripted(config)) => config.placement,
            Self::Tts(TtsConfig::Espeak(config)) => config.placement,
            Self::Tts(TtsConfig::Scripted(config)) => config.placement,
        }
    }
}

/// An engine, whatever its kind.
#[derive(Clone, Debug)]
pub enum AnyEngine {
    /// Speech-to-text.
    Stt(Arc<dyn SttEngine>),
    /// A language model.
    Llm(Arc<dyn LlmEngine>),
    /// Text-to-speech.
    Tts(Arc<dyn TtsEngine>),
}
