//! What a server and the process of one of its engines say to each other. Both are the same program, so there is
//! one version of this, and [`Load`] says which.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::backend::LoadError;
use crate::engine::compute::Urgency;
use crate::engine::llm::{ChatMessage, LlmEvent, LlmRequest, ToolChoice, ToolSpec, Truncation};
use crate::engine::stt::{SttRequest, Transcript};
use crate::engine::tts::{SpeechChunk, TimedWord, TtsEvent, TtsRequest};
use crate::engine::{Device, EngineError};

/// Outputs of one call that may be on their way; the engine's stream is read on as they are taken.
pub(super) const WINDOW: usize = 32;

/// Numbers a call of one process.
pub(super) type CallId = u64;

/// From the server.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum ToEngine {
    /// The first: which engine it is.
    Load(Load),
    /// Begin a call.
    Call(CallId, Request),
    /// Nobody wants its outputs any more.
    Cancel(CallId),
    /// Its person no longer waits in silence.
    Relax(CallId),
    /// So many more of its outputs may come.
    Taken(CallId, u32),
    /// The step may compute.
    Permit(u64),
}

/// Which engine to be.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Load {
    /// The version of the program that speaks.
    pub(super) version: String,
    /// A [`PlacedConfig`](super::PlacedConfig) in JSON: its tables are tagged in a way that
    /// only formats for people can read.
    pub(super) engine: String,
    /// ONNX Runtime's shared library.
    pub(super) onnxruntime: PathBuf,
}

/// From the engine.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum FromEngine {
    /// It is loaded, and this is what it is.
    Loaded(Description),
    /// It could not be loaded.
    Refused(LoadError),
    /// A piece of a call's outcome.
    Output(CallId, Output),
    /// The last of a call: it failed.
    Failed(CallId, EngineError),
    /// No output follows.
    Over(CallId),
    /// Nothing of the call runs any more.
    LetGo(CallId),
    /// A step wants to compute on this device; whether a person waits for it.
    Enter(u64, Device, bool),
    /// The step is done.
    Leave(u64),
}

/// What an engine tells of itself.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Description {
    pub(super) languages: Vec<String>,
    pub(super) voices: Vec<String>,
    pub(super) word_times: bool,
    /// Where it computes.
    pub(super) device: Device,
}

/// What is asked of an engine.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Request {
    Transcribe(Utterance),
    Generate(Box<Talk>),
    Synthesize(TtsRequest),
}

/// An [`SttRequest`]: 16 kHz mono samples, four bytes each, the least significant first.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Utterance {
    #[serde(with = "samples")]
    audio: Arc<[f32]>,
    language: Option<String>,
    prompt: Option<String>,
    word_times: bool,
}

/// An [`LlmRequest`].
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Talk {
    messages: Arc<[ChatMessage]>,
    tools: Arc<[ToolSpec]>,
    tool_choice: ToolChoice,
    max_tokens: Option<u32>,
    truncation: Truncation,
    is_urgent: bool,
}

/// A piece of a call's outcome.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Output {
    Transcript(Transcript),
    Answer(LlmEvent),
    /// Samples, two bytes each, the least significant first; and how many a second.
    Speech(ByteBuf, u32),
    Words(Vec<TimedWord>),
}

impl From<SttRequest> for Utterance {
    fn from(SttRequest { audio, language, prompt, word_times }: SttRequest) -> Self {
        Self { audio, language, prompt, word_times }
    }
}

impl From<Utterance> for SttRequest {
    fn from(Utterance { audio, language, prompt, word_times }: Utterance) -> Self {
        Self { audio, language, prompt, word_times }
    }
}

/// Audio as bytes, made by whoever writes: a call is begun on a thread that must not be held up.
mod samples {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::ByteBuf;

    pub(super) fn serialize<S: Serializer>(audio: &Arc<[f32]>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(audio.len() * 4);
        for sample in audio.iter() {
            bytes.extend_from_slice(&sample.to_le_bytes());
        }
        serializer.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[f32]>, D::Error> {
        let bytes = ByteBuf::deserialize(deserializer)?;
        let (samples, _) = bytes.as_chunks::<4>();
        Ok(samples.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

impl From<LlmRequest> for Talk {
    fn from(request: LlmRequest) -> Self {
        let LlmRequest { messages, tools, tool_choice, max_tokens, truncation, urgency } = request;
        Self { messages, tools, tool_choice, max_tokens, truncation, is_urgent: urgency.is_urgent() }
    }
}

impl From<Talk> for LlmRequest {
    fn from(talk: Talk) -> Self {
        let Talk { messages, tools, tool_choice, max_tokens, truncation, is_urgent } = talk;
        let urgency = Urgency::default();
        if !is_urgent {
            urgency.relax();
        }
        Self { messages, tools, tool_choice, max_tokens, truncation, urgency }
    }
}

impl From<TtsEvent> for Output {
    fn from(event: TtsEvent) -> Self {
        match event {
            TtsEvent::Words(words) => Self::Words(words),
            TtsEvent::Audio(SpeechChunk { samples, sample_rate }) => {
                let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                Self::Speech(bytes.into(), sample_rate)
            }
        }
    }
}

impl Output {
    /// As a transcript, where it is one.
    pub(super) fn transcript(self) -> Option<Transcript> {
        if let Self::Transcript(transcript) = self { Some(transcript) } else { None }
    }

    /// As a piece of an answer, where it is one.
    pub(super) fn answer(self) -> Option<LlmEvent> {
        if let Self::Answer(event) = self { Some(event) } else { None }
    }

    /// As a piece of speech, where it is one.
    pub(super) fn speech(self) -> Option<TtsEvent> {
        match self {
            Self::Words(words) => Some(TtsEvent::Words(words)),
            Self::Speech(bytes, sample_rate) => {
                let (samples, _) = bytes.as_chunks::<2>();
                let samples = samples.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect();
                Some(TtsEvent::Audio(SpeechChunk { samples, sample_rate }))
            }
            Self::Transcript(_) | Self::Answer(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
