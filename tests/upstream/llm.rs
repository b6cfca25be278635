//! The language model behind a URL.

use std::sync::Arc;

use antiphon::backend::openai::{MaxTokensField, OpenAiLlm, OpenAiLlmConfig, OpenAiSamplingConfig};
use antiphon::engine::compute::Urgency;
use antiphon::engine::llm::{
    ChatMessage, ChatRole, FinishReason, LlmEngine, LlmEvent, LlmRequest, TokenUsage, ToolCall, ToolChoice,
    ToolSpec, Truncation,
};
use antiphon::engine::{CancelFlag, EngineError};
use futures::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use crate::reply::{Act, Reply};
use crate::server::{DEADLINE, FaultServer};

pub(crate) fn ask(text: &str) -> LlmRequest {
    let messages =
        [ChatMessage::text(ChatRole::System, "Be brief."), ChatMessage::text(ChatRole::User, text)];
    LlmRequest {
        messages: messages.into(),
        tools: Arc::from([]),
        tool_choice: ToolChoice::Auto,
        max_tokens: Some(64),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    }
}

pub(crate) fn config(server: &FaultServer) -> OpenAiLlmConfig {
    OpenAiLlmConfig { url: server.url(), model: "m".into(), ..OpenAiLlmConfig::default() }
}

pub(crate) fn engine(server: &FaultServer) -> OpenAiLlm {
    OpenAiLlm::open(&config(server)).expect("it opens")
}

pub(crate) async fn all(engine: &OpenAiLlm, request: LlmRequest) -> Vec<Result<LlmEvent, EngineError>> {
    let stream = engine.generate(request, CancelFlag::new());
    timeout(DEADLINE, stream.collect()).await.expect("it ends in time")
}

