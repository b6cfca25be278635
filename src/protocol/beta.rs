//! Recognises the beta protocol, which much sample code still speaks, and names what replaced it.
//!
//! OpenAI switched the beta off in 2026 and refuses these names too, so no client of theirs is lost.

use serde_json::Value;

use super::decode::join;
use super::error::{ErrorCode, ProtocolError};

const SESSION_FIELDS: [(&str, &str); 9] = [
    ("modalities", "output_modalities"),
    ("voice", "audio.output.voice"),
    ("speed", "audio.output.speed"),
    ("input_audio_format", "audio.input.format"),
    ("output_audio_format", "audio.output.format"),
    ("input_audio_transcription", "audio.input.transcription"),
    ("input_audio_noise_reduction", "audio.input.noise_reduction"),
    ("turn_detection", "audio.input.turn_detection"),
    ("max_response_output_tokens", "max_output_tokens"),
];

const RESPONSE_FIELDS: [(&str, &str); 4] = [
    ("modalities", "output_modalities"),
    ("voice", "audio.output.voice"),
    ("output_audio_format", "audio.output.format"),
    ("max_response_output_tokens", "max_output_tokens"),
];

/// Explains an event type of the beta protocol.
pub(super) fn explain_type(kind: &str) -> Option<String> {
    (kind == "transcription_session.update").then(|| {
        "Invalid 'type': 'transcription_session.update' is the beta protocol; use 'session.update' with \
         'session.type' set to 'transcription'."
            .to_owned()
    })
}

/// Refuses beta names in an event of a known type.
pub(super) fn check(kind: &str, event: &Value) -> Result<(), ProtocolError> {
    match kind {
        "session.update" => event.get("session").map_or(Ok(()), check_session),
        "response.create" => {
            event.get("response").map_or(Ok(()), |body| check_fields(body, "response", &RESPONSE_FIELDS))?;
            let items = event.get("response").and_then(|response| response.get("input"));
            let items = items.and_then(Value::as_array).into_iter().flatten().enumerate();
            items
                .into_iter()
                .try_for_each(|(index, item)| check_content(item, &format!("response.input[{index}]")))
        }
        "conversation.item.create" => event.get("item").map_or(Ok(()), |item| check_content(item, "item")),
        _ => Ok(()),
    }
}

/// Refuses beta names in a session's configuration.
pub(super) fn check_session(session: &Value) -> Result<(), ProtocolError> {
    check_fields(session, "session", &SESSION_FIELDS)
}

fn check_fields(body: &Value, object: &str, fields: &[(&str, &str)]) -> Result<(), ProtocolError> {
    match fields.iter().find(|(old, _)| body.get(*old).is_some()) {
        None => Ok(()),
        Some((old, new)) => {
            let (old, new) = (join(object, old), join(object, new));
            let message = format!("Unknown parameter: '{old}' is the beta protocol; use '{new}'.");
            Err(ProtocolError::at(old, ErrorCode::UNKNOWN_PARAMETER, message))
        }
    }
}

fn check_content(item: &Value, path: &str) -> Result<(), ProtocolError> {
    let is_assistant = item.get("role").is_some_and(|role| role == "assistant");
    let parts = item.get("content").and_then(Value::as_array);
    for (index, part) in parts.into_iter().flatten().enumerate() {
        let (old, new) = match (part.get("type").and_then(Value::as_str), is_assistant) {
            (Some("text"), false) => ("text", "input_text"),
            (Some("text"), true) => ("text", "output_text"),
            (Some("audio"), false) => ("audio", "input_audio"),
            (Some("audio"), true) => ("audio", "output_audio"),
            _ => continue,
        };
        let param = format!("{path}.content[{index}].type");
        let message = format!("Invalid '{param}': '{old}' is the beta protocol; use '{new}'.");
        return Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message));
    }
    Ok(())
}
