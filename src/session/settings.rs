//! What a client may set: the effective settings of a session, the patch of an update, and the overrides of
//! one response.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::SessionError;
pub use super::listening::{PartialDelay, Purpose, Transcription};
use super::translation::Language;
use crate::audio::AudioFormat;
use crate::engine::llm::{ToolChoice, ToolSpec, Truncation};

/// The effective settings.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SessionSettings {
    /// What the session is for.
    pub purpose: Purpose,
    /// The name that the client connected with; echoed.
    pub model: String,
    /// The system message; empty for none.
    pub instructions: String,
    /// Whether answers are spoken or written.
    pub modality: Modality,
    /// What the client sends.
    pub input_format: AudioFormat,
    /// What it receives.
    pub output_format: AudioFormat,
    /// Whether and how the client wants to read what it said.
    pub transcription: Option<Transcription>,
    /// Whether it wants to know how sure the engine is of each token.
    pub logprobs: bool,
    /// Languages that what is said is translated into.
    pub translate_to: Arc<[Language]>,
    /// When a turn ends; `None` leaves it to the client's `commit`.
    pub turn_detection: Option<TurnDetection>,
    /// Name of the voice.
    pub voice: String,
    /// Speed of speech, 0.25 to 1.5.
    pub speed: f32,
    /// Tools that the model may call.
    pub tools: Arc<[ToolSpec]>,
    /// Whether it may, must or must not.
    pub tool_choice: ToolChoice,
    /// The most tokens of one response; `None` for no limit but the engine's.
    pub max_output_tokens: Option<u32>,
    /// What happens where the conversation outgrows the model's context.
    pub truncation: Truncation,
    /// Settings without effect here that the client reads back.
    pub echo: EchoSettings,
}

/// Spoken or written answers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Modality {
    /// Speech and its transcript.
    #[default]
    Audio,
    /// Text alone.
    Text,
}

/// When a turn begins and ends.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TurnDetection {
    /// How.
    pub mode: TurnMode,
    /// Whether the end of a turn starts a response.
    pub create_response: bool,
    /// Whether the begin of a turn interrupts one.
    pub interrupt_response: bool,
}

/// How the end of a turn is found.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum TurnMode {
    /// By silence.
    Server {
        /// Probability of speech in [0, 1] above which a frame counts as speech.
        threshold: f32,
        /// Audio before the detected begin that belongs to the turn, in milliseconds.
        prefix_padding_ms: u32,
        /// Silence that ends the turn, in milliseconds. `None`: the text decides (see `endpointing`).
        silence_duration_ms: Option<u32>,
        /// Echoed; silence after which the assistant speaks up, in milliseconds.
        idle_timeout_ms: Option<u32>,
    },
    /// By what was said.
    Semantic {
        /// How soon to answer when the text seems unfinished.
        eagerness: Eagerness,
    },
}

/// How soon to answer when the text seems unfinished.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Eagerness {
    /// Waits longest.
    Low,
    /// Same as [`Medium`](Self::Medium).
    #[default]
    Auto,
    /// In between.
    Medium,
    /// Waits least.
    High,
}

impl Default for TurnDetection {
    fn default() -> Self {
        Self { mode: TurnMode::default(), create_response: true, interrupt_response: true }
    }
}

impl Default for TurnMode {
    /// Threshold and padding as OpenAI's `server_vad` has them; the silence is left to the text.
    fn default() -> Self {
        Self::Server {
            threshold: 0.5,
            prefix_padding_ms: 300,
            silence_duration_ms: None,
            idle_timeout_ms: None,
        }
    }
}

/// A change of turn detection. Fields that are `None` stay as they are, or take their defaults if the mode
/// changes.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnDetectionPatch {
    /// The mode and what of it changes.
    pub mode: TurnModePatch,
    /// See [`TurnDetection::create_response`].
    pub create_response: Option<bool>,
    /// See [`TurnDetection::interrupt_response`].
    pub interrupt_response: Option<bool>,
}

