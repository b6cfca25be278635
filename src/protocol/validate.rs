//! Limits on values. Reading checks the shape of an event, this checks what is in it.

use std::fmt::Display;

use super::audio_config::{
    AudioFormat, AudioInputUpdate, AudioOutputUpdate, AudioUpdate, PCM_RATE_HZ, Voice,
};
use super::client_event::ClientEvent;
use super::decode::join;
use super::error::{ErrorCode, ProtocolError};
use super::item::{ContentPart, InputItem, Item, MessageItem, Role};
use super::options::{MaxTokens, Truncation};
use super::response::{Metadata, ResponseCreateParams};
use super::session::{Modality, SessionUpdate};
use super::tool::Tool;
use super::turn_detection::{ServerVadUpdate, TurnDetectionUpdate};

/// Longest id that a client may give an item, in characters.
pub const MAX_ITEM_ID_CHARS: usize = 512;
/// Longest description of a tool, in characters; OpenAI's limit.
pub const MAX_TOOL_DESCRIPTION_CHARS: usize = 1024;
/// Most tokens that a response may be limited to; OpenAI's limit.
pub const MAX_OUTPUT_TOKENS: u32 = 4096;
/// Longest `prefix_padding_ms` and `silence_duration_ms`: the length of the input audio buffer. Our limit.
pub const MAX_VAD_WINDOW_MS: u32 = 60_000;
const IDLE_TIMEOUT_MS: (u32, u32) = (5_000, 30_000);
const SPEED: (f64, f64) = (0.25, 1.5);
const UNIT: (f64, f64) = (0.0, 1.0);
const MAX_METADATA_PAIRS: usize = 16;
const MAX_METADATA_KEY_CHARS: usize = 64;
const MAX_METADATA_VALUE_CHARS: usize = 512;

/// A value whose limits can be checked.
pub trait Validate {
    /// Checks the limits; `path` is where the value stands in the client's event.
    ///
    /// # Errors
    /// Names the first field that breaks a limit, its value and the limit.
    fn validate(&self, path: &str) -> Result<(), ProtocolError>;
}

impl<T: Validate> Validate for Option<T> {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        self.as_ref().map_or(Ok(()), |value| value.validate(path))
    }
}

impl<T: Validate> Validate for Vec<T> {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        self.iter().enumerate().try_for_each(|(index, value)| value.validate(&format!("{path}[{index}]")))
    }
}

impl Validate for ClientEvent {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        match self {
            Self::SessionUpdate(event) => event.session.validate(&join(path, "session")),
            Self::ConversationItemCreate(event) => event.item.validate(&join(path, "item")),
            Self::ResponseCreate(event) => {
                event.response.as_deref().map_or(Ok(()), |params| params.validate(&join(path, "response")))
            }
            _ => Ok(()),
        }
    }
}

impl Validate for SessionUpdate {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        check_modalities(self.output_modalities.as_deref(), &join(path, "output_modalities"))?;
        self.audio.validate(&join(path, "audio"))?;
        self.tools.validate(&join(path, "tools"))?;
        self.max_output_tokens.validate(&join(path, "max_output_tokens"))?;
        self.truncation.validate(&join(path, "truncation"))?;
        super::session_rules::check(self, path)
    }
}

impl Validate for AudioUpdate {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        self.input.validate(&join(path, "input"))?;
        self.output.validate(&join(path, "output"))
    }
}

impl Validate for AudioInputUpdate {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        self.format.validate(&join(path, "format"))?;
        match &self.turn_detection {
            Some(Some(TurnDetectionUpdate::ServerVad(vad))) => vad.validate(&join(path, "turn_detection")),
            _ => Ok(()),
        }
    }
}

impl Validate for AudioOutputUpdate {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        self.format.validate(&join(path, "format"))?;
        if let Some(voice) = &self.voice {
            let param = join(path, if matches!(voice, Voice::Id { .. }) { "voice.id" } else { "voice" });
            check_not_empty(&param, voice.as_str())?;
        }
        self.speed.map_or(Ok(()), |speed| check_decimal(&join(path, "speed"), speed, SPEED))
    }
}

