//! L0: the wire: client events, server events, items, session configuration, error codes of the OpenAI Realtime
//! protocol, as its general availability has it. `docs/protocol.md` describes the behaviour behind them.
//!
//! These are types and nothing else: no sockets, no audio, no state, and nothing of the crate is imported, so
//! the load tester and the tests use them as a client. All can be read and written.
//!
//! - [`client_event`]: what a client sends; [`parse_client_event`] is where reading starts
//! - [`server_event`]: what the server sends, [`ServerMessage`]
//! - [`session`], [`audio_config`], [`turn_detection`], [`tool`], [`options`]: configuration, as a patch and as
//!   in effect
//! - [`client_secret`]: what opens sessions in place of an API key
//! - [`item`], [`response`], [`usage`]: conversation items, responses, what they used
//! - [`error`], [`validate`]: what can be wrong with an event, and its limits
//! - [`ids`]: new ids
//! - `session_rules`: what belongs to which type of session
//! - `decode`, `beta`: how events are read without losing the path of a mistake, and the beta protocol's names

pub mod audio_config;
mod beta;
pub mod client_event;
pub mod client_secret;
mod decode;
pub mod error;
pub mod ids;
pub mod item;
mod literal;
pub mod options;
pub mod response;
pub mod server_event;
pub mod session;
mod session_rules;
#[cfg(test)]
mod tests;
pub mod tool;
pub mod turn_detection;
pub mod usage;
pub mod validate;

pub use audio_config::{
    AudioFormat, AudioInput, AudioInputUpdate, AudioOutput, AudioOutputUpdate, AudioUpdate, NoiseReduction,
    NoiseReductionType, PCM_RATE_HZ, Transcription, TranscriptionDelay, Voice,
};
pub use client_event::{
    AppendEvent, CLIENT_EVENT_TYPES, ClientEvent, ClientMessage, ItemCreateEvent, ItemIdEvent,
    ItemTruncateEvent, ResponseCancelEvent, ResponseCreateEvent, SessionUpdateEvent, parse_client_event,
    parse_session_update,
};
pub use client_secret::{ClientSecret, ClientSecretRequest, parse_client_secret_request};
pub use decode::from_value;
pub use error::{ErrorBody, ErrorCode, ErrorType, ProtocolError};
pub use ids::{new_call_id, new_conversation_id, new_event_id, new_item_id, new_response_id, new_session_id};
pub use item::{
    ContentPart, FunctionCallItem, FunctionCallOutputItem, ImageDetail, InputAudioPart, InputImagePart,
    InputItem, Item, ItemObject, ItemReference, ItemReferenceType, ItemStatus, McpApprovalRequestItem,
    McpApprovalResponseItem, McpCallItem, McpListToolsItem, MessageItem, OutputAudioPart, Role, TextPart,
};
pub use options::{
    MaxTokens, Prompt, Reasoning, ReasoningEffort, RetentionRatio, RetentionRatioType, TokenLimits, Tracing,
    TracingMode, TracingNames, Truncation, TruncationMode,
};
pub use response::{
    ConversationMode, Metadata, Response, ResponseAudio, ResponseAudioOutput, ResponseAudioParams,
    ResponseCreateParams, ResponseError, ResponseExtension, ResponseObject, ResponsePart, ResponseStatus,
    ResponseTimings, StatusDetails, StatusReason,
};
pub use server_event::{
    Conversation, ConversationObject, DetectedLanguage, Logprob, PartExtension, PartRef, ServerEvent,
    ServerMessage, TranscriptionError,
};
pub use session::{
    INCLUDE_LOGPROBS, InterruptedAnswer, Modality, RealtimeSession, RealtimeSessionObject, ResumedSession,
    Session, SessionAudio, SessionExtension, SessionExtensionUpdate, SessionType, SessionUpdate,
    TranscriptionAudio, TranscriptionSession, TranscriptionSessionObject,
};
pub use tool::{FunctionTool, McpTool, NamedTool, Tool, ToolChoice, ToolChoiceMode};
pub use turn_detection::{
    Eagerness, SemanticVad, SemanticVadUpdate, ServerVad, ServerVadUpdate, TurnDetection, TurnDetectionUpdate,
};
pub use usage::{
    CachedTokenDetails, InputTokenDetails, OutputTokenDetails, RateLimit, RateLimitName,
    TranscriptionTokenDetails, TranscriptionUsage, Usage,
};
pub use validate::Validate;