/// A mode of turn detection and what of it changes; see [`TurnMode`].
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of TurnMode")]
pub enum TurnModePatch {
    Server {
        threshold: Option<f32>,
        prefix_padding_ms: Option<u32>,
        silence_duration_ms: Option<u32>,
        idle_timeout_ms: Option<Option<u32>>,
    },
    Semantic {
        eagerness: Option<Eagerness>,
    },
}

impl TurnDetectionPatch {
    fn apply(self, current: Option<TurnDetection>) -> TurnDetection {
        let current = current.unwrap_or_default();
        TurnDetection {
            mode: self.mode.apply(&current.mode),
            create_response: self.create_response.unwrap_or(current.create_response),
            interrupt_response: self.interrupt_response.unwrap_or(current.interrupt_response),
        }
    }
}

impl TurnModePatch {
    fn apply(self, current: &TurnMode) -> TurnMode {
        let mut mode = match (&self, current) {
            (Self::Server { .. }, TurnMode::Server { .. })
            | (Self::Semantic { .. }, TurnMode::Semantic { .. }) => current.clone(),
            (Self::Server { .. }, TurnMode::Semantic { .. }) => TurnMode::default(),
            (Self::Semantic { .. }, TurnMode::Server { .. }) => {
                TurnMode::Semantic { eagerness: Eagerness::default() }
            }
        };
        match (self, &mut mode) {
            (
                Self::Server {
                    threshold: new_threshold,
                    prefix_padding_ms: new_padding,
                    silence_duration_ms: new_silence,
                    idle_timeout_ms: new_idle,
                },
                TurnMode::Server { threshold, prefix_padding_ms, silence_duration_ms, idle_timeout_ms },
            ) => {
                set(threshold, new_threshold);
                set(prefix_padding_ms, new_padding);
                keep(silence_duration_ms, new_silence);
                set(idle_timeout_ms, new_idle);
            }
            (Self::Semantic { eagerness: new }, TurnMode::Semantic { eagerness }) => set(eagerness, new),
            _ => {} // the modes were made equal above
        }
        mode
    }
}

/// Fields of the protocol that have no effect in this server, kept to be echoed: clients read back what they
/// set. Each is the JSON that the client sent; null removes it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct EchoSettings {
    /// `audio.input.noise_reduction`.
    pub noise_reduction: Option<Value>,
    /// `tracing`.
    pub tracing: Option<Value>,
    /// `prompt`.
    pub prompt: Option<Value>,
    /// `include`.
    pub include: Option<Value>,
    /// `reasoning`.
    pub reasoning: Option<Value>,
    /// `parallel_tool_calls`.
    pub parallel_tool_calls: Option<bool>,
}

/// An update: `None` leaves a setting as it is. For settings that may be absent, `Some(None)` removes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingsPatch {
    /// The purpose that the client believes the session to have.
    pub purpose: Option<Purpose>,
    /// See [`SessionSettings::instructions`].
    pub instructions: Option<String>,
    /// See [`SessionSettings::modality`].
    pub modality: Option<Modality>,
    /// See [`SessionSettings::input_format`].
    pub input_format: Option<AudioFormat>,
    /// See [`SessionSettings::output_format`].
    pub output_format: Option<AudioFormat>,
    /// See [`SessionSettings::transcription`].
    pub transcription: Option<Option<Transcription>>,
    /// See [`SessionSettings::logprobs`].
    pub logprobs: Option<bool>,
    /// See [`SessionSettings::translate_to`].
    pub translate_to: Option<Arc<[Language]>>,
    /// See [`SessionSettings::turn_detection`].
    pub turn_detection: Option<Option<TurnDetectionPatch>>,
    /// See [`SessionSettings::voice`].
    pub voice: Option<String>,
    /// See [`SessionSettings::speed`].
    pub speed: Option<f32>,
    /// See [`SessionSettings::tools`].
    pub tools: Option<Arc<[ToolSpec]>>,
    /// See [`SessionSettings::tool_choice`].
    pub tool_choice: Option<ToolChoice>,
    /// See [`SessionSettings::max_output_tokens`].
    pub max_output_tokens: Option<Option<u32>>,
    /// See [`SessionSettings::truncation`].
    pub truncation: Option<Truncation>,
    /// See [`SessionSettings::echo`]; fields that are `None` stay as they are.
    pub echo: EchoSettings,
}

