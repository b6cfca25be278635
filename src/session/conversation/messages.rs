//! A conversation as a language model sees it. Pure.

use super::item::{Content, Item, ItemBody, Role};
use crate::engine::llm::{ChatMessage, ChatRole, ToolCall};

/// These items as a language model sees them: system message first, tool calls joined to the message before.
pub fn messages_of<'a>(instructions: &str, items: impl Iterator<Item = &'a Item>) -> Vec<ChatMessage> {
    let mut messages = Vec::new();
    if !instructions.is_empty() {
        messages.push(ChatMessage::text(ChatRole::System, instructions));
    }
    for item in items {
        match &item.body {
            ItemBody::Message { role, content } => push_message(&mut messages, *role, content),
            ItemBody::FunctionCall { call_id, name, arguments } => {
                let call = ToolCall { id: call_id.clone(), name: name.clone(), arguments: arguments.clone() };
                match messages.last_mut() {
                    Some(last) if last.role == ChatRole::Assistant => last.tool_calls.push(call),
                    _ => messages.push(ChatMessage {
                        tool_calls: vec![call],
                        ..ChatMessage::text(ChatRole::Assistant, "")
                    }),
                }
            }
            ItemBody::FunctionCallOutput { call_id, output } => messages.push(ChatMessage {
                tool_call_id: Some(call_id.clone()),
                ..ChatMessage::text(ChatRole::Tool, output)
            }),
        }
    }
    messages
}

fn push_message(messages: &mut Vec<ChatMessage>, role: Role, content: &[Content]) {
    let text = content.iter().map(Content::text).filter(|text| !text.is_empty()).collect::<Vec<_>>();
    if text.is_empty() {
        return; // nothing was heard, or it is not transcribed yet
    }
    let role = match role {
        Role::System => ChatRole::System,
        Role::User => ChatRole::User,
        Role::Assistant => ChatRole::Assistant,
    };
    messages.push(ChatMessage::text(role, text.join(" ")));
}
