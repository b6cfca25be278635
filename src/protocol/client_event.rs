//! What a client sends, and [`parse_client_event`], which reads it.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::beta;
use super::decode::{Tagged, from_text, from_value, nearest, object, optional_object, shorten};
use super::error::{ErrorCode, ProtocolError};
use super::item::Item;
use super::response::ResponseCreateParams;
use super::session::SessionUpdate;
use super::validate::{Validate, check_length};

/// Longest `event_id` of a client, in characters.
pub const MAX_EVENT_ID_CHARS: usize = 512;

/// The types of client events.
pub const CLIENT_EVENT_TYPES: [&str; 11] = [
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.retrieve",
    "conversation.item.truncate",
    "conversation.item.delete",
    "response.create",
    "response.cancel",
    "output_audio_buffer.clear",
];

/// A client event with its optional id.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ClientMessage {
    /// The client's name for the event: errors about it repeat it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The event.
    #[serde(flatten)]
    pub event: ClientEvent,
}

impl From<ClientEvent> for ClientMessage {
    fn from(event: ClientEvent) -> Self {
        Self { event_id: None, event }
    }
}

impl ClientMessage {
    /// The message as one text frame.
    ///
    /// # Errors
    /// Only if serialization itself fails, which no value of these types makes it do.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// What a client sends.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "type")]
pub enum ClientEvent {
    /// Change the session.
    #[serde(rename = "session.update")]
    SessionUpdate(SessionUpdateEvent),
    /// More audio of the user.
    #[serde(rename = "input_audio_buffer.append")]
    InputAudioBufferAppend(AppendEvent),
    /// The audio so far is a turn.
    #[serde(rename = "input_audio_buffer.commit")]
    InputAudioBufferCommit,
    /// Forget the audio so far.
    #[serde(rename = "input_audio_buffer.clear")]
    InputAudioBufferClear,
    /// Add an item to the conversation.
    #[serde(rename = "conversation.item.create")]
    ConversationItemCreate(ItemCreateEvent),
    /// Send an item again, with audio where it is kept.
    #[serde(rename = "conversation.item.retrieve")]
    ConversationItemRetrieve(ItemIdEvent),
    /// The user heard only so much of an item.
    #[serde(rename = "conversation.item.truncate")]
    ConversationItemTruncate(ItemTruncateEvent),
    /// Remove an item.
    #[serde(rename = "conversation.item.delete")]
    ConversationItemDelete(ItemIdEvent),
    /// Answer now.
    #[serde(rename = "response.create")]
    ResponseCreate(ResponseCreateEvent),
    /// Stop answering.
    #[serde(rename = "response.cancel")]
    ResponseCancel(ResponseCancelEvent),
    /// Drop audio that is not played yet; for transports whose playback the server owns.
    #[serde(rename = "output_audio_buffer.clear")]
    OutputAudioBufferClear,
}

impl<'de> Deserialize<'de> for ClientEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = Tagged::read(deserializer, "type")?;
        match event.name.as_str() {
            "session.update" => event.body().map(Self::SessionUpdate),
            "input_audio_buffer.append" => event.body().map(Self::InputAudioBufferAppend),
            "input_audio_buffer.commit" => Ok(Self::InputAudioBufferCommit),
            "input_audio_buffer.clear" => Ok(Self::InputAudioBufferClear),
            "conversation.item.create" => event.body().map(Self::ConversationItemCreate),
            "conversation.item.retrieve" => event.body().map(Self::ConversationItemRetrieve),
            "conversation.item.truncate" => event.body().map(Self::ConversationItemTruncate),
            "conversation.item.delete" => event.body().map(Self::ConversationItemDelete),
            "response.create" => event.body().map(Self::ResponseCreate),
            "response.cancel" => event.body().map(Self::ResponseCancel),
            "output_audio_buffer.clear" => Ok(Self::OutputAudioBufferClear),
            _ => Err(event.unknown(&CLIENT_EVENT_TYPES)),
        }
    }
}

/// `session.update`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct SessionUpdateEvent {
    /// The change.
    #[serde(deserialize_with = "object")]
    pub session: Box<SessionUpdate>,
}

/// `input_audio_buffer.append`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct AppendEvent {
    /// Base64 in the session's input format.
    pub audio: String,
}

/// `conversation.item.create`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ItemCreateEvent {
    /// Where the item goes: absent at the end, `root` at the start, else after the item with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_item_id: Option<String>,
    /// The item.
    pub item: Item,
}

/// `conversation.item.retrieve` and `.delete`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ItemIdEvent {
    /// The item.
    pub item_id: String,
}

/// `conversation.item.truncate`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ItemTruncateEvent {
    /// The assistant's message.
    pub item_id: String,
    /// Which part of it; the spoken one is 0.
    pub content_index: u32,
    /// How much of the audio was heard, in ms.
    pub audio_end_ms: u64,
}

