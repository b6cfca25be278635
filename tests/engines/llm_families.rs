//! The language model by exports of each family and variant, through the engine: what `models/interface/llm.py` made,
//! with random weights. Its unit tests compare token by token; here are answers, as callers get them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use antiphon::backend::onnx_llm::{OnnxLlm, OnnxLlmConfig, SamplingConfig};
use antiphon::engine::compute::{Unlimited, Urgency};
use antiphon::engine::llm::{
    ChatMessage, ChatRole, FinishReason, LlmEngine, LlmEvent, LlmRequest, TokenUsage, ToolChoice, ToolSpec,
    Truncation,
};
use antiphon::engine::{CancelFlag, EngineError};
use futures::TryStreamExt;
use serde_json::{Value, json};

const NEW_TOKENS: u32 = 24;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(family: &str, graph: &str) -> OnnxLlm {
    let config = OnnxLlmConfig {
        model: root("tests/fixtures/llm").join(family),
        file: Some(Path::new("onnx").join(graph)),
        ..OnnxLlmConfig::default()
    };
    let library = root(".cache/onnxruntime/libonnxruntime.so");
    OnnxLlm::load(&config, &library, Arc::new(Unlimited))
        .unwrap_or_else(|error| panic!("{family} {graph}: {error}"))
}

fn request(messages: Vec<ChatMessage>) -> LlmRequest {
    LlmRequest {
        messages: messages.into(),
        tools: [].into(),
        tool_choice: ToolChoice::Auto,
        max_tokens: Some(NEW_TOKENS),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    }
}

async fn answer(
    llm: &OnnxLlm,
    request: LlmRequest,
) -> Result<(String, FinishReason, TokenUsage), EngineError> {
    let events: Vec<LlmEvent> = llm.generate(request, CancelFlag::new()).try_collect().await?;
    let mut text = String::new();
    for event in events {
        match event {
            LlmEvent::Text(piece) => text.push_str(&piece),
            LlmEvent::Done { finish, usage } => return Ok((text, finish, usage)),
            _ => {}
        }
    }
    panic!("the last event is Done");
}

/// Cases without tools.
fn cases(family: &str) -> Vec<(Vec<ChatMessage>, Value)> {
    let path = root("tests/fixtures/llm").join(family).join("reference.json");
    let cases: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the fixture")).expect("JSON");
    let plain = cases.into_iter().filter(|case| case["tools"].is_null());
    let message = |value: &Value| {
        let role = match value["role"].as_str() {
            Some("system") => ChatRole::System,
            Some("user") => ChatRole::User,
            _ => ChatRole::Assistant,
        };
        ChatMessage::text(role, value["content"].as_str().expect("text"))
    };
    plain
        .map(|case| (case["messages"].as_array().expect("messages").iter().map(message).collect(), case))
        .collect()
}

#[tokio::test]
async fn answers_are_those_of_transformers() {
    let mut ended = 0;
    for family in ["qwen2", "qwen3", "gemma3"] {
        let llm = load(family, "model.onnx");
        for (messages, case) in cases(family) {
            let (text, finish, usage) = answer(&llm, request(messages)).await.expect("an answer");
            let count = |key: &str| u32::try_from(case[key].as_array().expect("tokens").len()).expect("few");
            // Gemma's bytes that make no character are printed otherwise while they stream.
            if family != "gemma3" {
                assert_eq!(text, case["text"].as_str().expect("text").trim(), "{family} {}", case["name"]);
            }
            assert_eq!((usage.input, usage.output), (count("tokens"), count("greedy")), "{family}");
            let is_short = usage.output < NEW_TOKENS;
            assert!(!is_short || finish == FinishReason::Stop, "{family} {}: {finish:?}", case["name"]);
            ended += u32::from(is_short);
        }
    }
    assert!(ended > 0, "no answer came to the second end that generation_config.json names");
}

