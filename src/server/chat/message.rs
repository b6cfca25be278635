//! The messages of a chat completion, from OpenAI's shape to the engines'. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::engine::llm::{ChatMessage, ChatRole, ToolCall};
use crate::server::outside::RequestError;

/// One message as it is sent.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireMessage {
    role: String,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    tool_calls: Option<Vec<WireCall>>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct WireCall {
    id: String,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    function: Option<WireFunction>,
}

#[derive(Clone, Debug, Deserialize)]
struct WireFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

/// All messages, in their order.
pub(super) fn messages(wire: Vec<WireMessage>) -> Result<Vec<ChatMessage>, RequestError> {
    if wire.is_empty() {
        return Err(RequestError::field("messages", "'messages' is empty; give at least one."));
    }
    wire.into_iter().enumerate().map(|(at, message)| message.judged(at)).collect()
}

impl WireMessage {
    /// As engines take it; `at` is its place, for what is told of it.
    fn judged(self, at: usize) -> Result<ChatMessage, RequestError> {
        let role = role(&self.role).ok_or_else(|| {
            let message = format!(
                "'messages[{at}].role' is '{}'; it must be 'system', 'developer', 'user', 'assistant' or 'tool'.",
                self.role
            );
            wrong(message)
        })?;
        let calls = self.tool_calls.unwrap_or_default();
        let content = match self.content {
            Some(content) => content.text(at)?,
            None if role == ChatRole::Assistant => String::new(),
            None => return Err(wrong(format!("'messages[{at}].content' is missing."))),
        };
        if role != ChatRole::Assistant && !calls.is_empty() {
            let message = format!("'messages[{at}].tool_calls': only an assistant's message calls tools.");
            return Err(wrong(message));
        }
        let tool_call_id = self.tool_call_id.filter(|_| role == ChatRole::Tool);
        if role == ChatRole::Tool && tool_call_id.is_none() {
            let message = format!(
                "'messages[{at}].tool_call_id' is missing: it names the call that this is the result of."
            );
            return Err(wrong(message));
        }
        let call = |(nth, call): (usize, WireCall)| call.judged(at, nth);
        let tool_calls = calls.into_iter().enumerate().map(call).collect::<Result<_, _>>()?;
        Ok(ChatMessage { role, content, tool_calls, tool_call_id })
    }
}

impl Content {
    fn text(self, at: usize) -> Result<String, RequestError> {
        let parts = match self {
            Self::Text(text) => return Ok(text),
            Self::Parts(parts) => parts,
        };
        let mut whole = String::new();
        for (nth, part) in parts.into_iter().enumerate() {
            let text = match part.kind.as_str() {
                "text" => part.text,
                "refusal" => part.refusal,
                other => {
                    let message = format!(
                        "'messages[{at}].content[{nth}]' is of type '{other}'; the models here read text alone \
                         ('text'). Transcribe audio with /v1/audio/transcriptions, or talk at /v1/realtime."
                    );
                    return Err(wrong(message));
                }
            };
            let missing = || wrong(format!("'messages[{at}].content[{nth}]' holds no text."));
            whole.push_str(&text.ok_or_else(missing)?);
        }
        Ok(whole)
    }
}

impl WireCall {
    fn judged(self, at: usize, nth: usize) -> Result<ToolCall, RequestError> {
        let kind = self.kind.as_deref().unwrap_or("function");
        let function = self.function.filter(|_| kind == "function").ok_or_else(|| {
            wrong(format!(
                "'messages[{at}].tool_calls[{nth}]' is no call of a function, the only tools there are."
            ))
        })?;
        let arguments =
            if function.arguments.trim().is_empty() { "{}".to_owned() } else { function.arguments };
        if !serde_json::from_str::<Value>(&arguments).is_ok_and(|value| value.is_object()) {
            let message = format!(
                "'messages[{at}].tool_calls[{nth}].function.arguments' is not a JSON object in text."
            );
            return Err(wrong(message));
        }
        Ok(ToolCall { id: self.id, name: function.name, arguments })
    }
}

fn role(name: &str) -> Option<ChatRole> {
    Some(match name {
        "system" | "developer" => ChatRole::System,
        "user" => ChatRole::User,
        "assistant" => ChatRole::Assistant,
        "tool" => ChatRole::Tool,
        _ => return None,
    })
}

fn wrong(message: String) -> RequestError {
    RequestError::field("messages", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(wire: Value) -> Result<Vec<ChatMessage>, RequestError> {
        messages(serde_json::from_value(wire).expect("the shape is right"))
    }

    #[test]
    fn messages_become_what_engines_read() {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{\"zone\":\"UTC\"}"}});
        let read = judge(json!([
            {"role": "developer", "content": "Be short."},
            {"role": "user", "name": "anna", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "time?"}]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "noon"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        ]))
        .expect("all is well");
        let seen: Vec<_> =
            read.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        let expected = [
            ("system", "Be short."),
            ("user", "What time?"),
            ("assistant", ""),
            ("tool", "noon"),
            ("assistant", "No."),
        ];
        assert_eq!(seen, expected);
        let call = ToolCall { id: "c1".into(), name: "clock".into(), arguments: r#"{"zone":"UTC"}"#.into() };
        assert_eq!((&read[2].tool_calls, read[3].tool_call_id.as_deref()), (&vec![call], Some("c1")));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let user = json!({"role": "user", "content": "Hello."});
        let call = |function: Value| json!([user, {"role": "assistant", "tool_calls": [{"id": "c", "function": function}]}]);
        for (wire, part) in [
            (json!([]), "'messages' is empty"),
            (json!([{"role": "robot", "content": "x"}]), "messages[0].role' is 'robot'"),
            (json!([user, {"role": "user"}]), "messages[1].content' is missing"),
            (json!([user, {"role": "tool", "content": "x"}]), "messages[1].tool_call_id"),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
                "'image_url'",
            ),
            (json!([{"role": "user", "content": [{"type": "input_audio"}]}]), "'input_audio'"),
            (
                json!([{"role": "user", "content": [{"type": "text"}]}]),
                "messages[0].content[0]' holds no text",
            ),
            (json!([{"role": "user", "content": "x", "tool_calls": [{"id": "c"}]}]), "only an assistant"),
            (call(json!({"name": "clock", "arguments": "noon"})), "tool_calls[0].function.arguments"),
            (call(Value::Null), "messages[1].tool_calls[0]' is no call"),
        ] {
            let error = judge(wire).expect_err(part);
            assert!(error.to_string().contains(part), "{error}");
            assert!(matches!(error, RequestError::Invalid { param: Some("messages"), .. }));
        }
    }
}