/// `response.create`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ResponseCreateEvent {
    /// What differs from the session.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub response: Option<Box<ResponseCreateParams>>,
}

/// `response.cancel`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ResponseCancelEvent {
    /// Which response; absent for the one of the default conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

/// Reads and validates one text frame of a client. Unknown fields are ignored.
///
/// # Errors
/// Tells the code, the path of the field and what is allowed there, and the event's own id where it could be
/// read, even out of JSON that breaks off later.
pub fn parse_client_event(text: &str) -> Result<ClientMessage, ProtocolError> {
    let mut envelope = Envelope::default();
    let event = read_event(text, &mut envelope);
    let event_id = envelope.event_id.and_then(|id| match id {
        Value::String(id) if id.chars().nth(MAX_EVENT_ID_CHARS).is_none() => Some(id),
        _ => None,
    });
    match event {
        Ok(event) => Ok(ClientMessage { event_id, event }),
        Err(error) => Err(error.answering(event_id)),
    }
}

/// Reads and validates a session's configuration on its own, as in `POST /v1/realtime/client_secrets`. Paths
/// begin with `session`.
///
/// # Errors
/// As [`parse_client_event`].
pub fn parse_session_update(session: &Value) -> Result<SessionUpdate, ProtocolError> {
    beta::check_session(session)?;
    let update: SessionUpdate = from_value(session, "session")?;
    update.validate("session")?;
    Ok(update)
}

fn read_event(text: &str, envelope: &mut Envelope) -> Result<ClientEvent, ProtocolError> {
    envelope.read(text)?;
    check_event_id(envelope.event_id.as_ref())?;
    let kind = match &envelope.kind {
        Some(Value::String(kind)) => kind.as_str(),
        Some(other) => {
            let message = format!("Invalid 'type': expected a string, got {}.", shorten(&other.to_string()));
            return Err(ProtocolError::at("type", ErrorCode::INVALID_EVENT, message));
        }
        None => return Err(ProtocolError::new(ErrorCode::INVALID_EVENT, "The 'type' field is missing.")),
    };
    match kind {
        // Frequent and large, so it is not held as a `Value` in between.
        "input_audio_buffer.append" => from_text(text).map(ClientEvent::InputAudioBufferAppend),
        known if CLIENT_EVENT_TYPES.contains(&known) => read_checked(known, text),
        unknown => Err(unknown_type(unknown)),
    }
}

fn read_checked(kind: &str, text: &str) -> Result<ClientEvent, ProtocolError> {
    let body: Value = serde_json::from_str(text).map_err(|error| invalid_json(&error))?;
    beta::check(kind, &body)?;
    let event: ClientEvent = from_value(&body, "")?;
    event.validate("")?;
    Ok(event)
}

fn check_event_id(event_id: Option<&Value>) -> Result<(), ProtocolError> {
    match event_id {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(id)) => check_length("event_id", id, MAX_EVENT_ID_CHARS),
        Some(other) => {
            let message =
                format!("Invalid 'event_id': expected a string, got {}.", shorten(&other.to_string()));
            Err(ProtocolError::at("event_id", ErrorCode::INVALID_TYPE, message))
        }
    }
}

fn unknown_type(kind: &str) -> ProtocolError {
    let message = beta::explain_type(kind).unwrap_or_else(|| {
        let hint = nearest(kind, CLIENT_EVENT_TYPES);
        let hint = hint.map(|name| format!(" Did you mean '{name}'?")).unwrap_or_default();
        let list = CLIENT_EVENT_TYPES.map(|name| format!("'{name}'")).join(", ");
        format!("Invalid 'type': unknown event '{}'.{hint} Supported values are: {list}.", shorten(kind))
    });
    ProtocolError::at("type", ErrorCode::INVALID_VALUE, message)
}

fn invalid_json(error: &serde_json::Error) -> ProtocolError {
    let message = format!("The event is not a JSON object: {error}.");
    ProtocolError::new(ErrorCode::INVALID_JSON, message)
}

/// The two fields that every event has, kept even if the text after them is broken.
#[derive(Default)]
struct Envelope {
    kind: Option<Value>,
    event_id: Option<Value>,
}

impl Envelope {
    fn read(&mut self, text: &str) -> Result<(), ProtocolError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = deserializer.deserialize_map(EnvelopeVisitor(self)).and_then(|()| deserializer.end());
        read.map_err(|error| invalid_json(&error))
    }
}

struct EnvelopeVisitor<'a>(&'a mut Envelope);

impl<'de> Visitor<'de> for EnvelopeVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Type => self.0.kind = Some(map.next_value()?),
                Key::EventId => self.0.event_id = Some(map.next_value()?),
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Type,
    EventId,
    #[serde(other)]
    Other,
}
