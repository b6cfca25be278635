//! The language model behind a URL.

use std::sync::Arc;

use antiphon::backend::openai::{OpenAiLlm, OpenAiLlmConfig};
use antiphon::engine::compute::Urgency;
use antiphon::engine::llm::{
    ChatMessage, ChatRole, FinishReason, LlmEngine, LlmEvent, LlmRequest, TokenUsage, ToolChoice, Truncation,
};
use antiphon::engine::{CancelFlag, EngineError};
use futures::StreamExt;
use tokio::time::timeout;

use crate::server::{DEADLINE, FaultServer, Reply};

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

fn engine(server: &FaultServer) -> OpenAiLlm {
    OpenAiLlm::open(&config(server)).expect("it opens")
}

async fn all(engine: &OpenAiLlm, request: LlmRequest) -> Vec<Result<LlmEvent, EngineError>> {
    let stream = engine.generate(request, CancelFlag::new());
    timeout(DEADLINE, stream.collect()).await.expect("it ends in time")
}

fn text_of(events: &[Result<LlmEvent, EngineError>]) -> String {
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