impl Validate for AudioFormat {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        match self {
            Self::Pcm { rate } if *rate != PCM_RATE_HZ => {
                let param = join(path, "rate");
                let message = format!(
                    "Invalid '{param}': 'audio/pcm' has a rate of {PCM_RATE_HZ} Hz, but got {rate} instead. \
                     Resample to {PCM_RATE_HZ} Hz, or use 'audio/pcmu' or 'audio/pcma' for 8000 Hz."
                );
                Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message))
            }
            _ => Ok(()),
        }
    }
}

impl Validate for ServerVadUpdate {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        if let Some(threshold) = self.threshold {
            check_decimal(&join(path, "threshold"), threshold, UNIT)?;
        }
        let window = (0, MAX_VAD_WINDOW_MS);
        let fields = [
            ("prefix_padding_ms", self.prefix_padding_ms, window),
            ("silence_duration_ms", self.silence_duration_ms, window),
            ("idle_timeout_ms", self.idle_timeout_ms.flatten(), IDLE_TIMEOUT_MS),
        ];
        fields.into_iter().try_for_each(|(field, value, range)| {
            value.map_or(Ok(()), |value| check_integer(&join(path, field), value, range))
        })
    }
}

impl Validate for Tool {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        match self {
            Self::Function(tool) => {
                check_not_empty(&join(path, "name"), &tool.name)?;
                let description = tool.description.as_deref().unwrap_or_default();
                check_length(&join(path, "description"), description, MAX_TOOL_DESCRIPTION_CHARS)
            }
            Self::Mcp(tool) => check_not_empty(&join(path, "server_label"), &tool.server_label),
        }
    }
}

impl Validate for MaxTokens {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        self.limit().map_or(Ok(()), |limit| check_integer(path, limit, (1, MAX_OUTPUT_TOKENS)))
    }
}

impl Validate for Truncation {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        match self {
            Self::Ratio(ratio) => check_decimal(&join(path, "retention_ratio"), ratio.retention_ratio, UNIT),
            Self::Mode(_) => Ok(()),
        }
    }
}

impl Validate for ResponseCreateParams {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        check_modalities(self.output_modalities.as_deref(), &join(path, "output_modalities"))?;
        let output = self.audio.as_ref().and_then(|audio| audio.output.as_ref());
        output.map_or(Ok(()), |output| output.validate(&join(path, "audio.output")))?;
        self.tools.validate(&join(path, "tools"))?;
        self.max_output_tokens.validate(&join(path, "max_output_tokens"))?;
        self.input.validate(&join(path, "input"))?;
        self.metadata.as_ref().map_or(Ok(()), |metadata| check_metadata(&join(path, "metadata"), metadata))
    }
}

impl Validate for InputItem {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        match self {
            Self::Reference(reference) => check_not_empty(&join(path, "id"), &reference.id),
            Self::Item(item) => item.validate(path),
        }
    }
}

impl Validate for Item {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        if let Some(id) = self.id() {
            check_not_empty(&join(path, "id"), id)?;
            check_length(&join(path, "id"), id, MAX_ITEM_ID_CHARS)?;
        }
        match self {
            Self::Message(message) => message.validate(path),
            Self::FunctionCall(call) => check_not_empty(&join(path, "name"), &call.name),
            _ => Ok(()),
        }
    }
}

impl Validate for MessageItem {
    fn validate(&self, path: &str) -> Result<(), ProtocolError> {
        let (role, allowed): (_, &[&str]) = match self.role {
            Role::System => ("system", &["input_text"]),
            Role::User => ("user", &["input_text", "input_audio", "input_image"]),
            // Pipecat puts the assistant's words into the conversation as `input_text`.
            Role::Assistant => ("assistant", &["output_text", "output_audio", "input_text"]),
        };
        for (index, part) in self.content.iter().enumerate() {
            let param = format!("{path}.content[{index}]");
            if !allowed.contains(&part.type_name()) {
                let param = join(&param, "type");
                let (got, allowed) = (part.type_name(), allowed.join("', '"));
                let message = format!(
                    "Invalid '{param}': a message of role '{role}' holds '{allowed}', but got '{got}'."
                );
                return Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message));
            }
            check_no_seeded_audio(part, &join(&param, "audio"))?;
        }
        Ok(())
    }
}

