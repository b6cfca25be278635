//! The model's chat template: a conversation as the one text that the model was trained on. Pure but for the
//! clock that a template may ask for.

mod functions;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value, json};

use crate::engine::llm::{ChatMessage, ChatRole, ToolCall, ToolSpec};

/// A compiled template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    with_tools: &'static str,
    special: Map<String, Value>,
    writes_calls: bool,
}

impl ChatTemplate {
    /// From `tokenizer_config.json` and, where there is one, the text of `chat_template.jinja`, which goes first.
    pub(super) fn new(config: &Value, file: Option<String>) -> Result<Self, String> {
        let templates = file.map(Value::String).or_else(|| config.get("chat_template").cloned());
        let templates =
            templates.ok_or("the model has no chat template, so it is not made for conversations")?;
        let (plain, tools) = choose(&templates).ok_or("its chat template is not a text")?;
        let mut environment = environment()?;
        let writes_calls = tools.unwrap_or(plain).contains("tool_call>");
        add(&mut environment, "chat", plain)?;
        if let Some(tools) = tools {
            add(&mut environment, "tools", tools)?;
        }
        let with_tools = if tools.is_some() { "tools" } else { "chat" };
        let special = special_tokens(config);
        Ok(Self { environment, with_tools, special, writes_calls })
    }

    /// Whether it shows the model calls in `<tool_call>`, the form that answers are read in.
    pub(super) fn writes_calls(&self) -> bool {
        self.writes_calls
    }

    /// The text of `messages` and `tools`, up to where the assistant's next message begins.
    pub(super) fn render(&self, messages: &[&ChatMessage], tools: &[ToolSpec]) -> Result<String, String> {
        let name = if tools.is_empty() { "chat" } else { self.with_tools };
        let template = self.environment.get_template(name).map_err(|error| error.to_string())?;
        let messages: Vec<Value> = messages.iter().map(|message| message_value(message, messages)).collect();
        let tools: Option<Vec<Value>> = (!tools.is_empty()).then(|| tools.iter().map(tool_value).collect());
        let mut values = json!({
            "messages": messages, "tools": tools, "add_generation_prompt": true,
            // For models that would think aloud: nobody wants to hear it.
            "enable_thinking": false,
        });
        for (token, text) in &self.special {
            values[token] = text.clone();
        }
        template
            .render(minijinja::value::Serde(values))
            .map_err(|error| format!("the chat template refuses the conversation: {error:#}"))
    }
}

/// As `transformers` sets Jinja up.
fn environment() -> Result<Environment<'static>, String> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| error.to_string())?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", functions::raise_exception);
    environment.add_function("strftime_now", functions::strftime_now);
    environment.add_filter("tojson", functions::tojson);
    Ok(environment)
}

fn add(environment: &mut Environment<'static>, name: &'static str, source: &str) -> Result<(), String> {
    // Marks of what is to be trained on; they print nothing.
    let mut source = source.to_owned();
    for mark in ["generation", "endgeneration"] {
        for (open, close) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            source = source.replace(&format!("{open} {mark} {close}"), "");
        }
    }
    environment
        .add_template_owned(name, source)
        .map_err(|error| format!("its chat template cannot be read: {error:#}"))
}

/// The template for plain conversations, and the one for tools where it is another.
fn choose(templates: &Value) -> Option<(&str, Option<&str>)> {
    let Some(list) = templates.as_array() else { return Some((templates.as_str()?, None)) };
    let named = |name: &str| {
        let entry = list.iter().find(|entry| entry["name"] == name)?;
        entry["template"].as_str()
    };
    let plain = named("default").or_else(|| list.first()?["template"].as_str())?;
    Some((plain, named("tool_use")))
}

/// A special token stands there as text or as an object with its text.
fn special_tokens(config: &Value) -> Map<String, Value> {
    let text = |key: &str| match &config[key] {
        Value::Object(token) => token.get("content").cloned().unwrap_or_default(),
        token => token.clone(),
    };
    let keys = ["bos_token", "eos_token", "pad_token", "unk_token"];
    keys.iter().map(|key| ((*key).to_owned(), text(key))).filter(|(_, text)| text.is_string()).collect()
}

fn message_value(message: &ChatMessage, all: &[&ChatMessage]) -> Value {
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

fn tool_value(tool: &ToolSpec) -> Value {
    json!({ "type": "function", "function": {
        "name": tool.name, "description": tool.description, "parameters": tool.parameters } })
}

#[cfg(test)]
mod tests;
