//! What the server sends.
//!
//! Every event is a [`ServerMessage`]: an id and a [`ServerEvent`]. It is written field by field into the
//! frame, without a tree in between, for most frames are audio deltas.

use serde::{Deserialize, Serialize};

use super::error::{ErrorBody, ErrorCode};
use super::ids::new_event_id;
use super::item::Item;
use super::literal::literal;
use super::response::{Response, ResponsePart};
use super::session::Session;
use super::usage::{RateLimit, TranscriptionUsage};

/// Room for what surrounds the payload of a frame, in bytes.
const FRAME_OVERHEAD_BYTES: usize = 320;

/// A server event with its id.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ServerMessage {
    /// The event's id.
    pub event_id: String,
    /// The event.
    #[serde(flatten)]
    pub event: ServerEvent,
}

impl From<ServerEvent> for ServerMessage {
    fn from(event: ServerEvent) -> Self {
        Self { event_id: new_event_id(), event }
    }
}

impl ServerMessage {
    /// The message as one text frame.
    ///
    /// # Errors
    /// Only if serialization itself fails, which no value of these types makes it do.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let payload = match &self.event {
            ServerEvent::ResponseOutputAudioDelta { delta, .. } => delta.len(),
            _ => 0,
        };
        let mut frame = Vec::with_capacity(payload + FRAME_OVERHEAD_BYTES);
        serde_json::to_writer(&mut frame, self)?;
        String::from_utf8(frame).map_err(serde::ser::Error::custom)
    }
}

/// A place in a response: which part of which item.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct PartRef {
    /// The response.
    pub response_id: String,
    /// The item.
    pub item_id: String,
    /// The item's place in the response's output.
    pub output_index: u32,
    /// The part's place in the item's content.
    pub content_index: u32,
}

/// What this server adds to a part, for clients that asked for binary audio.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct PartExtension {
    /// The number at the begin of each binary frame with audio of this part.
    pub audio_stream: u32,
}

/// A conversation.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// Always `realtime.conversation`.
    pub object: ConversationObject,
}

literal! {
    /// The `object` of a conversation.
    ConversationObject = "realtime.conversation"
}

/// How sure the transcription is of a token.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Logprob {
    /// The token.
    pub token: String,
    /// The logarithm of its probability.
    pub logprob: f64,
    /// Its UTF-8 bytes.
    pub bytes: Vec<u8>,
}

/// A language that was heard.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct DetectedLanguage {
    /// ISO 639-1.
    pub code: String,
}

/// Why a transcription failed. Fields are absent where unknown, never null: agents-js drops the event else.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct TranscriptionError {
    /// The class of the error.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What went wrong, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