fn check_no_seeded_audio(part: &ContentPart, param: &str) -> Result<(), ProtocolError> {
    match part {
        ContentPart::OutputAudio(part) if part.audio.is_some() => {
            let message =
                format!("Invalid '{param}': audio of the assistant cannot be added; send its text.");
            Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message))
        }
        _ => Ok(()),
    }
}

fn check_modalities(modalities: Option<&[Modality]>, param: &str) -> Result<(), ProtocolError> {
    match modalities {
        None | Some([_]) => Ok(()),
        Some(_) => {
            let message = format!(
                "Invalid '{param}': supported combinations are ['audio'] and ['text']; audio comes with its \
                 transcript."
            );
            Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message))
        }
    }
}

fn check_metadata(param: &str, metadata: &Metadata) -> Result<(), ProtocolError> {
    if metadata.len() > MAX_METADATA_PAIRS {
        let message = format!(
            "Invalid '{param}': too many properties. Expected at most {MAX_METADATA_PAIRS}, but got {} instead.",
            metadata.len()
        );
        return Err(ProtocolError::at(param, ErrorCode::OBJECT_ABOVE_MAX_PROPERTIES, message));
    }
    metadata.iter().try_for_each(|(key, value)| {
        check_length(param, key, MAX_METADATA_KEY_CHARS)?;
        check_length(&join(param, key), value, MAX_METADATA_VALUE_CHARS)
    })
}

/// Refuses a string of more than `max` characters.
pub(super) fn check_length(param: &str, text: &str, max: usize) -> Result<(), ProtocolError> {
    if text.len() <= max || text.chars().nth(max).is_none() {
        return Ok(());
    }
    let message = format!(
        "Invalid '{param}': string too long. Expected a string with maximum length {max}, but got a string with \
         length {} instead.",
        text.chars().count()
    );
    Err(ProtocolError::at(param, ErrorCode::STRING_ABOVE_MAX_LENGTH, message))
}

fn check_not_empty(param: &str, text: &str) -> Result<(), ProtocolError> {
    if !text.is_empty() {
        return Ok(());
    }
    let message = format!("Invalid '{param}': the string is empty.");
    Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message))
}

fn check_integer(param: &str, value: u32, (min, max): (u32, u32)) -> Result<(), ProtocolError> {
    if value < min {
        let words = format!("integer below minimum value. Expected a value >= {min}");
        return Err(out_of_range(param, ErrorCode::INTEGER_BELOW_MIN_VALUE, &words, value));
    }
    if value > max {
        let words = format!("integer above maximum value. Expected a value <= {max}");
        return Err(out_of_range(param, ErrorCode::INTEGER_ABOVE_MAX_VALUE, &words, value));
    }
    Ok(())
}

fn check_decimal(param: &str, value: f64, (min, max): (f64, f64)) -> Result<(), ProtocolError> {
    if value < min {
        let words = format!("decimal below minimum value. Expected a value >= {min}");
        return Err(out_of_range(param, ErrorCode::DECIMAL_BELOW_MIN_VALUE, &words, value));
    }
    if value > max {
        let words = format!("decimal above maximum value. Expected a value <= {max}");
        return Err(out_of_range(param, ErrorCode::DECIMAL_ABOVE_MAX_VALUE, &words, value));
    }
    Ok(())
}

fn out_of_range(param: &str, code: ErrorCode, words: &str, value: impl Display) -> ProtocolError {
    ProtocolError::at(param, code, format!("Invalid '{param}': {words}, but got {value} instead."))
}
