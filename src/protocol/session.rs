//! The session's configuration: [`SessionUpdate`] is what a client sends, [`Session`] what it gets back.
//!
//! An update changes only the fields it holds; null counts as absent, except where null has a meaning of its
//! own (`Option<Option<T>>`). The answer is always the complete session in effect.

use serde::{Deserialize, Deserializer, Serialize};

use super::audio_config::{AudioInput, AudioOutput, AudioUpdate};
use super::decode::{Tagged, double_option, double_option_object, optional_object};
use super::literal::literal;
use super::options::{MaxTokens, Prompt, Reasoning, Tracing, Truncation};
use super::tool::{Tool, ToolChoice};
use super::turn_detection::ServerVad;

/// What `include` holds where a client wants to know how sure the transcription is.
pub const INCLUDE_LOGPROBS: &str = "item.input_audio_transcription.logprobs";

/// What a session is for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SessionType {
    /// Conversation.
    Realtime,
    /// Transcription alone, without responses.
    Transcription,
}

/// What a response is made of. Audio always comes with its transcript.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Text alone.
    Text,
    /// Speech.
    Audio,
}

/// A change of the session, as in `session.update` and `POST /v1/realtime/client_secrets`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct SessionUpdate {
    /// What the session is for: the one required field.
    #[serde(rename = "type")]
    pub kind: SessionType,
    /// The model; fixed once connected, though clients repeat it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Exactly one modality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_modalities: Option<Vec<Modality>>,
    /// The system prompt; an empty string clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Audio in both directions.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioUpdate>,
    /// The tools, all of them; an empty list clears them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// How tools are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether a response may hold several calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// For models that reason.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// The longest response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<MaxTokens>,
    /// What happens when the conversation outgrows the context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncation: Option<Truncation>,
    /// A stored prompt; `Some(None)` removes it.
    #[serde(default, deserialize_with = "double_option_object", skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Option<Prompt>>,
    /// Tracing; `Some(None)` switches it off.
    #[serde(default, deserialize_with = "double_option", skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Option<Tracing>>,
    /// Extra fields the client wants to see; `Some(None)` for none.
    #[serde(default, deserialize_with = "double_option", skip_serializing_if = "Option::is_none")]
    pub include: Option<Option<Vec<String>>>,
    /// Our additions.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub antiphon: Option<SessionExtensionUpdate>,
}

/// A change of what this server adds to a session.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct SessionExtensionUpdate {
    /// Languages to translate what is said into, ISO 639-1; an empty list for none. Transcription sessions alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translate_to: Option<Vec<String>>,
}

impl SessionUpdate {
    /// An update of `kind` that changes nothing.
    pub fn new(kind: SessionType) -> Self {
        Self {
            kind,
            model: None,
            output_modalities: None,
            instructions: None,
            audio: None,
            tools: None,
            tool_choice: None,
            parallel_tool_calls: None,
            reasoning: None,
            max_output_tokens: None,
            truncation: None,
            prompt: None,
            tracing: None,
            include: None,
            antiphon: None,
        }
    }
}

/// The session in effect, as in `session.created` and `session.updated`.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Session {
    /// A conversation.
    Realtime(Box<RealtimeSession>),
    /// Transcription alone.
    Transcription(Box<TranscriptionSession>),
}

impl<'de> Deserialize<'de> for Session {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let session = Tagged::read(deserializer, "type")?;
        match session.name.as_str() {
            "realtime" => session.body().map(Self::Realtime),
            "transcription" => session.body().map(Self::Transcription),
            _ => Err(session.unknown(&["realtime", "transcription"])),
        }
    }
}

impl Session {
    /// The session's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Realtime(session) => &session.id,
            Self::Transcription(session) => &session.id,
        }
    }

    /// What the session is for.
    pub fn kind(&self) -> SessionType {
        match self {
            Self::Realtime(_) => SessionType::Realtime,
            Self::Transcription(_) => SessionType::Transcription,
        }
    }

    /// What comes from the user.
    pub fn audio_input(&self) -> &AudioInput {
        match self {
            Self::Realtime(session) => &session.audio.input,
            Self::Transcription(session) => &session.audio.input,
        }
    }

    /// Applies a validated update. `model` and the kind of session stay as they are; whether the voice may
    /// still change is for the caller to check. `vad` is what `server_vad` starts from.
    pub fn apply(&mut self, update: &SessionUpdate, vad: &ServerVad) {
        match self {
            Self::Realtime(session) => session.apply(update, vad),
            Self::Transcription(session) => {
                if let Some(audio) = &update.audio {
                    audio.apply_input(&mut session.audio.input, vad);
                }
                set(&mut session.include, update.include.as_ref());
                if let Some(targets) = update.antiphon.as_ref().and_then(|ours| ours.translate_to.clone()) {
                    session.antiphon.get_or_insert_default().translate_to = Some(targets);
                }
            }
        }
    }
}