/// int4, int8 and half precision, by both exporters. What they compute differs with the CPU; how much must be read
/// again does not.
#[tokio::test]
async fn every_variant_runs_and_keeps_what_it_read() {
    let variants = [
        ("llama3", "model_fp16.onnx"),
        ("llama3", "model_q4.onnx"),
        ("qwen2", "model_quantized.onnx"),
        ("qwen2", "model_q4f16.onnx"),
        ("qwen3", "model_q4.onnx"),
        ("smollm3", "model.onnx"),
    ];
    for (family, graph) in variants {
        let llm = load(family, graph);
        for (messages, case) in cases(family) {
            let (first, _, fresh) = answer(&llm, request(messages.clone())).await.expect("an answer");
            let (again, _, kept) = answer(&llm, request(messages)).await.expect("an answer");
            assert!(fresh.output > 0 && fresh.input == kept.input, "{family} {graph}: {fresh:?}");
            assert_eq!(kept.cached, kept.input - 1, "{family} {graph} {}: {kept:?}", case["name"]);
            if ["model.onnx", "model_fp16.onnx"].contains(&graph) {
                // The others round a step of one token otherwise than one of many.
                assert_eq!(first, again, "{family} {graph}");
            }
        }
    }
}

#[tokio::test]
async fn a_family_without_tools_says_so_and_talks_without_them() {
    let llm = load("gemma3", "model.onnx");
    let say = |text: &str| ChatMessage::text(ChatRole::User, text);
    let weather = ToolSpec { name: "weather".into(), description: String::new(), parameters: json!({}) };
    let asked = LlmRequest { tools: [weather].into(), ..request(vec![say("How is Oslo?")]) };
    let error = answer(&llm, asked.clone()).await.expect_err("no tools").to_string();
    assert!(error.contains("no place for tools") && error.contains("tool_choice"), "{error}");
    answer(&llm, LlmRequest { tool_choice: ToolChoice::None, ..asked }).await.expect("an answer without");
    // Two messages in a row, and an answer before any question: Gemma's template refuses both.
    let talk = vec![ChatMessage::text(ChatRole::Assistant, "Hi."), say("Wait."), say("How are you?")];
    let (_, _, usage) = answer(&llm, request(talk)).await.expect("an answer");
    assert!(usage.input > 10, "{usage:?}");
}

#[tokio::test]
async fn llama_must_call_in_its_own_form() {
    let llm = load("llama3", "model.onnx");
    let weather = ToolSpec { name: "weather".into(), description: String::new(), parameters: json!({}) };
    let asked = LlmRequest {
        tools: [weather].into(),
        tool_choice: ToolChoice::Function("weather".into()),
        ..request(vec![ChatMessage::text(ChatRole::User, "How is Oslo?")])
    };
    // Random weights write no JSON: the call is begun, and what follows ends it as broken.
    let error = answer(&llm, asked).await.expect_err("broken").to_string();
    assert!(error.contains("tool call"), "{error}");
}

#[tokio::test]
async fn a_drawn_answer_is_drawn_only_where_the_settings_say_so() {
    let config = OnnxLlmConfig {
        model: root("tests/fixtures/llm/qwen2"),
        file: Some("onnx/model.onnx".into()),
        sampling: SamplingConfig { temperature: Some(2.0), ..SamplingConfig::default() },
        ..OnnxLlmConfig::default()
    };
    let library = root(".cache/onnxruntime/libonnxruntime.so");
    let hot = OnnxLlm::load(&config, &library, Arc::new(Unlimited)).expect("it loads");
    let (messages, case) = cases("qwen2").remove(0);
    let mut drawn = Vec::new();
    for _ in 0..4 {
        // So hot, it may begin a call that it never ends: that was drawn too.
        let text = answer(&hot, request(messages.clone())).await.map(|answer| answer.0);
        drawn.push(text.unwrap_or_else(|broken| broken.to_string()));
    }
    assert!(drawn.iter().any(|text| text != case["text"].as_str().expect("text").trim()), "{drawn:?}");
}