impl SessionSettings {
    /// Applies an update whole, or not at all. `voice_locked`: audio has been sent in the current voice, which
    /// by the protocol is then fixed.
    pub fn apply(&mut self, patch: SettingsPatch, voice_locked: bool) -> Result<(), SessionError> {
        if patch.purpose.is_some_and(|purpose| purpose != self.purpose) {
            return Err(SessionError::PurposeFixed { purpose: self.purpose });
        }
        if let Some(voice) = &patch.voice
            && voice_locked
            && *voice != self.voice
        {
            return Err(SessionError::VoiceLocked { voice: self.voice.clone() });
        }
        set(&mut self.instructions, patch.instructions);
        set(&mut self.modality, patch.modality);
        set(&mut self.input_format, patch.input_format);
        set(&mut self.output_format, patch.output_format);
        set(&mut self.transcription, patch.transcription);
        set(&mut self.logprobs, patch.logprobs);
        set(&mut self.translate_to, patch.translate_to);
        if let Some(detection) = patch.turn_detection {
            let current = self.turn_detection.take();
            self.turn_detection = detection.map(|patch| patch.apply(current));
        }
        set(&mut self.voice, patch.voice);
        set(&mut self.speed, patch.speed);
        set(&mut self.tools, patch.tools);
        set(&mut self.tool_choice, patch.tool_choice);
        set(&mut self.max_output_tokens, patch.max_output_tokens);
        set(&mut self.truncation, patch.truncation);
        self.echo.apply(patch.echo);
        self.settle_purpose();
        Ok(())
    }

    /// The same for a session that transcribes.
    #[must_use]
    pub fn for_transcription(mut self) -> Self {
        self.purpose = Purpose::Transcription;
        self.transcription.get_or_insert_default();
        self.settle_purpose();
        self
    }

    /// Where nothing is answered, no turn starts or interrupts an answer.
    fn settle_purpose(&mut self) {
        if let (Purpose::Transcription, Some(detection)) = (self.purpose, &mut self.turn_detection) {
            (detection.create_response, detection.interrupt_response) = (false, false);
        }
    }
}

impl EchoSettings {
    fn apply(&mut self, patch: Self) {
        keep(&mut self.noise_reduction, patch.noise_reduction);
        keep(&mut self.tracing, patch.tracing);
        keep(&mut self.prompt, patch.prompt);
        keep(&mut self.include, patch.include);
        keep(&mut self.reasoning, patch.reasoning);
        keep(&mut self.parallel_tool_calls, patch.parallel_tool_calls);
    }
}

/// What `response.create` asks for; `None` takes the session's setting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseRequest {
    /// See [`SessionSettings::instructions`].
    pub instructions: Option<String>,
    /// See [`SessionSettings::modality`].
    pub modality: Option<Modality>,
    /// See [`SessionSettings::output_format`].
    pub output_format: Option<AudioFormat>,
    /// See [`SessionSettings::voice`].
    pub voice: Option<String>,
    /// See [`SessionSettings::tools`].
    pub tools: Option<Arc<[ToolSpec]>>,
    /// See [`SessionSettings::tool_choice`].
    pub tool_choice: Option<ToolChoice>,
    /// See [`SessionSettings::max_output_tokens`].
    pub max_output_tokens: Option<Option<u32>>,
    /// Whether the answer enters the history.
    pub out_of_band: bool,
    /// What the model sees instead of the history.
    pub input: Option<Vec<ResponseInput>>,
    /// Returned verbatim.
    pub metadata: Option<Value>,
}

/// One piece of a response's own input.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseInput {
    /// An item given whole.
    Item(super::conversation::Item),
    /// An item of the history.
    Reference(super::id::ItemId),
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn keep<T>(target: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *target = value;
    }
}
