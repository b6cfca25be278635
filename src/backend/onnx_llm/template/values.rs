//! Messages and tools as the values that chat templates are written for.

use serde_json::{Value, json};

use crate::engine::llm::{ChatMessage, ChatRole, ToolCall, ToolSpec};

pub(super) fn message_values(messages: &[ChatMessage]) -> Vec<Value> {
    messages.iter().map(|message| message_value(message, messages)).collect()
}

fn message_value(message: &ChatMessage, all: &[ChatMessage]) -> Value {
    let mut value = json!({ "role": message.role.as_str(), "content": message.content });
    if !message.tool_calls.is_empty() {
        value["tool_calls"] = message.tool_calls.iter().map(call_value).collect();
    }
    if let (ChatRole::Tool, Some(id)) = (message.role, &message.tool_call_id) {
        value["tool_call_id"] = json!(id);
        let mut calls = all.iter().flat_map(|message| &message.tool_calls);
        if let Some(call) = calls.find(|call| call.id == *id) {
            value["name"] = json!(call.name);
        }
    }
    value
}

fn call_value(call: &ToolCall) -> Value {
    // Templates expect an object, and some write text as it is.
    let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(call.arguments));
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
}

pub(super) fn tool_value(tool: &ToolSpec) -> Value {
    json!({ "type": "function", "function": {
        "name": tool.name, "description": tool.description, "parameters": tool.parameters } })
}
