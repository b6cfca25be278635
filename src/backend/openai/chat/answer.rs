//! Reads an answer, piece by piece or whole, whatever the server makes of OpenAI's format. Pure.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;

use super::calls::{Calls, ToolDelta};
use super::fitting::BYTES_PER_TOKEN;
use super::think::Think;
use crate::backend::openai::fault::Said;
use crate::engine::llm::{FinishReason, LlmEvent, TokenUsage};

/// Why an answer cannot be read on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server says that it failed; with the HTTP status, if it gives one within.
    Said(Option<u16>, Said),
    /// What came is no answer.
    Broken(&'static str),
    /// The server's filter let nothing through.
    Filtered,
}

/// One answer, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Answer {
    think: Think,
    calls: Calls,
    reason: Option<String>,
    usage: Option<TokenUsage>,
    /// Bytes of all that was generated, thoughts included; usage is estimated by it where the server tells none.
    bytes: usize,
    /// Estimated tokens of the request.
    asked: usize,
    has_text: bool,
}

/// A piece of an answer, or a whole one.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Option<u64>,
    /// In a stream.
    #[serde(default)]
    delta: Option<Delta>,
    /// In a whole answer.
    #[serde(default)]
    message: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<Content>,
    /// A refusal is said like an answer.
    #[serde(default)]
    refusal: Option<String>,
    /// Thoughts are not said; servers name them so or so, or both.
    #[serde(default)]
    reasoning_content: Option<Value>,
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolDelta>>,
}

/// Text, or parts of which some are text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Value>),
}

impl Content {
    fn into_text(self) -> String {
        let part = |part: &Value| {
            let is_text = part["type"].as_str().is_none_or(|kind| matches!(kind, "text" | "output_text"));
            is_text.then(|| part["text"].as_str().unwrap_or_default().to_owned())
        };
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.iter().filter_map(part).collect(),
        }
    }
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u32>,
    #[serde(default)]
    completion_tokens: Option<u32>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u32>,
}

impl Answer {
    /// Notes how many tokens the request has, by estimate.
    pub(super) fn asked(&mut self, tokens: usize) {
        self.asked = tokens;
    }

    /// Reads one piece, or a whole answer.
    pub(super) fn take(&mut self, json: &str, ready: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let chunk: Chunk =
            serde_json::from_str(json).map_err(|_| Fault::Broken("it sent what is no piece of an answer"))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(said(&error));
        }
        if let Some(usage) = chunk.usage {
            self.note(&usage);
        }
        // Other choices are answers that nobody asked for.
        let choices = chunk.choices.unwrap_or_default().into_iter();
        for choice in choices.filter(|choice| choice.index.unwrap_or_default() == 0) {
            let delta = choice.delta.or(choice.message).unwrap_or_default();
            self.read(delta, ready);
            self.reason = choice.finish_reason.filter(|reason| !reason.is_empty()).or(self.reason.take());
        }
        Ok(())
    }

    fn read(&mut self, delta: Delta, ready: &mut VecDeque<LlmEvent>) {
        let thought = delta.reasoning_content.as_ref().or(delta.reasoning.as_ref());
        self.bytes += thought.and_then(Value::as_str).unwrap_or_default().len();
        for text in [delta.content.map(Content::into_text), delta.refusal].into_iter().flatten() {
            self.bytes += text.len();
            let text = self.think.take(&text);
            self.say(text, ready);
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.bytes += self.calls.take(call, ready);
        }
    }

    fn say(&mut self, text: String, ready: &mut VecDeque<LlmEvent>) {
        // Once a call has begun, its arguments come before anything else.
        if text.is_empty() || self.calls.hold(&text) {
            return;
        }
        self.has_text = true;
        ready.push_back(LlmEvent::Text(text));
    }

    fn note(&mut self, usage: &Usage) {
        let cached = usage.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        self.usage = Some(TokenUsage {
            input: usage.prompt_tokens.unwrap_or_else(|| tokens(self.asked)),
            cached: cached.unwrap_or_default(),
            output: usage.completion_tokens.unwrap_or_else(|| tokens(self.bytes / BYTES_PER_TOKEN)),
        });
    }

    /// The body ended without the mark of the end: whole only if a reason to end was given.
    pub(super) fn finish_without_mark(&mut self, ready: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        if self.reason.is_some() {
            return self.finish(ready);
        }
        Err(Fault::Broken("its stream ended before the answer did"))
    }

    /// The answer is complete.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<LlmEvent>) -> Result<(), Fault> {
        let rest = self.think.rest();
        self.say(rest, ready);
        let (count, late) = self.calls.finish(ready)?;
        let has_output = self.has_text || count > 0 || !late.is_empty();
        if !late.is_empty() {
            ready.push_back(LlmEvent::Text(late));
        }
        let finish = match self.reason.as_deref() {
            Some("content_filter") if !has_output => return Err(Fault::Filtered),
            Some("error") => return Err(Fault::Broken("it gave up within its answer")),
            // Many servers say `stop` behind calls too.
            _ if count > 0 => FinishReason::ToolCalls,
            Some("length" | "max_tokens") => FinishReason::Length,
            None if !has_output => return Err(Fault::Broken("it answered with nothing")),
            _ => FinishReason::Stop,
        };
        let estimated = TokenUsage {
            input: tokens(self.asked),
            cached: 0,
            output: tokens(self.bytes.div_ceil(BYTES_PER_TOKEN)),
        };
        ready.push_back(LlmEvent::Done { finish, usage: self.usage.unwrap_or(estimated) });
        Ok(())
    }
}

