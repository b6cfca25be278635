//! Responses: the object that `response.created` and `response.done` carry, and what a client may ask for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::audio_config::{AudioFormat, AudioOutputUpdate, Voice};
use super::decode::optional_object;
use super::error::{ErrorCode, ErrorType};
use super::item::{InputItem, Item};
use super::literal::literal;
use super::options::{MaxTokens, Prompt, Reasoning};
use super::session::Modality;
use super::tool::{Tool, ToolChoice};
use super::usage::Usage;

/// Up to 16 pairs that come back verbatim; clients find their response by them.
pub type Metadata = BTreeMap<String, String>;

/// A response. Nullable keys are always present: pipecat reads them without asking.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Response {
    /// Always `realtime.response`.
    pub object: ResponseObject,
    /// The response's id.
    pub id: String,
    /// How far it has come.
    pub status: ResponseStatus,
    /// Why it ended as it did; null while in progress.
    pub status_details: Option<StatusDetails>,
    /// The items made so far, without audio.
    pub output: Vec<Item>,
    /// The conversation that the items join; null for an out-of-band response.
    pub conversation_id: Option<String>,
    /// Exactly one modality.
    pub output_modalities: Vec<Modality>,
    /// The longest response.
    pub max_output_tokens: MaxTokens,
    /// Format and voice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<ResponseAudio>,
    /// Tokens used: null while in progress, the full object in every `response.done`.
    pub usage: Option<Usage>,
    /// The client's pairs, verbatim.
    pub metadata: Option<Metadata>,
    /// Our additions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub antiphon: Option<ResponseExtension>,
}

literal! {
    /// The `object` of a response.
    ResponseObject = "realtime.response"
}

/// How far a response has come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ResponseStatus {
    /// It runs.
    InProgress,
    /// It ended by itself.
    Completed,
    /// The user or the client stopped it.
    Cancelled,
    /// The server could not make it.
    Failed,
    /// A limit stopped it.
    Incomplete,
}

/// Why a response ended as it did.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct StatusDetails {
    /// The status again; never `in_progress`.
    #[serde(rename = "type")]
    pub kind: ResponseStatus,
    /// Why it was cancelled or is incomplete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<StatusReason>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ResponseError>,
}

impl StatusDetails {
    /// Ended by itself.
    pub fn completed() -> Self {
        Self { kind: ResponseStatus::Completed, reason: None, error: None }
    }

    /// Stopped by the user's speech or by the client.
    pub fn cancelled(reason: StatusReason) -> Self {
        Self { kind: ResponseStatus::Cancelled, reason: Some(reason), error: None }
    }

    /// Stopped by a limit.
    pub fn incomplete(reason: StatusReason) -> Self {
        Self { kind: ResponseStatus::Incomplete, reason: Some(reason), error: None }
    }

    /// The server could not make it.
    pub fn failed(error: ResponseError) -> Self {
        Self { kind: ResponseStatus::Failed, reason: None, error: Some(error) }
    }
}

/// Why a response was cancelled or is incomplete.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum StatusReason {
    /// Cancelled: the user began to speak.
    TurnDetected,
    /// Cancelled: the client sent `response.cancel`.
    ClientCancelled,
    /// Incomplete: the token limit is reached.
    MaxOutputTokens,
    /// Incomplete: a filter stopped it.
    ContentFilter,
}

/// Why a response failed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ResponseError {
    /// Whose fault it is.
    #[serde(rename = "type")]
    pub kind: ErrorType,
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong, for people; pipecat shows it.
    pub message: String,
}

/// Format and voice of a response.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ResponseAudio {
    /// What is spoken.
    pub output: ResponseAudioOutput,
}

/// Format and voice of what is spoken.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ResponseAudioOutput {
    /// The encoding of audio deltas.
    pub format: AudioFormat,
    /// The voice.
    pub voice: Voice,
}

/// What this server adds to a response. Stock clients ignore it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ResponseExtension {
    /// Where the time of the turn went.
    pub timings_ms: ResponseTimings,
}

/// Where the time of a turn went, in ms; absent where a stage did not run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ResponseTimings {
    /// From the last speech to the decision that the turn is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpointing: Option<u64>,
    /// Wait for a speech-to-text lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stt_queue: Option<u64>,
    /// From the decision to the final transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stt: Option<u64>,
    /// Wait for a language model lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm_queue: Option<u64>,
    /// From the request to the first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm_first_token: Option<u64>,
    /// From the request to the first clause fit to speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm_first_clause: Option<u64>,
    /// Wait for a text-to-speech lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tts_queue: Option<u64>,
    /// From the first clause to its first audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tts_first_audio: Option<u64>,
}

/// A part of an item's content in `response.content_part.added` and `.done`. The names are `audio` and `text`
/// here, not `output_audio` and `output_text` as in items.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponsePart {
    /// Speech.
    Audio {
        /// The words so far.
        #[serde(skip_serializing_if = "Option::is_none")]
        transcript: Option<String>,
    },
    /// Text.
    Text {
        /// The text so far.
        text: String,
    },
}

/// Whether a response joins the conversation.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ConversationMode {
    /// It joins the session's conversation.
    #[default]
    Auto,
    /// It stays outside, and may run beside another response.
    None,
}

/// What a client asks of one response. Absent fields are as in the session.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ResponseCreateParams {
    /// Exactly one modality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_modalities: Option<Vec<Modality>>,
    /// The system prompt of this response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Format and voice.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub audio: Option<ResponseAudioParams>,
    /// The tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// How tools are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether the response may hold several calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// For models that reason.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// The longest response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<MaxTokens>,
    /// Whether it joins the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationMode>,
    /// Pairs to come back verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// A stored prompt.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt>,
    /// The whole context in place of the conversation; `Some(vec![])` is an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Vec<InputItem>>,
}

/// Audio of one response.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ResponseAudioParams {
    /// Format and voice.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub output: Option<AudioOutputUpdate>,
}
