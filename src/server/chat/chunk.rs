//! What a chat completion answers, in OpenAI's shape: whole, or in chunks. Pure.

use serde_json::{Value, json};

use crate::engine::llm::{FinishReason, LlmEvent, TokenUsage};

/// What every piece of one answer says of it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// `chatcmpl-..`.
    pub(super) id: String,
    /// Unix seconds.
    pub(super) created: u64,
    /// As it was asked for.
    pub(super) model: String,
}

/// Makes chunks of an answer's events.
#[derive(Debug)]
pub(super) struct Chunks {
    head: Head,
    /// The chunk that names the role is made.
    begun: bool,
    /// The client wants the tokens that it took.
    usage: bool,
}

impl Chunks {
    /// For one answer.
    pub(super) fn new(head: Head, usage: bool) -> Self {
        Self { head, begun: false, usage }
    }

    /// The chunks of an event, in order.
    pub(super) fn of(&mut self, event: LlmEvent) -> Vec<Value> {
        let mut chunks = Vec::new();
        if !self.begun {
            self.begun = true;
            // An answer that begins with a call has no text.
            let calls = matches!(event, LlmEvent::ToolCallStart { .. });
            let content = if calls { Value::Null } else { "".into() };
            chunks.push(self.chunk(&json!({"role": "assistant", "content": content, "refusal": null}), None));
        }
        match event {
            LlmEvent::Text(text) => chunks.push(self.chunk(&json!({"content": text}), None)),
            LlmEvent::ToolCallStart { index, id, name } => {
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": index, "id": id, "type": "function", "function": function});
                chunks.push(self.chunk(&json!({"tool_calls": [call]}), None));
            }
            LlmEvent::ToolCallArguments { index, delta } => {
                let call = json!({"index": index, "function": {"arguments": delta}});
                chunks.push(self.chunk(&json!({"tool_calls": [call]}), None));
            }
            LlmEvent::Done { finish, usage } => {
                chunks.push(self.chunk(&json!({}), Some(finish)));
                if self.usage {
                    chunks.push(self.object(&json!([]), &usage_of(usage)));
                }
            }
        }
        chunks
    }

    fn chunk(&self, delta: &Value, finish: Option<FinishReason>) -> Value {
        let finish = finish.map(reason);
        self.object(
            &json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]),
            &Value::Null,
        )
    }

    fn object(&self, choices: &Value, usage: &Value) -> Value {
        let Head { id, created, model } = &self.head;
        let object = "chat.completion.chunk";
        let mut chunk =
            json!({"id": id, "object": object, "created": created, "model": model, "choices": choices});
        if self.usage {
            chunk["usage"] = usage.clone();
        }
        chunk
    }
}

/// Collects an answer's events.
#[derive(Debug, Default)]
pub(super) struct Whole {
    text: Option<String>,
    calls: Vec<(String, String, String)>,
    finish: Option<FinishReason>,
    usage: TokenUsage,
}

impl Whole {
    /// Takes the next event.
    pub(super) fn take(&mut self, event: LlmEvent) {
        match event {
            LlmEvent::Text(text) => self.text.get_or_insert_default().push_str(&text),
            LlmEvent::ToolCallStart { id, name, .. } => self.calls.push((id, name, String::new())),
            LlmEvent::ToolCallArguments { delta, .. } => {
                // All of a call's arguments come before anything else.
                if let Some((.., arguments)) = self.calls.last_mut() {
                    arguments.push_str(&delta);
                }
            }
            LlmEvent::Done { finish, usage } => (self.finish, self.usage) = (Some(finish), usage),
        }
    }

    /// The answer.
    pub(super) fn object(self, head: Head) -> Value {
        let Head { id, created, model } = head;
        let call = |(id, name, arguments): (String, String, String)| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let calls: Vec<Value> = self.calls.into_iter().map(call).collect();
        let text = self.text.or_else(|| calls.is_empty().then(String::new));
        let mut message = json!({"role": "assistant", "content": text, "refusal": null, "annotations": []});
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        let finish = self.finish.map(reason);
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish});
        json!({
            "id": id, "object": "chat.completion", "created": created, "model": model, "choices": [choice],
            "usage": usage_of(self.usage),
        })
    }
}

fn reason(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

fn usage_of(usage: TokenUsage) -> Value {
    let TokenUsage { input, cached, output } = usage;
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { id: "chatcmpl-1".into(), created: 7, model: "onnx".into() }
    }

    fn events() -> Vec<LlmEvent> {
        let argument = |delta: &str| LlmEvent::ToolCallArguments { index: 0, delta: delta.into() };
        vec![
            LlmEvent::ToolCallStart { index: 0, id: "c1".into(), name: "clock".into() },
            argument("{\"zone\":"),
            argument("\"UTC\"}"),
            LlmEvent::Done {
                finish: FinishReason::ToolCalls,
                usage: TokenUsage { input: 9, cached: 4, output: 3 },
            },
        ]
    }

    #[test]
    fn an_answer_has_its_chunks() {
        let mut chunks = Chunks::new(head(), true);
        let all: Vec<Value> = events().into_iter().flat_map(|event| chunks.of(event)).collect();
        let deltas: Vec<&Value> = all.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
        assert_eq!(deltas[0], &json!({"role": "assistant", "content": null, "refusal": null}));
        let call = json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "clock", "arguments": ""}});
        assert_eq!(deltas[1]["tool_calls"], json!([call]));
        assert_eq!(deltas[3]["tool_calls"], json!([{"index": 0, "function": {"arguments": "\"UTC\"}"}}]));
        assert_eq!((deltas[4], &all[4]["choices"][0]["finish_reason"]), (&json!({}), &json!("tool_calls")));
        assert_eq!((&all[5]["choices"], &all[5]["usage"]["total_tokens"]), (&json!([]), &json!(12)));
        assert!(all[..5].iter().all(|chunk| chunk["usage"].is_null() && chunk["id"] == "chatcmpl-1"));
        let mut plain = Chunks::new(head(), false);
        let text = plain.of(LlmEvent::Text("Hi".into()));
        assert_eq!(text[0]["choices"][0]["delta"]["content"], "");
        assert_eq!(text[1]["choices"][0]["delta"], json!({"content": "Hi"}));
        assert!(text[1].get("usage").is_none());
    }

    #[test]
    fn a_whole_answer_is_the_same() {
        let mut whole = Whole::default();
        events().into_iter().for_each(|event| whole.take(event));
        let object = whole.object(head());
        let message = &object["choices"][0]["message"];
        assert_eq!(message["content"], Value::Null);
        assert_eq!(
            message["tool_calls"][0]["function"],
            json!({"name": "clock", "arguments": "{\"zone\":\"UTC\"}"})
        );
        assert_eq!(object["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
        let silent = Whole { finish: Some(FinishReason::Stop), ..Whole::default() }.object(head());
        assert_eq!(silent["choices"][0]["message"]["content"], "");
    }
}
