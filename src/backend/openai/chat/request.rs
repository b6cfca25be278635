//! Writes the body of a request. Pure.

use reqwest::Url;
use serde_json::{Map, Value, json};

use crate::backend::openai::address::is_openai;
use crate::backend::openai::config::{MaxTokensField, OpenAiLlmConfig};
use crate::engine::llm::{ChatMessage, ChatRole, LlmRequest, ToolCall, ToolChoice, ToolSpec};

/// The body that asks for `messages` to be continued as `request` says.
pub(super) fn body(
    config: &OpenAiLlmConfig,
    base: &Url,
    request: &LlmRequest,
    messages: &[&ChatMessage],
) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), json!(config.model));
    body.insert("messages".into(), messages.iter().map(|message| of_message(message)).collect());
    body.insert("stream".into(), json!(true));
    body.insert("stream_options".into(), json!({ "include_usage": true }));
    if !request.tools.is_empty() {
        body.insert("tools".into(), request.tools.iter().map(of_tool).collect());
        body.insert("tool_choice".into(), of_choice(&request.tool_choice));
    }
    if let Some(limit) = request.max_tokens.or(config.max_tokens) {
        body.insert(max_tokens_field(config.max_tokens_field, base).into(), json!(limit));
    }
    // As people write it: 0.7, not 0.699999988079071.
    let number =
        |value: f32| value.to_string().parse::<f64>().map_or_else(|_| json!(value), |value| json!(value));
    if let Some(temperature) = config.sampling.temperature {
        body.insert("temperature".into(), number(temperature));
    }
    if let Some(top_p) = config.sampling.top_p {
        body.insert("top_p".into(), number(top_p));
    }
    body.extend(config.extra.clone());
    Value::Object(body)
}

fn max_tokens_field(key: MaxTokensField, base: &Url) -> &'static str {
    match key {
        MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
        MaxTokensField::Auto if is_openai(base) => "max_completion_tokens",
        MaxTokensField::Auto | MaxTokensField::MaxTokens => "max_tokens",
    }
}

fn of_message(message: &ChatMessage) -> Value {
    let mut object = Map::new();
    object.insert("role".into(), json!(message.role.as_str()));
    let is_bare = message.content.is_empty() && !message.tool_calls.is_empty();
    object.insert("content".into(), if is_bare { Value::Null } else { json!(message.content) });
    if !message.tool_calls.is_empty() {
        object.insert("tool_calls".into(), message.tool_calls.iter().map(of_call).collect());
    }
    if let (ChatRole::Tool, Some(id)) = (message.role, &message.tool_call_id) {
        object.insert("tool_call_id".into(), json!(id));
    }
    Value::Object(object)
}

fn of_call(call: &ToolCall) -> Value {
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } })
}

fn of_tool(tool: &ToolSpec) -> Value {
    let function =
        json!({ "name": tool.name, "description": tool.description, "parameters": tool.parameters });
    json!({ "type": "function", "function": function })
}

fn of_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Function(name) => json!({ "type": "function", "function": { "name": name } }),
    }
}