pub(crate) fn text_of(events: &[Result<LlmEvent, EngineError>]) -> String {
    let text = |event: &Result<LlmEvent, EngineError>| match event {
        Ok(LlmEvent::Text(text)) => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

#[tokio::test]
async fn an_answer_comes_word_by_word_over_one_connection() {
    let server = FaultServer::start([Reply::answer("Half past four, I think.")]).await;
    let engine = engine(&server);
    for _ in 0..3 {
        let events = all(&engine, ask("What time is it?")).await;
        assert_eq!(text_of(&events), "Half past four, I think.");
        assert_eq!(events.len(), 6, "{events:?}");
        let usage = TokenUsage { input: 11, cached: 0, output: 7 };
        assert_eq!(events[5], Ok(LlmEvent::Done { finish: FinishReason::Stop, usage }));
    }
    assert_eq!(server.connections(), 1);
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(seen.header("user-agent"), Some(concat!("antiphon/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(seen.header("authorization"), None);
    let body = seen.json();
    assert_eq!(body["stream"], true);
    assert_eq!(body["stream_options"]["include_usage"], true);
    assert_eq!(body["max_tokens"], 64);
    assert_eq!(body["messages"][1]["content"], "What time is it?");
}

/// What comes of one reply.
pub(crate) async fn answered(reply: Reply) -> Vec<Result<LlmEvent, EngineError>> {
    let server = FaultServer::start([reply]).await;
    all(&engine(&server), ask("Say something.")).await
}

fn done(events: &[Result<LlmEvent, EngineError>]) -> (FinishReason, TokenUsage) {
    match events.last() {
        Some(Ok(LlmEvent::Done { finish, usage })) => (*finish, *usage),
        other => panic!("it is not done: {other:?}"),
    }
}

#[tokio::test]
async fn the_body_says_what_the_request_and_the_settings_say() {
    let server = FaultServer::start([Reply::answer("Yes.")]).await;
    let extra =
        json!({ "chat_template_kwargs": { "enable_thinking": false }, "temperature": 0.1, "seed": 7 });
    let config = OpenAiLlmConfig {
        max_tokens: Some(99),
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        sampling: OpenAiSamplingConfig { temperature: Some(0.7), top_p: Some(0.9) },
        extra: extra.as_object().expect("an object").clone(),
        ..config(&server)
    };
    let call = ToolCall { id: "c1".into(), name: "clock".into(), arguments: "{\"zone\":\"CET\"}".into() };
    let messages = [
        ChatMessage::text(ChatRole::User, "Time?"),
        ChatMessage { tool_calls: vec![call], ..ChatMessage::text(ChatRole::Assistant, "") },
        ChatMessage { tool_call_id: Some("c1".into()), ..ChatMessage::text(ChatRole::Tool, "16:30") },
    ];
    let parameters = json!({ "type": "object", "properties": { "zone": { "type": "string" } } });
    let tool = ToolSpec {
        name: "clock".into(),
        description: "Tells the time.".into(),
        parameters: parameters.clone(),
    };
    let request = LlmRequest {
        messages: messages.into(),
        tools: [tool].into(),
        tool_choice: ToolChoice::Function("clock".into()),
        max_tokens: None,
        ..ask("")
    };
    all(&OpenAiLlm::open(&config).expect("it opens"), request).await;
    let function = json!({ "name": "clock", "description": "Tells the time.", "parameters": parameters });
    let expected = json!({
        "model": "m",
        "messages": [
            { "role": "user", "content": "Time?" },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "clock", "arguments": "{\"zone\":\"CET\"}" } },
            ] },
            { "role": "tool", "content": "16:30", "tool_call_id": "c1" },
        ],
        "stream": true,
        "stream_options": { "include_usage": true },
        "tools": [{ "type": "function", "function": function }],
        "tool_choice": { "type": "function", "function": { "name": "clock" } },
        "max_completion_tokens": 99,
        "temperature": 0.1,
        "top_p": 0.9,
        "chat_template_kwargs": { "enable_thinking": false },
        "seed": 7,
    });
    assert_eq!(server.seen()[0].json(), expected);
}

/// A tool call's start and all of its arguments, for each call.
fn calls_of(events: &[Result<LlmEvent, EngineError>]) -> Vec<(usize, String, String)> {
    let mut calls: Vec<(usize, String, String)> = Vec::new();
    for event in events {
        match event {
            Ok(LlmEvent::ToolCallStart { index, name, id }) => {
                assert!(!id.is_empty());
                calls.push((*index, name.clone(), String::new()));
            }
            Ok(LlmEvent::ToolCallArguments { index, delta }) => {
                let (last, _, arguments) = calls.last_mut().expect("its start comes first");
                assert_eq!(last, index, "arguments come in one row");
                arguments.push_str(delta);
            }
            _ => {}
        }
    }
    calls
}

#[tokio::test]
async fn tool_calls_are_understood_from_many_servers() {
    let call = |index: serde_json::Value, id: &str, name: &str, arguments: serde_json::Value| {
        let mut call = json!({ "type": "function", "function": { "arguments": arguments } });
        if !index.is_null() {
            call["index"] = index;
        }
        if !id.is_empty() {
            call["id"] = json!(id);
        }
        if !name.is_empty() {
            call["function"]["name"] = json!(name);
        }
        json!({ "tool_calls": [call] })
    };
    let null = serde_json::Value::Null;
    // OpenAI: pieces by index. Interleaved: nobody should, and somebody does. No index, whole arguments. All counted
    // as the first. No ids. Objects in place of text. Nothing at all.
    let table = [
        vec![
            call(json!(0), "a", "f", json!("")),
            call(json!(0), "", "", json!("{\"x\"")),
            call(json!(0), "", "", json!(":1}")),
            call(json!(1), "b", "g", json!("{}")),
        ],
        vec![
            call(json!(0), "a", "f", json!("{\"x\"")),
            call(json!(1), "b", "g", json!("{")),
            call(json!(0), "", "", json!(":1}")),
            call(json!(1), "", "", json!("}")),
        ],
        vec![call(null.clone(), "a", "f", json!("{\"x\":1}")), call(null.clone(), "b", "g", json!("{}"))],
        vec![call(json!(0), "a", "f", json!("{\"x\":1}")), call(json!(0), "b", "g", json!("{}"))],
        vec![call(null.clone(), "", "f", json!("{\"x\":1}")), call(null.clone(), "", "g", json!("{}"))],
        vec![call(json!(0), "", "f", json!({"x": 1})), call(json!(1), "", "g", null.clone())],
    ];
    let expected = vec![(0, "f".to_owned(), "{\"x\":1}".to_owned()), (1, "g".to_owned(), "{}".to_owned())];
    for (row, deltas) in table.iter().enumerate() {
        for finish in ["tool_calls", "stop"] {
            let reply = deltas.iter().fold(Reply::events().text("One moment."), Reply::delta);
            let events = answered(reply.finish(finish).done()).await;
            assert_eq!(calls_of(&events), expected, "row {row}: {events:?}");
            assert_eq!(done(&events).0, FinishReason::ToolCalls, "row {row}");
            assert_eq!(text_of(&events), "One moment.");
        }
    }
    let all_at_once = json!({ "tool_calls": [
        { "index": 0, "id": "a", "function": { "name": "f", "arguments": "{\"x\":1}" } },
        { "index": 1, "id": "b", "function": { "name": "g", "arguments": "{}" } },
    ] });
    let events = answered(Reply::events().delta(&all_at_once).finish("tool_calls").done()).await;
    assert_eq!(calls_of(&events), expected);
}

#[tokio::test]
async fn thoughts_are_not_spoken() {
    let reply = Reply::events()
        .delta(&json!({ "reasoning_content": "Let me see." }))
        .delta(&json!({ "reasoning": "Hm." }))
        .delta(&json!({ "reasoning": "Both.", "reasoning_content": "Both.", "content": null }))
        .text("<thi")
        .text("nk>They want")
        .text(" a yes.</think>\n\n")
        .text("Yes.");
    let events = answered(reply.finish("stop").done()).await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(text_of(&events), "Yes.");
}

#[tokio::test]
async fn ends_of_all_sorts_are_understood() {
    let table = [
        ("no mark", Reply::events().text("Yes.").finish("stop").end(), FinishReason::Stop),
        ("no reason", Reply::events().text("Yes.").done(), FinishReason::Stop),
        ("length", Reply::events().text("Yes").finish("length").done(), FinishReason::Length),
        ("filter", Reply::events().text("Yes").finish("content_filter").done(), FinishReason::Stop),
        (
            "no type",
            {
                let mut reply = Reply::chunked("").text("Yes.").finish("stop").done();
                reply.acts.push(Act::Wait(std::time::Duration::ZERO));
                reply
            },
            FinishReason::Stop,
        ),
        (
            "until close",
            {
                let text =
                    json!({ "choices": [{ "delta": { "content": "Yes." }, "finish_reason": "stop" }] });
                let raw = format!(": keep-alive\n\ndata: {text}\r\n\r\ndata:[DONE]\n\n");
                Reply::until_close("text/event-stream").then(Act::Raw(raw.into_bytes()))
            },
            FinishReason::Stop,
        ),
        (
            "refusal",
            Reply::events().delta(&json!({ "refusal": "I cannot." })).finish("stop").done(),
            FinishReason::Stop,
        ),
        (
            "parts",
            Reply::events()
                .delta(&json!({ "content": [
            { "type": "thinking", "thinking": "Hm." }, { "type": "text", "text": "Yes." },
        ] }))
                .finish("stop")
                .done(),
            FinishReason::Stop,
        ),
    ];
    for (name, reply, finish) in table {
        let events = answered(reply).await;
        let (found, usage) = done(&events);
        assert_eq!(found, finish, "{name}");
        assert!(!text_of(&events).is_empty(), "{name}");
        assert!(usage.input > 5 && usage.output >= 1, "estimated where it is not told: {name}, {usage:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let message = json!({ "role": "assistant", "content": "<think>Hm.</think>Yes.", "tool_calls": [
        { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } },
    ] });
    let usage = json!({ "prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": { "cached_tokens": 8 } });
    let whole = json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "tool_calls" }], "usage": usage });
    let events = answered(Reply::json(200, &whole)).await;
    assert_eq!(text_of(&events), "Yes.");
    assert_eq!(calls_of(&events), [(0, "f".to_owned(), "{}".to_owned())]);
    assert_eq!(done(&events), (FinishReason::ToolCalls, TokenUsage { input: 12, cached: 8, output: 3 }));
}
