//! What a session tells its client.

use serde_json::Value;

use super::conversation::Item;
use super::error::SessionError;
use super::id::{ConversationId, ItemId, ResponseId, SessionId};
use super::settings::{Modality, SessionSettings};
use super::snapshot::ResumeView;
use super::translation::TranslationNotice;
use crate::audio::AudioFormat;
use crate::engine::llm::TokenUsage;
use crate::engine::stt::TokenLogprob;

/// One event, in the order in which it is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// The session begins.
    Created(Box<SessionView>),
    /// Settings changed.
    Updated(Box<SessionView>),
    /// A client's event had no effect.
    Error {
        /// Why.
        error: SessionError,
        /// The client's id of that event.
        client_event_id: Option<String>,
    },
    /// The person began to speak.
    SpeechStarted {
        /// Id that the turn's item will have.
        item: ItemId,
        /// Begin in milliseconds of all audio received, padding included.
        audio_start_ms: u64,
    },
    /// The person's turn ended.
    SpeechStopped {
        /// Id that the turn's item will have.
        item: ItemId,
        /// End in milliseconds of all audio received, the silence included.
        audio_end_ms: u64,
    },
    /// Buffered audio became an item.
    InputCommitted {
        /// The item before it.
        previous: Option<ItemId>,
        /// Its id.
        item: ItemId,
    },
    /// Buffered audio was forgotten.
    InputCleared,
    /// Nobody spoke for as long as the client set; the silence becomes an item.
    IdleTimeout {
        /// Id that the item will have.
        item: ItemId,
        /// Begin of the silence in milliseconds of all audio received.
        audio_start_ms: u64,
        /// Its end.
        audio_end_ms: u64,
    },
    /// An item entered the conversation.
    ItemAdded {
        /// The item before it.
        previous: Option<ItemId>,
        /// The item.
        item: Item,
    },
    /// An item is complete.
    ItemDone {
        /// The item before it.
        previous: Option<ItemId>,
        /// The item.
        item: Item,
    },
    /// The item that was asked for.
    ItemRetrieved(Item),
    /// An assistant message was cut.
    ItemTruncated {
        /// Which.
        item: ItemId,
        /// To how many milliseconds.
        audio_end_ms: u64,
    },
    /// An item left the conversation.
    ItemDeleted(ItemId),
    /// More of what the person said.
    TranscriptionDelta {
        /// The turn's item.
        item: ItemId,
        /// Text to append.
        delta: String,
    },
    /// All of what the person said.
    TranscriptionCompleted {
        /// The turn's item.
        item: ItemId,
        /// The text.
        transcript: String,
        /// What it was heard in.
        audio: TranscribedAudio,
    },
    /// What the person said could not be transcribed.
    TranscriptionFailed {
        /// The turn's item.
        item: ItemId,
        /// Why.
        error: SessionError,
    },
    /// A translation of what the person said.
    Translation(Box<TranslationNotice>),
    /// A response, or a part of one.
    Response(ResponseEvent),
    /// The last event: the socket is to be closed.
    Closing(CloseReason),
}

/// What a transcript was heard in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranscribedAudio {
    /// Its length.
    pub seconds: f64,
    /// ISO 639-1 code of its language, where the engine says.
    pub language: Option<String>,
    /// How sure the engine is of each token, where it says and the client asked.
    pub logprobs: Option<Vec<TokenLogprob>>,
}

/// What happens to a response.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseEvent {
    /// It begins.
    Created(Box<ResponseView>),
    /// An item of it begins.
    ItemAdded(OutputPlace, Item),
    /// The content of its message begins.
    PartAdded(OutputPlace, Modality),
    /// Text to append (written answers).
    TextDelta(OutputPlace, String),
    /// Text to append to the transcript of the speech.
    TranscriptDelta(OutputPlace, String),
    /// Audio to append, in the response's output format.
    AudioDelta(OutputPlace, Vec<u8>),
    /// All text was sent.
    TextDone(OutputPlace, String),
    /// All audio was sent.
    AudioDone(OutputPlace),
    /// The whole transcript.
    TranscriptDone(OutputPlace, String),
    /// The content of its message is complete.
    PartDone(OutputPlace, Modality, String),
    /// Arguments to append to a tool call.
    ArgumentsDelta(OutputPlace, ToolCallRef, String),
    /// All arguments of a tool call.
    ArgumentsDone(OutputPlace, ToolCallRef, String),
    /// An item of it is complete.
    ItemDone(OutputPlace, Item),
    /// It is over, whatever the outcome.
    Done(Box<ResponseView>),
}

