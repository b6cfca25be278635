//! Tiny models of each family with random weights, against what `transformers` makes of them: the same prompts, the
//! same tokens. `models/interface/llm.py` made both.

use serde_json::Value;

use super::*;
use crate::backend::onnx_llm::model::Model;
use crate::backend::onnx_llm::template::ChatTemplate;
use crate::engine::llm::ToolCall;

const FAMILIES: [&str; 5] = ["llama3", "qwen2", "qwen3", "smollm3", "gemma3"];

struct Case {
    prompt: Option<String>,
    tokens: Option<Vec<u32>>,
    greedy: Vec<u32>,
    name: String,
    messages: Vec<ChatMessage>,
    tools: Vec<ToolSpec>,
}

fn numbers(value: &Value) -> Option<Vec<u32>> {
    let number = |value: &Value| u32::try_from(value.as_u64().expect("a token")).expect("a token");
    value.as_array().map(|list| list.iter().map(number).collect())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn message(value: &Value) -> ChatMessage {
    let role = match value["role"].as_str() {
        Some("system") => ChatRole::System,
        Some("user") => ChatRole::User,
        Some("tool") => ChatRole::Tool,
        _ => ChatRole::Assistant,
    };
    let call = |call: &Value| ToolCall {
        id: text(&call["id"]),
        name: text(&call["function"]["name"]),
        arguments: call["function"]["arguments"].to_string(),
    };
    ChatMessage {
        tool_calls: value["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
        tool_call_id: value["tool_call_id"].as_str().map(str::to_owned),
        ..ChatMessage::text(role, text(&value["content"]))
    }
}

fn case(value: &Value) -> Case {
    let tool = |tool: &Value| ToolSpec {
        name: text(&tool["function"]["name"]),
        description: text(&tool["function"]["description"]),
        parameters: tool["function"]["parameters"].clone(),
    };
    Case {
        prompt: value["prompt"].as_str().map(str::to_owned),
        tokens: numbers(&value["tokens"]),
        greedy: numbers(&value["greedy"]).unwrap_or_default(),
        name: text(&value["name"]),
        messages: value["messages"].as_array().expect("messages").iter().map(message).collect(),
        tools: value["tools"].as_array().into_iter().flatten().map(tool).collect(),
    }
}

fn cases(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn folder(family: &str) -> PathBuf {
    root("tests/fixtures/llm").join(family)
}

fn model(family: &str) -> Model {
    let config = OnnxLlmConfig {
        model: folder(family),
        file: Some("onnx/model.onnx".into()),
        max_tokens: 24,
        ..OnnxLlmConfig::default()
    };
    Model::load(&config, &root(".cache/onnxruntime/libonnxruntime.so"), Arc::new(Unlimited))
        .expect("it loads")
}

/// The day of the fixture is not that of the test.
fn without_date(prompt: &str) -> String {
    let line = |line: &str| match line.strip_prefix("Today Date: ") {
        Some(date) if date.len() >= "1 May 2026".len() => "Today Date: TODAY".to_owned(),
        _ => line.to_owned(),
    };
    prompt.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn render(template: &ChatTemplate, case: &Case) -> Result<String, String> {
    let messages: Vec<&ChatMessage> = case.messages.iter().collect();
    Ok(without_date(&template.render(&messages, &case.tools)?))
}

#[test]
fn templates_render_as_transformers_renders_them() {
    for family in FAMILIES {
        let model = model(family);
        let cases: Vec<Case> = cases(&folder(family).join("reference.json")).iter().map(case).collect();
        assert!(cases.len() >= 2, "{family}");
        for case in cases {
            let prompt = render(&model.template, &case).expect("it renders");
            assert_eq!(Some(&prompt), case.prompt.as_ref(), "{family}: {}", case.name);
            let encoded = model.tokenizer.encode_fast(prompt, false).expect("it encodes");
            assert!(case.tokens.is_none_or(|tokens| tokens == encoded.get_ids()), "{family}: {}", case.name);
        }
    }
}

/// Templates that are not in the repository: `ANTIPHON_CHAT_TEMPLATES` is a folder that `llm.py templates` has read.
#[test]
fn templates_of_one_s_own_render_as_transformers_renders_them() {
    #[expect(clippy::disallowed_methods, reason = "a setting of this test alone")]
    let Ok(folder) = std::env::var("ANTIPHON_CHAT_TEMPLATES") else { return };
    let mut wrong = Vec::new();
    for value in cases(&Path::new(&folder).join("rendered.json")) {
        let (case, file) = (case(&value), text(&value["file"]));
        let settings = serde_json::json!({ "bos_token": "<s>", "eos_token": "<|im_end|>" });
        let rendered =
            ChatTemplate::new(&settings, &value["template"]).and_then(|template| render(&template, &case));
        match (case.prompt, rendered) {
            // Where `transformers` refuses, the conversation is arranged anew: nothing to compare.
            (None, _) => {}
            (Some(prompt), Ok(rendered)) if without_date(&prompt) == rendered => {}
            (prompt, rendered) => wrong.push(format!("{file} {}: {prompt:?}\n   {rendered:?}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The prompt in pieces, as a server reads it, then a token each.
fn greedy(model: &mut Model, prompt: &[u32]) -> Vec<u32> {
    let mut cache = model.decoder.empty_cache().expect("a cache");
    let prompt: Vec<i64> = prompt.iter().map(|token| i64::from(*token)).collect();
    let (begin, last) = prompt.split_at(prompt.len() - 1 - prompt.len() % 5);
    for chunk in begin.chunks(17) {
        model.decoder.read(&mut cache, chunk).expect("a step");
    }
    let mut logits = model.decoder.step(&mut cache, last).expect("a step");
    let mut sampler = sampler::Sampler::new(model.sampling, &[]);
    let mut tokens = Vec::new();
    while tokens.len() < 24 {
        let token = sampler.choose(&mut logits).expect("a token");
        tokens.push(token);
        if model.ends.contains(&token) {
            break;
        }
        logits = model.decoder.step(&mut cache, &[i64::from(token)]).expect("a step");
    }
    tokens
}

#[test]
fn the_decoder_gives_the_tokens_of_transformers() {
    for family in FAMILIES {
        let mut model = model(family);
        for case in cases(&folder(family).join("reference.json")).iter().map(case) {
            let Some(prompt) = case.tokens else { continue };
            assert_eq!(greedy(&mut model, &prompt), case.greedy, "{family}: {}", case.name);
        }
    }
}
