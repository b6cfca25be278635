//! Client events → commands.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::items::{item, response_input};
use super::settings::{format, patch, tool_choice, tools};
use crate::protocol::{self, ClientEvent, ClientMessage, ErrorCode, ProtocolError};
use crate::session::conversation::Previous;
use crate::session::settings::{Modality, ResponseRequest};
use crate::session::{Action, SessionCommand, SessionError};

/// What a client's frame asks of its session. A frame that cannot be read becomes a command too, so that its
/// error is told in order. `None`: nothing to do.
pub(in crate::server) fn command(text: &str) -> Option<SessionCommand> {
    match protocol::parse_client_event(text) {
        Ok(ClientMessage { event_id, event }) => {
            let action = match action(event) {
                Ok(action) => action?,
                Err(error) => Action::Reject(rejection(error)),
            };
            Some(SessionCommand { client_event_id: event_id, action })
        }
        Err(error) => {
            let client_event_id = error.event_id.clone();
            Some(SessionCommand { client_event_id, action: Action::Reject(rejection(error)) })
        }
    }
}

fn rejection(error: ProtocolError) -> SessionError {
    let ProtocolError { code, message, param, .. } = error;
    SessionError::BadEvent { code: code.as_str().to_owned(), message, param }
}

fn action(event: ClientEvent) -> Result<Option<Action>, ProtocolError> {
    Ok(Some(match event {
        ClientEvent::SessionUpdate(event) => Action::Update(Box::new(patch(*event.session)?)),
        ClientEvent::InputAudioBufferAppend(event) => Action::AppendAudio(audio(&event.audio)?),
        ClientEvent::InputAudioBufferCommit => Action::CommitAudio,
        ClientEvent::InputAudioBufferClear => Action::ClearAudio,
        ClientEvent::ConversationItemCreate(event) => Action::CreateItem {
            previous: match event.previous_item_id {
                None => Previous::Last,
                Some(id) if id == "root" => Previous::Root,
                Some(id) => Previous::Item(id.into()),
            },
            item: item(event.item, "item")?,
        },
        ClientEvent::ConversationItemRetrieve(event) => Action::RetrieveItem(event.item_id.into()),
        ClientEvent::ConversationItemTruncate(event) => {
            if event.content_index != 0 {
                let message = format!(
                    "Invalid 'content_index': {}. An assistant message has one spoken part, 0.",
                    event.content_index
                );
                return Err(ProtocolError::at("content_index", ErrorCode::INVALID_VALUE, message));
            }
            Action::TruncateItem { item: event.item_id.into(), audio_end_ms: event.audio_end_ms }
        }
        ClientEvent::ConversationItemDelete(event) => Action::DeleteItem(event.item_id.into()),
        ClientEvent::ResponseCreate(event) => {
            let params = event.response.map(|params| *params).unwrap_or_default();
            Action::CreateResponse(Box::new(response_request(params)?))
        }
        ClientEvent::ResponseCancel(event) => Action::CancelResponse(event.response_id.map(Into::into)),
        // Over a WebSocket the client owns its playback; a tolerant server has nothing to clear.
        ClientEvent::OutputAudioBufferClear => return Ok(None),
    }))
}

fn audio(base64: &str) -> Result<Vec<u8>, ProtocolError> {
    STANDARD.decode(base64).or_else(|error| STANDARD_NO_PAD.decode(base64).map_err(|_| error)).map_err(
        |error| {
            let message = format!("Invalid 'audio': not base64 ({error}). Send the bytes of the session's input format, base64-encoded.");
            ProtocolError::at("audio", ErrorCode::INVALID_VALUE, message)
        },
    )
}

fn response_request(params: protocol::ResponseCreateParams) -> Result<ResponseRequest, ProtocolError> {
    let output = params.audio.and_then(|audio| audio.output).unwrap_or_default();
    let input = params
        .input
        .map(|input| input.into_iter().map(response_input).collect::<Result<Vec<_>, _>>())
        .transpose()?;
    Ok(ResponseRequest {
        instructions: params.instructions,
        modality: params.output_modalities.map(|modalities| modality(&modalities)),
        output_format: output.format.map(format),
        voice: output.voice.map(|voice| voice.as_str().to_owned()),
        tools: params.tools.map(|list| tools(list, "response.tools")).transpose()?,
        tool_choice: params.tool_choice.map(tool_choice),
        max_output_tokens: params.max_output_tokens.map(protocol::MaxTokens::limit),
        out_of_band: params.conversation == Some(protocol::ConversationMode::None),
        input,
        metadata: params.metadata.map(|metadata| serde_json::json!(metadata)),
    })
}

/// One modality, checked when the event was read.
pub(super) fn modality(modalities: &[protocol::Modality]) -> Modality {
    match modalities.first() {
        Some(protocol::Modality::Text) => Modality::Text,
        _ => Modality::Audio,
    }
}