/// Where in a response something belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPlace {
    /// The response.
    pub response: ResponseId,
    /// The item.
    pub item: ItemId,
    /// The item's place among the response's items, from 0.
    pub index: usize,
}

/// Names a tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCallRef {
    /// Id of the call.
    pub call_id: String,
    /// Name of the tool.
    pub name: String,
}

/// A session as its client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// When it ends at the latest, in seconds since 1970.
    pub expires_at: u64,
    /// Its effective settings.
    pub settings: SessionSettings,
    /// How it can be resumed; told once, when the session begins.
    pub resume: Option<Box<ResumeView>>,
}

/// A response as its client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseView {
    /// Its id.
    pub id: ResponseId,
    /// Its conversation; `None` if the answer does not enter the history.
    pub conversation: Option<ConversationId>,
    /// How it ended, or that it has not.
    pub status: ResponseStatus,
    /// Its items so far.
    pub output: Vec<Item>,
    /// Spoken or written.
    pub modality: Modality,
    /// Format of its audio.
    pub format: AudioFormat,
    /// Its voice.
    pub voice: String,
    /// The most tokens it may take.
    pub max_output_tokens: Option<u32>,
    /// What it took; `None` while it runs.
    pub usage: Option<ResponseUsage>,
    /// The client's own data.
    pub metadata: Option<Value>,
    /// Where the time went; `None` while it runs.
    pub timings: Option<TurnTimings>,
}

/// How a response ended.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseStatus {
    /// It has not.
    InProgress,
    /// All was said.
    Completed,
    /// The person spoke.
    Interrupted,
    /// The client cancelled it.
    Cancelled,
    /// It reached its limit of tokens.
    OutOfTokens,
    /// Something failed.
    Failed(SessionError),
}

/// Tokens and audio of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResponseUsage {
    /// Tokens of the language model.
    pub tokens: TokenUsage,
}

/// Where the time of a turn went, in milliseconds. `None` where a stage did not take place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TurnTimings {
    /// Silence until the turn was taken as ended.
    pub endpointing: Option<f64>,
    /// Waiting for a transcriber.
    pub queue_stt: Option<f64>,
    /// Final transcript.
    pub stt: Option<f64>,
    /// Waiting for a language model.
    pub queue_llm: Option<f64>,
    /// First token of the answer.
    pub llm_first_token: Option<f64>,
    /// First clause of the answer.
    pub llm_first_clause: Option<f64>,
    /// Waiting for a voice.
    pub queue_tts: Option<f64>,
    /// First audio of the first clause.
    pub tts_first_audio: Option<f64>,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client went.
    ClientGone,
    /// The server stops.
    Shutdown,
    /// No event of the client for too long.
    Idle,
    /// The session reached its longest duration.
    Expired,
    /// The client does not read what it is sent.
    SlowClient,
    /// The session stayed over its memory limit.
    OutOfMemory,
    /// The client's socket shows no life.
    Silent,
    /// The session's task did nothing for too long and was taken down.
    Unhealthy,
    /// Its client has resumed it on another socket.
    TakenOver,
}

impl CloseReason {
    /// Whether the session may be resumed: the connection ended, not the session.
    pub fn leaves_it_open(self) -> bool {
        match self {
            Self::ClientGone
            | Self::Shutdown
            | Self::SlowClient
            | Self::Silent
            | Self::Unhealthy
            | Self::TakenOver => true,
            Self::Idle | Self::Expired | Self::OutOfMemory => false,
        }
    }
}