/// What the server sends. Clients of OpenAI know these and no others: some end the session on an unknown
/// type, so an event of our own must be asked for.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "type")]
#[expect(
    missing_docs,
    reason = "field names are the protocol's own; the documentation of each event tells them"
)]
pub enum ServerEvent {
    /// The first event of a connection.
    #[serde(rename = "session.created")]
    SessionCreated { session: Session },
    /// The session after `session.update`, complete.
    #[serde(rename = "session.updated")]
    SessionUpdated { session: Session },
    /// The conversation begins. Optional.
    #[serde(rename = "conversation.created")]
    ConversationCreated { conversation: Conversation },
    /// An event could not be served. The session stays open.
    #[serde(rename = "error")]
    Error { error: ErrorBody },
    /// The user speaks since `audio_start_ms` of the session's audio; clients stop playback.
    #[serde(rename = "input_audio_buffer.speech_started")]
    InputAudioBufferSpeechStarted { audio_start_ms: u64, item_id: String },
    /// The user fell silent; `audio_end_ms` includes the silence that decided it.
    #[serde(rename = "input_audio_buffer.speech_stopped")]
    InputAudioBufferSpeechStopped { audio_end_ms: u64, item_id: String },
    /// The buffer became the item `item_id`.
    #[serde(rename = "input_audio_buffer.committed")]
    InputAudioBufferCommitted { previous_item_id: Option<String>, item_id: String },
    /// The buffer is empty.
    #[serde(rename = "input_audio_buffer.cleared")]
    InputAudioBufferCleared,
    /// Nobody spoke for `idle_timeout_ms`.
    #[serde(rename = "input_audio_buffer.timeout_triggered")]
    InputAudioBufferTimeoutTriggered { audio_start_ms: u64, audio_end_ms: u64, item_id: String },
    /// An item joined the conversation.
    #[serde(rename = "conversation.item.added")]
    ConversationItemAdded { previous_item_id: Option<String>, item: Item },
    /// An item is final.
    #[serde(rename = "conversation.item.done")]
    ConversationItemDone { previous_item_id: Option<String>, item: Item },
    /// The answer to `conversation.item.retrieve`.
    #[serde(rename = "conversation.item.retrieved")]
    ConversationItemRetrieved { item: Item },
    /// An item ends where the user stopped hearing it.
    #[serde(rename = "conversation.item.truncated")]
    ConversationItemTruncated { item_id: String, content_index: u32, audio_end_ms: u64 },
    /// An item left the conversation.
    #[serde(rename = "conversation.item.deleted")]
    ConversationItemDeleted { item_id: String },
    /// More of a transcript. Cannot be taken back.
    #[serde(rename = "conversation.item.input_audio_transcription.delta")]
    InputAudioTranscriptionDelta {
        item_id: String,
        content_index: u32,
        delta: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        logprobs: Option<Vec<Logprob>>,
    },
    /// The whole transcript.
    #[serde(rename = "conversation.item.input_audio_transcription.completed")]
    InputAudioTranscriptionCompleted {
        item_id: String,
        content_index: u32,
        transcript: String,
        usage: TranscriptionUsage,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        logprobs: Option<Vec<Logprob>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        languages: Option<Vec<DetectedLanguage>>,
    },
    /// No transcript could be made.
    #[serde(rename = "conversation.item.input_audio_transcription.failed")]
    InputAudioTranscriptionFailed { item_id: String, content_index: u32, error: TranscriptionError },
    /// A response begins; exactly one `response.done` follows.
    #[serde(rename = "response.created")]
    ResponseCreated { response: Box<Response> },
    /// A response ended, whatever the outcome.
    #[serde(rename = "response.done")]
    ResponseDone { response: Box<Response> },
    /// A response began an item.
    #[serde(rename = "response.output_item.added")]
    ResponseOutputItemAdded { response_id: String, output_index: u32, item: Item },
    /// A response finished an item.
    #[serde(rename = "response.output_item.done")]
    ResponseOutputItemDone { response_id: String, output_index: u32, item: Item },
    /// A part of an item begins.
    #[serde(rename = "response.content_part.added")]
    ResponseContentPartAdded {
        #[serde(flatten)]
        at: PartRef,
        part: ResponsePart,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        antiphon: Option<PartExtension>,
    },
    /// A part of an item is whole, or cut off.
    #[serde(rename = "response.content_part.done")]
    ResponseContentPartDone {
        #[serde(flatten)]
        at: PartRef,
        part: ResponsePart,
    },
    /// More text.
    #[serde(rename = "response.output_text.delta")]
    ResponseOutputTextDelta {
        #[serde(flatten)]
        at: PartRef,
        delta: String,
    },
    /// The whole text.
    #[serde(rename = "response.output_text.done")]
    ResponseOutputTextDone {
        #[serde(flatten)]
        at: PartRef,
        text: String,
    },
    /// More words of the speech; `start_time`, ours, is where they are in its audio, in seconds.
    #[serde(rename = "response.output_audio_transcript.delta")]
    ResponseOutputAudioTranscriptDelta {
        #[serde(flatten)]
        at: PartRef,
        delta: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start_time: Option<f64>,
    },
    /// All words of the speech.
    #[serde(rename = "response.output_audio_transcript.done")]
    ResponseOutputAudioTranscriptDone {
        #[serde(flatten)]
        at: PartRef,
        transcript: String,
    },
    /// More speech, base64 in the output format.
    #[serde(rename = "response.output_audio.delta")]
    ResponseOutputAudioDelta {
        #[serde(flatten)]
        at: PartRef,
        delta: String,
    },
    /// The speech ends.
    #[serde(rename = "response.output_audio.done")]
    ResponseOutputAudioDone {
        #[serde(flatten)]
        at: PartRef,
    },
    /// More of a call's arguments.
    #[serde(rename = "response.function_call_arguments.delta")]
    ResponseFunctionCallArgumentsDelta {
        response_id: String,
        item_id: String,
        output_index: u32,
        call_id: String,
        delta: String,
    },
    /// A call's arguments, whole.
    #[serde(rename = "response.function_call_arguments.done")]
    ResponseFunctionCallArgumentsDone {
        response_id: String,
        item_id: String,
        output_index: u32,
        call_id: String,
        name: String,
        arguments: String,
    },
    /// What is left of the user's rates.
    #[serde(rename = "rate_limits.updated")]
    RateLimitsUpdated { rate_limits: Vec<RateLimit> },
    /// Ours, for clients that asked with `?queue=events`: the place in line, 1 for the next, and a guess of the
    /// wait where the server has grounds for one.
    #[serde(rename = "antiphon.queue.position")]
    AntiphonQueuePosition { position: u32, estimated_wait_s: Option<u32> },
    /// Ours, for sessions with `antiphon.translate_to`: a translation of the words that are sure so far. The next
    /// one of this item and language takes its place.
    #[serde(rename = "antiphon.translation.partial")]
    AntiphonTranslationPartial {
        item_id: String,
        content_index: u32,
        language: String,
        revision: u32,
        source: String,
        text: String,
    },
    /// Ours, likewise: the translation of the whole transcript.
    #[serde(rename = "antiphon.translation.completed")]
    AntiphonTranslationCompleted {
        item_id: String,
        content_index: u32,
        language: String,
        source: String,
        text: String,
    },
    /// Ours, likewise: the transcript could not be translated.
    #[serde(rename = "antiphon.translation.failed")]
    AntiphonTranslationFailed {
        item_id: String,
        content_index: u32,
        language: String,
        error: TranscriptionError,
    },
    /// Playback began; only where the server owns it (WebRTC).
    #[serde(rename = "output_audio_buffer.started")]
    OutputAudioBufferStarted { response_id: String },
    /// Playback ended; only where the server owns it (WebRTC).
    #[serde(rename = "output_audio_buffer.stopped")]
    OutputAudioBufferStopped { response_id: String },
    /// Playback was cut; only where the server owns it (WebRTC).
    #[serde(rename = "output_audio_buffer.cleared")]
    OutputAudioBufferCleared { response_id: String },
}
