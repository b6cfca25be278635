//! What a session tells its client when something cannot be done. The session goes on.

use thiserror::Error;

use super::id::{ItemId, ResponseId};
use super::quota::QuotaError;
use super::settings::Purpose;
use crate::audio::AudioError;
use crate::engine::EngineError;
use crate::pool::{CallError, LeaseError};

/// Why a client's event had no effect, or why a response failed.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SessionError {
    /// A frame that could not be read as an event.
    #[error("{message}")]
    BadEvent {
        /// The protocol's error code.
        code: String,
        /// What is wrong with it.
        message: String,
        /// The field at fault.
        param: Option<String>,
    },
    /// Audio that is not in the session's format.
    #[error("{reason}")]
    BadAudio {
        /// What is wrong with it.
        reason: String,
    },
    /// The input buffer would outgrow its limit.
    #[error(
        "The input audio buffer holds at most {limit_ms} ms of audio that is not committed. Send \
         input_audio_buffer.commit or input_audio_buffer.clear first; what was there before is kept."
    )]
    InputBufferFull {
        /// `session.limits.max_input_audio_ms`.
        limit_ms: u64,
    },
    /// A commit with too little audio; wording as clients match it.
    #[error(
        "Error committing input audio buffer: buffer too small. Expected at least {minimum_ms}ms of audio, \
         but buffer only has {buffered_ms:.2}ms of audio."
    )]
    InputBufferTooSmall {
        /// The least that can be transcribed.
        minimum_ms: u64,
        /// What is there.
        buffered_ms: f64,
    },
    /// No such item; the same for one that never was and one that was deleted.
    #[error("Item with id '{item}' not found in this conversation.")]
    UnknownItem {
        /// The id given.
        item: ItemId,
        /// The event that named it.
        event: ItemEvent,
    },
    /// An item id that is taken.
    #[error("Item with id '{item}' already exists in this conversation.")]
    ItemExists {
        /// The id given.
        item: ItemId,
    },
    /// The conversation is at its limit.
    #[error("This conversation holds {limit} items, its limit. Delete some with conversation.item.delete.")]
    TooManyItems {
        /// `session.limits.max_items`.
        limit: usize,
    },
    /// Truncate on something that was not spoken.
    #[error("Item '{item}' cannot be truncated: only the audio of an assistant message can.")]
    NotTruncatable {
        /// The item.
        item: ItemId,
    },
    /// Truncate past the end.
    #[error("Audio content of {audio_ms}ms is already shorter than {requested_ms}ms")]
    TruncatePastEnd {
        /// What there is.
        audio_ms: u64,
        /// What was asked.
        requested_ms: u64,
    },
    /// A response runs; wording as clients match it.
    #[error(
        "Conversation already has an active response in progress: {response}. Wait until the response is \
         finished before creating a new one."
    )]
    ResponseActive {
        /// The one that runs.
        response: ResponseId,
    },
    /// None runs; wording as clients match it.
    #[error("Cancellation failed: no active response found")]
    NoActiveResponse,
    /// The voice cannot change any more.
    #[error(
        "Cannot update a conversation's voice if assistant audio is present: it stays '{voice}'. Open a new \
         session for another voice."
    )]
    VoiceLocked {
        /// The session's voice.
        voice: String,
    },
    /// The purpose of a session cannot change.
    #[error(
        "A session's 'type' is fixed when it connects, and this one is '{}'. Connect {} for the other.",
        match purpose { Purpose::Conversation => "realtime", Purpose::Transcription => "transcription" },
        match purpose { Purpose::Conversation => "with ?intent=transcription", Purpose::Transcription => "with ?model=NAME and no intent" }
    )]
    PurposeFixed {
        /// What it is for.
        purpose: Purpose,
    },
    /// A session that transcribes was asked to answer.
    #[error(
        "This session is of type 'transcription' and makes no responses. Connect with ?model=NAME and no intent for \
         a conversation."
    )]
    TranscribesOnly,
    /// More languages than a session may ask for.
    #[error(
        "A session translates into at most {limit} languages (session.translation.max_targets), and {wanted} are \
         asked for."
    )]
    TooManyLanguages {
        /// `session.translation.max_targets`.
        limit: usize,
        /// How many were asked for.
        wanted: usize,
    },
    /// Utterances come faster than they are translated.
    #[error("{limit} utterances wait for their translation already; this one is left out.")]
    TranslationsWaiting {
        /// How many may wait.
        limit: usize,
    },
    /// A limit was reached.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The request was cancelled over HTTP.
    #[error("The request was cancelled by its owner or an administrator.")]
    RequestCancelled,
    /// The session ends; told before its socket is closed.
    #[error(transparent)]
    Ended(#[from] EndError),
    /// The model called a tool that it was not offered.
    #[error(
        "The model called the tool '{name}', which is not among the tools it was given. Nothing was run; ask again, \
         or name the tools in the instructions."
    )]
    UnknownTool {
        /// The name it gave.
        name: String,
    },
    /// The model called a tool in a form that cannot be read.
    #[error("The model's function call is broken: {reason}. Nothing was run; ask again.")]
    BrokenCall {
        /// What is wrong with it.
        reason: String,
    },
    /// No engine was free in time.
    #[error("The server is busy: {0}")]
    Overloaded(#[from] LeaseError),
    /// An engine failed.
    #[error("{0}")]
    Engine(#[from] EngineError),
}

impl From<CallError> for SessionError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Lease(error) => Self::Overloaded(error),
            CallError::Engine(error) => Self::Engine(error),
        }
    }
}

