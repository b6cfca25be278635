//! What there is to configure of engines: the lists, and the kinds that their entries may be of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::espeak::EspeakConfig;
use crate::backend::kokoro::KokoroConfig;
use crate::backend::moonshine::MoonshineConfig;
use crate::backend::onnx_llm::OnnxLlmConfig;
use crate::backend::openai::{OpenAiLlmConfig, OpenAiSttConfig, OpenAiTtsConfig};
use crate::backend::piper::PiperConfig;
use crate::backend::scripted::{ScriptedLlmConfig, ScriptedSttConfig, ScriptedTtsConfig, ScriptedVadConfig};
use crate::backend::silero::SileroConfig;
use crate::backend::smart_turn::SmartTurnConfig;
use crate::backend::whisper::WhisperConfig;
use crate::engine::Device;
use crate::engine::endpoint::Endpoint;

/// The engines to build. In TOML each is a table with its `kind`:
/// `[[engines.stt]] kind = "whisper" model = "..." slots = 2`.
///
/// Each list may hold several engines of one kind or of different ones; the pools share the calls out. A list
/// that is given replaces the default list.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct EnginesConfig {
    /// ONNX Runtime's shared library, read when an engine needs it. The default is where `scripts/setup`
    /// puts it.
    pub onnxruntime: PathBuf,
    /// The program that runs engines with `placement = "process"`; empty for the one that is running.
    pub program: PathBuf,
    /// Speech-to-text; by default Whisper with the starter model.
    pub stt: Vec<SttConfig>,
    /// Language models; by default the starter model.
    pub llm: Vec<LlmConfig>,
    /// Text-to-speech; by default espeak-ng.
    pub tts: Vec<TtsConfig>,
    /// Voice activity; by default earshot.
    pub vad: VadConfig,
    /// Turn detection by voice: an option.
    pub turn: SmartTurnConfig,
}

impl Default for EnginesConfig {
    fn default() -> Self {
        Self {
            onnxruntime: ".cache/onnxruntime/libonnxruntime.so".into(),
            program: PathBuf::new(),
            stt: vec![SttConfig::Whisper(WhisperConfig::default())],
            llm: vec![LlmConfig::Onnx(OnnxLlmConfig::default())],
            tts: vec![TtsConfig::Espeak(EspeakConfig::default())],
            vad: VadConfig::default(),
            turn: SmartTurnConfig::default(),
        }
    }
}

/// One speech-to-text engine.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SttConfig {
    /// whisper.cpp.
    Whisper(WhisperConfig),
    /// Moonshine, in ONNX Runtime.
    Moonshine(MoonshineConfig),
    /// A server that speaks OpenAI's API.
    #[serde(rename = "openai")]
    OpenAi(OpenAiSttConfig),
    /// Texts known beforehand.
    Scripted(ScriptedSttConfig),
}

/// One language model.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LlmConfig {
    /// A decoder in ONNX Runtime.
    Onnx(OnnxLlmConfig),
    /// A server that speaks OpenAI's API.
    #[serde(rename = "openai")]
    OpenAi(OpenAiLlmConfig),
    /// Texts known beforehand.
    Scripted(ScriptedLlmConfig),
}

/// One text-to-speech engine.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TtsConfig {
    /// espeak-ng as a child process.
    Espeak(EspeakConfig),
    /// A server that speaks OpenAI's API.
    #[serde(rename = "openai")]
    OpenAi(OpenAiTtsConfig),
    /// A voice of Piper's, in ONNX Runtime.
    Piper(PiperConfig),
    /// Kokoro, in ONNX Runtime.
    Kokoro(KokoroConfig),
    /// A tone as long as the text.
    Scripted(ScriptedTtsConfig),
}

/// The voice activity engine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum VadConfig {
    /// The `earshot` network.
    #[default]
    Earshot,
    /// Silero VAD in ONNX Runtime.
    Silero(SileroConfig),
    /// Loudness.
    Scripted(ScriptedVadConfig),
}

/// What every entry of a list has.
pub(super) trait Entry: Clone + Send + Sync + 'static {
    fn name(&self) -> &str;
    fn slots(&self) -> usize;
    fn fallback(&self) -> bool;
    /// Whether each call takes this device from begin to end.
    fn computes_on(&self, device: Option<Device>) -> bool;
    /// How an engine behind a URL is called.
    fn endpoint(&self) -> Option<Endpoint>;
}

/// `computes` is a pattern of the kinds whose calls take their device from begin to end, each with whether that is a
/// GPU.
macro_rules! entry {
    ($config:ident: $($kind:ident),+; computes $computes:pat) => {
        impl Entry for $config {
            fn name(&self) -> &str {
                match self { $(Self::$kind(config) => &config.name),+ }
            }
            fn slots(&self) -> usize {
                match self { $(Self::$kind(config) => config.slots),+ }
            }
            fn fallback(&self) -> bool {
                match self { $(Self::$kind(config) => config.fallback),+ }
            }
            fn computes_on(&self, device: Option<Device>) -> bool {
                matches!((self, device.is_some_and(Device::is_gpu)), $computes)
            }
            fn endpoint(&self) -> Option<Endpoint> {
                if let Self::OpenAi(config) = self { Some(config.endpoint()) } else { None }
            }
        }
    };
}

entry!(SttConfig: Whisper, Moonshine, OpenAi, Scripted; computes (Self::Whisper(_) | Self::Moonshine(_), _));
// It asks for each step.
entry!(LlmConfig: Onnx, OpenAi, Scripted; computes (Self::Scripted(_), true));
entry!(
    TtsConfig: Espeak, Piper, Kokoro, OpenAi, Scripted;
    // On a GPU, voices ask for each sentence: what espeak-ng does before it is the CPU's.
    computes (Self::Espeak(_) | Self::Piper(_) | Self::Kokoro(_), false)
);
