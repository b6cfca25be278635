//! Errors on the wire: the body of the `error` event, its codes, and [`ProtocolError`], which says what is
//! wrong with a client's event.
//!
//! OpenAI publishes no list of codes. Those here were seen in client code and captured traffic, and clients
//! branch on some of them, so a new failure should reuse one where it fits.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The broad class of an error: whose fault it is.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ErrorType {
    /// The client's event cannot be served as sent.
    InvalidRequestError,
    /// The key is missing, wrong or not allowed to do this.
    AuthenticationError,
    /// A quota or a rate is exhausted; later it may work.
    RateLimitError,
    /// The server failed.
    ServerError,
    /// A class of another server.
    #[serde(untagged)]
    Other(String),
}

/// A machine-readable error code. An open set: compare with the constants.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, Hash)]
#[serde(transparent)]
pub struct ErrorCode(Cow<'static, str>);

impl ErrorCode {
    /// The frame is not JSON, or not a JSON object.
    pub const INVALID_JSON: Self = Self::known("invalid_json");
    /// The event has no usable `type`.
    pub const INVALID_EVENT: Self = Self::known("invalid_event");
    /// A field holds another JSON type than it should.
    pub const INVALID_TYPE: Self = Self::known("invalid_type");
    /// A field's value is none of those allowed.
    pub const INVALID_VALUE: Self = Self::known("invalid_value");
    /// A required field is absent.
    pub const MISSING_REQUIRED_PARAMETER: Self = Self::known("missing_required_parameter");
    /// A field that the protocol does not have (here: one of the beta protocol).
    pub const UNKNOWN_PARAMETER: Self = Self::known("unknown_parameter");
    /// A whole number below its minimum.
    pub const INTEGER_BELOW_MIN_VALUE: Self = Self::known("integer_below_min_value");
    /// A whole number above its maximum.
    pub const INTEGER_ABOVE_MAX_VALUE: Self = Self::known("integer_above_max_value");
    /// A number below its minimum.
    pub const DECIMAL_BELOW_MIN_VALUE: Self = Self::known("decimal_below_min_value");
    /// A number above its maximum.
    pub const DECIMAL_ABOVE_MAX_VALUE: Self = Self::known("decimal_above_max_value");
    /// A string longer than allowed.
    pub const STRING_ABOVE_MAX_LENGTH: Self = Self::known("string_above_max_length");
    /// A map with more entries than allowed.
    pub const OBJECT_ABOVE_MAX_PROPERTIES: Self = Self::known("object_above_max_properties");
    /// `response.create` while a response of the default conversation runs. Clients tolerate it.
    pub const CONVERSATION_ALREADY_HAS_ACTIVE_RESPONSE: Self =
        Self::known("conversation_already_has_active_response");
    /// `response.cancel` with nothing to cancel. Clients tolerate it.
    pub const RESPONSE_CANCEL_NOT_ACTIVE: Self = Self::known("response_cancel_not_active");
    /// `input_audio_buffer.commit` with less than 100 ms in the buffer.
    pub const INPUT_AUDIO_BUFFER_COMMIT_EMPTY: Self = Self::known("input_audio_buffer_commit_empty");
    /// `conversation.item.retrieve` of an item that does not exist. Clients tolerate it.
    pub const ITEM_RETRIEVE_INVALID_ITEM_ID: Self = Self::known("item_retrieve_invalid_item_id");
    /// The API key is wrong. Clients stop reconnecting.
    pub const INVALID_API_KEY: Self = Self::known("invalid_api_key");
    /// Too many requests or tokens.
    pub const RATE_LIMIT_EXCEEDED: Self = Self::known("rate_limit_exceeded");
    /// Too many responses.
    pub const INFERENCE_RATE_LIMIT_EXCEEDED: Self = Self::known("inference_rate_limit_exceeded");
    /// The user's quota is spent. Clients stop reconnecting.
    pub const INSUFFICIENT_QUOTA: Self = Self::known("insufficient_quota");
    /// The server holds all the sessions it can.
    pub const SESSION_LIMIT_REACHED: Self = Self::known("session_limit_reached");
    /// The server is busy; the message says when to come back.
    pub const OVERLOADED: Self = Self::known("overloaded");
    /// The session reached its maximum length.
    pub const SESSION_EXPIRED: Self = Self::known("session_expired");
    /// The server failed.
    pub const SERVER_ERROR: Self = Self::known("server_error");

    /// A code that has no constant.
    pub fn other(code: impl Into<String>) -> Self {
        Self(Cow::Owned(code.into()))
    }

    /// The code as written on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    const fn known(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `error` object of an `error` event. All keys are always present, null where unknown.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ErrorBody {
    /// Whose fault it is.
    #[serde(rename = "type")]
    pub kind: ErrorType,
    /// What went wrong, for programs.
    pub code: Option<ErrorCode>,
    /// What went wrong, for people.
    pub message: String,
    /// The path of the offending field in the client's event, such as `session.audio.input.format.rate`.
    pub param: Option<String>,
    /// The `event_id` of the client's event, where it had one: clients match their requests by it.
    pub event_id: Option<String>,
}

impl ErrorBody {
    /// An error of `kind` that names no field and answers no event.
    pub fn new(kind: ErrorType, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { kind, code: Some(code), message: message.into(), param: None, event_id: None }
    }

    /// The same error, answering the client event with this id.
    #[must_use]
    pub fn answering(mut self, event_id: Option<String>) -> Self {
        self.event_id = event_id;
        self
    }
}

/// What is wrong with an event that a client sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ProtocolError {
    /// What is wrong, for programs.
    pub code: ErrorCode,
    /// What is wrong, for people: the field, its value, what is allowed.
    pub message: String,
    /// The path of the offending field.
    pub param: Option<String>,
    /// The event's own `event_id`, where it could be read.
    pub event_id: Option<String>,
}

impl ProtocolError {
    /// An error about the event as a whole.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, event_id: None }
    }

    /// An error about the field at `param`; an empty path names the event as a whole.
    pub fn at(param: impl Into<String>, code: ErrorCode, message: impl Into<String>) -> Self {
        let param = Some(param.into()).filter(|path| !path.is_empty());
        Self { param, ..Self::new(code, message) }
    }

    /// The same error, answering the client event with this id.
    #[must_use]
    pub fn answering(mut self, event_id: Option<String>) -> Self {
        self.event_id = event_id;
        self
    }
}

impl From<ProtocolError> for ErrorBody {
    fn from(error: ProtocolError) -> Self {
        Self {
            kind: ErrorType::InvalidRequestError,
            code: Some(error.code),
            message: error.message,
            param: error.param,
            event_id: error.event_id,
        }
    }
}