impl From<AudioError> for SessionError {
    fn from(error: AudioError) -> Self {
        Self::BadAudio { reason: error.to_string() }
    }
}

/// Why a session ends, as its client is told.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EndError {
    /// No event of the client for too long.
    #[error(
        "The session ends: no event came for {limit_s} s (session.limits.idle_s). Open a new one when there is \
         something to say."
    )]
    Idle {
        /// `session.limits.idle_s`.
        limit_s: u64,
    },
    /// It reached its longest duration.
    #[error(
        "The session ends: it reached its maximum duration of {limit_s} s (session.limits.max_session_s). Open a \
         new one."
    )]
    Expired {
        /// `session.limits.max_session_s`.
        limit_s: u64,
    },
    /// It stayed over its memory limit.
    #[error(
        "The session ends: it holds {used} bytes, the limit is {limit} (session.limits.max_memory_bytes), and \
         nothing more can be trimmed. Open a new one; commit audio in shorter pieces and read what is sent."
    )]
    OutOfMemory {
        /// `session.limits.max_memory_bytes`.
        limit: u64,
        /// Bytes held.
        used: u64,
    },
    /// The client's socket shows no life.
    #[error(
        "The session ends: its socket has shown no life, not even an answer to a ping (server.ping_interval_s, \
         session.health.max_silence_s)."
    )]
    Silent,
    /// The client does not read.
    #[error("The session ends: the client does not read what it is sent, and {waiting} events wait already.")]
    SlowClient {
        /// How many events wait at most.
        waiting: usize,
    },
    /// Its task did nothing for too long.
    #[error(
        "The session ends: it did not answer the server for {limit_s} s (session.health.stuck_s). This is the \
         server's fault; open a new one."
    )]
    Unhealthy {
        /// `session.health.stuck_s`.
        limit_s: u64,
    },
}

/// The event that named an unknown item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemEvent {
    /// `conversation.item.create` with `previous_item_id`.
    Create,
    /// `conversation.item.retrieve`.
    Retrieve,
    /// `conversation.item.truncate`.
    Truncate,
    /// `conversation.item.delete`.
    Delete,
    /// `response.create` with an item reference.
    Respond,
}