/// A conversation's configuration.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct RealtimeSession {
    /// Always `realtime.session`.
    pub object: RealtimeSessionObject,
    /// The session's id.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// Exactly one modality.
    pub output_modalities: Vec<Modality>,
    /// The system prompt.
    pub instructions: String,
    /// The tools.
    pub tools: Vec<Tool>,
    /// How tools are chosen.
    pub tool_choice: ToolChoice,
    /// Whether a response may hold several calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// For models that reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// The longest response.
    pub max_output_tokens: MaxTokens,
    /// Tracing, null for none.
    pub tracing: Option<Tracing>,
    /// What happens when the conversation outgrows the context.
    pub truncation: Truncation,
    /// The stored prompt, null for none.
    pub prompt: Option<Prompt>,
    /// When the session ends, in unix seconds.
    pub expires_at: u64,
    /// Audio in both directions.
    pub audio: SessionAudio,
    /// Extra fields the client wants to see.
    pub include: Option<Vec<String>>,
    /// Our additions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub antiphon: Option<SessionExtension>,
}

impl RealtimeSession {
    fn apply(&mut self, update: &SessionUpdate, vad: &ServerVad) {
        set(&mut self.output_modalities, update.output_modalities.as_ref());
        set(&mut self.instructions, update.instructions.as_ref());
        set(&mut self.tools, update.tools.as_ref());
        set(&mut self.tool_choice, update.tool_choice.as_ref());
        set(&mut self.max_output_tokens, update.max_output_tokens.as_ref());
        set(&mut self.truncation, update.truncation.as_ref());
        set(&mut self.prompt, update.prompt.as_ref());
        set(&mut self.tracing, update.tracing.as_ref());
        set(&mut self.include, update.include.as_ref());
        self.parallel_tool_calls = update.parallel_tool_calls.or(self.parallel_tool_calls);
        self.reasoning = update.reasoning.or(self.reasoning);
        if let Some(audio) = &update.audio {
            audio.apply_input(&mut self.audio.input, vad);
            audio.apply_output(&mut self.audio.output);
        }
    }
}

/// A transcription session's configuration.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct TranscriptionSession {
    /// Always `realtime.transcription_session`.
    pub object: TranscriptionSessionObject,
    /// The session's id.
    pub id: String,
    /// When the session ends, in unix seconds.
    pub expires_at: u64,
    /// Audio from the user.
    pub audio: TranscriptionAudio,
    /// Extra fields the client wants to see.
    pub include: Option<Vec<String>>,
    /// Our additions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub antiphon: Option<SessionExtension>,
}

/// Audio of a conversation.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct SessionAudio {
    /// What comes from the user.
    pub input: AudioInput,
    /// What the user hears.
    pub output: AudioOutput,
}

/// Audio of a transcription session.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct TranscriptionAudio {
    /// What comes from the user.
    pub input: AudioInput,
}

/// What this server adds to the session object. Stock clients ignore it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct SessionExtension {
    /// Opens the session again after a lost connection, with `?resume=`. A secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_token: Option<String>,
    /// Languages that what is said is translated into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translate_to: Option<Vec<String>>,
    /// For how long after a cut, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_within_s: Option<u64>,
    /// Whether this session was resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
    /// What its client finds, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_off: Option<ResumedSession>,
}

/// A resumed session as its client finds it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ResumedSession {
    /// The last item of the conversation, null for none.
    pub last_item_id: Option<String>,
    /// The answer that the end of the connection interrupted, null for none.
    pub interrupted: Option<InterruptedAnswer>,
    /// The user, or a tool, has had no answer yet; `response.create` asks for it.
    pub awaits_response: bool,
    /// Input audio before, in milliseconds; offsets count on from here.
    pub input_audio_ms: u64,
}

/// An answer that was cut.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct InterruptedAnswer {
    /// Its item, which holds what was heard.
    pub item_id: String,
    /// Milliseconds heard, as the server estimates it.
    pub heard_ms: u64,
    /// Milliseconds sent.
    pub audio_ms: u64,
}

literal! {
    /// The `object` of a conversation's session.
    RealtimeSessionObject = "realtime.session"
}

literal! {
    /// The `object` of a transcription session.
    TranscriptionSessionObject = "realtime.transcription_session"
}

fn set<T: Clone>(current: &mut T, update: Option<&T>) {
    if let Some(value) = update {
        current.clone_from(value);
    }
}
