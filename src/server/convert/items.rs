//! Conversation items, both ways.

use crate::protocol::{self, ContentPart, ErrorCode, ProtocolError};
use crate::session::conversation::{Content, Item, ItemBody, ItemStatus, Role};
use crate::session::id::ItemId;
use crate::session::settings::ResponseInput;

/// An item that a client gives. `path` names it in errors.
pub(super) fn item(wire: protocol::Item, path: &str) -> Result<Item, ProtocolError> {
    let id = wire.id().map_or_else(ItemId::random, ItemId::from);
    let body = match wire {
        protocol::Item::Message(message) => ItemBody::Message {
            role: role(message.role),
            content: message
                .content
                .into_iter()
                .enumerate()
                .map(|(at, part)| content(part, message.role, &format!("{path}.content[{at}]")))
                .collect::<Result<_, _>>()?,
        },
        protocol::Item::FunctionCall(call) => ItemBody::FunctionCall {
            call_id: call.call_id.unwrap_or_else(protocol::new_call_id),
            name: call.name,
            arguments: call.arguments,
        },
        protocol::Item::FunctionCallOutput(output) => {
            ItemBody::FunctionCallOutput { call_id: output.call_id, output: output.output }
        }
        protocol::Item::McpListTools(_)
        | protocol::Item::McpCall(_)
        | protocol::Item::McpApprovalRequest(_)
        | protocol::Item::McpApprovalResponse(_) => {
            let message = format!("Invalid '{path}.type': MCP items are not served; use function calls.");
            return Err(ProtocolError::at(format!("{path}.type"), ErrorCode::INVALID_VALUE, message));
        }
    };
    Ok(Item { id, status: ItemStatus::Completed, body })
}

/// A piece of a response's own input.
pub(super) fn response_input(wire: protocol::InputItem) -> Result<ResponseInput, ProtocolError> {
    match wire {
        protocol::InputItem::Reference(reference) => Ok(ResponseInput::Reference(reference.id.into())),
        protocol::InputItem::Item(wire) => item(wire, "response.input").map(ResponseInput::Item),
    }
}

fn content(part: ContentPart, role: protocol::Role, path: &str) -> Result<Content, ProtocolError> {
    let reject =
        |message: String| Err(ProtocolError::at(format!("{path}.type"), ErrorCode::INVALID_VALUE, message));
    match (role, part) {
        (protocol::Role::System | protocol::Role::User, ContentPart::InputText(part)) => {
            Ok(Content::InputText(part.text))
        }
        // Some clients, Pipecat among them, put what the assistant said back under this name.
        (protocol::Role::Assistant, ContentPart::OutputText(part) | ContentPart::InputText(part)) => {
            Ok(Content::OutputText(part.text))
        }
        (protocol::Role::User, ContentPart::InputAudio(part)) => match part.transcript {
            Some(transcript) => Ok(Content::InputAudio(Some(transcript))),
            None => reject(format!(
                "Invalid '{path}': audio in an item needs its transcript here. Send audio that is to be \
                 transcribed with input_audio_buffer.append and .commit."
            )),
        },
        (protocol::Role::User, ContentPart::InputImage(_)) => reject(format!(
            "Invalid '{path}.type': 'input_image'. The language model of this server reads text only."
        )),
        (protocol::Role::Assistant, ContentPart::OutputAudio(part)) => match part.transcript {
            // A client puts back an item as it got it.
            Some(transcript) => Ok(Content::OutputAudio(transcript)),
            None => reject(format!(
                "Invalid '{path}': assistant audio cannot be added, only its words. Send its transcript, or \
                 'output_text'."
            )),
        },
        (role, part) => reject(format!(
            "Invalid '{path}.type': '{}' does not belong in a message of role '{}'.",
            part.type_name(),
            match role {
                protocol::Role::System => "system",
                protocol::Role::User => "user",
                protocol::Role::Assistant => "assistant",
            }
        )),
    }
}

fn role(wire: protocol::Role) -> Role {
    match wire {
        protocol::Role::System => Role::System,
        protocol::Role::User => Role::User,
        protocol::Role::Assistant => Role::Assistant,
    }
}

/// An item as the client sees it.
pub(super) fn wire_item(item: Item) -> protocol::Item {
    let id = Some(item.id.to_string());
    let object = Some(protocol::ItemObject::It);
    let status = Some(match item.status {
        ItemStatus::InProgress => protocol::ItemStatus::InProgress,
        ItemStatus::Completed => protocol::ItemStatus::Completed,
        ItemStatus::Incomplete => protocol::ItemStatus::Incomplete,
    });
    match item.body {
        ItemBody::Message { role, content } => protocol::Item::Message(protocol::MessageItem {
            id,
            object,
            status,
            role: match role {
                Role::System => protocol::Role::System,
                Role::User => protocol::Role::User,
                Role::Assistant => protocol::Role::Assistant,
            },
            content: content.into_iter().map(wire_content).collect(),
        }),
        ItemBody::FunctionCall { call_id, name, arguments } => {
            let call_id = Some(call_id);
            let call = protocol::FunctionCallItem { id, object, status, call_id, name, arguments };
            protocol::Item::FunctionCall(call)
        }
        ItemBody::FunctionCallOutput { call_id, output } => {
            let result = protocol::FunctionCallOutputItem { id, object, status, call_id, output };
            protocol::Item::FunctionCallOutput(result)
        }
    }
}

fn wire_content(content: Content) -> ContentPart {
    match content {
        Content::InputText(text) => ContentPart::InputText(protocol::TextPart { text }),
        Content::InputAudio(transcript) => {
            ContentPart::InputAudio(protocol::InputAudioPart { audio: None, transcript })
        }
        Content::OutputText(text) => ContentPart::OutputText(protocol::TextPart { text }),
        Content::OutputAudio(transcript) => {
            ContentPart::OutputAudio(protocol::OutputAudioPart { audio: None, transcript: Some(transcript) })
        }
    }
}