fn tokens(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A failure that is told within an answer.
fn said(error: &Value) -> Fault {
    let number = |key: &str| error.get(key).and_then(Value::as_u64);
    let status = number("code").or_else(|| number("status")).filter(|code| (400..600).contains(code));
    Fault::Said(
        status.and_then(|code| u16::try_from(code).ok()),
        Said::of(&serde_json::json!({ "error": error })),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What tests of whole servers do not reach: pieces in any order, and what is no piece at all.
    fn read(pieces: &[String]) -> (Vec<LlmEvent>, Result<(), Fault>) {
        let (mut answer, mut ready) = (Answer::default(), VecDeque::new());
        let outcome = pieces.iter().try_for_each(|piece| answer.take(piece, &mut ready));
        let outcome = outcome.and_then(|()| answer.finish(&mut ready));
        (ready.into(), outcome)
    }

    fn piece(delta: &Value) -> String {
        serde_json::json!({ "choices": [{ "delta": delta }] }).to_string()
    }

    #[test]
    fn text_behind_a_call_waits_for_its_arguments() {
        let call = |arguments: &str| {
            piece(
                &serde_json::json!({ "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "f", "arguments": arguments } }] }),
            )
        };
        let text = piece(&serde_json::json!({ "content": "Wait." }));
        let (events, outcome) = read(&[call("{\"x\":"), text, call("1}")]);
        assert_eq!(outcome, Ok(()));
        assert!(matches!(&events[0], LlmEvent::ToolCallStart { index: 0, .. }), "{events:?}");
        assert_eq!(events[3], LlmEvent::Text("Wait.".into()));
    }

    #[test]
    fn other_choices_and_empty_fields_are_passed_over() {
        let other =
            r#"{"choices": [{"index": 1, "delta": {"content": "No."}}, {"index": 0, "delta": null}]}"#;
        let empty = r#"{"id": "x", "choices": null, "usage": null, "error": null}"#;
        let last =
            r#"{"choices": [{"delta": {"content": "", "tool_calls": null}, "finish_reason": "stop"}]}"#;
        let (events, outcome) = read(&[other, empty, last].map(str::to_owned));
        assert_eq!((events.len(), outcome), (1, Ok(())));
    }

    fn delta() -> impl Strategy<Value = String> {
        let text = "(<think>|</think>|a|)".prop_map(|text| piece(&serde_json::json!({ "content": text })));
        let index = prop::option::of(0u64..3);
        let id = prop::option::of("[ab]?");
        let name = prop::option::of("[fg]?");
        let call = (index, id, name, "[a-z{}]{0,3}").prop_map(|(index, id, name, arguments)| {
            piece(&serde_json::json!({ "tool_calls": [
                { "index": index, "id": id, "function": { "name": name, "arguments": arguments } },
            ] }))
        });
        let noise = prop::sample::select(vec!["{}", "[]", "7", "{\"choices\": 1}", "{\"choices\": [{}]}"]);
        prop_oneof![4 => text, 8 => call, 1 => noise.prop_map(str::to_owned)]
    }

    proptest! {
        #[test]
        fn calls_come_in_order_with_their_arguments_in_one_row(pieces in prop::collection::vec(delta(), 0..20)) {
            let (events, outcome) = read(&pieces);
            let mut calls = 0;
            let mut open = None;
            for event in &events {
                match event {
                    LlmEvent::ToolCallStart { index, id, name } => {
                        prop_assert_eq!(*index, calls);
                        prop_assert!(!id.is_empty() && !name.is_empty());
                        (calls, open) = (calls + 1, Some(*index));
                    }
                    LlmEvent::ToolCallArguments { index, delta } => {
                        prop_assert_eq!(Some(*index), open);
                        prop_assert!(!delta.is_empty());
                    }
                    LlmEvent::Text(text) => {
                        prop_assert!(!text.is_empty());
                        open = None;
                    }
                    LlmEvent::Done { finish, .. } => prop_assert_eq!(*finish == FinishReason::ToolCalls, calls > 0),
                }
            }
            prop_assert_eq!(outcome.is_ok(), matches!(events.last(), Some(LlmEvent::Done { .. })));
        }

        #[test]
        fn no_text_makes_it_panic(pieces in prop::collection::vec(".{0,40}", 0..4)) {
            drop(read(&pieces));
        }
    }
}
