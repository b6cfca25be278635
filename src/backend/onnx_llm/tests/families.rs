//! Tiny models of each family with random weights, against what `transformers` makes of them: the same prompts, the
//! same tokens. `models/interface/llm.py` made both.

use serde_json::Value;

use super::*;
use crate::backend::onnx_llm::cache::Cache;
use crate::backend::onnx_llm::model::Model;
use crate::backend::onnx_llm::template::ChatTemplate;
use crate::engine::llm::ToolCall;

const FAMILIES: [&str; 5] = ["llama3", "qwen2", "qwen3", "smollm3", "gemma3"];

struct Case {
    prompt: Option<String>,
    tokens: Vec<u32>,
    greedy: Vec<u32>,
    name: String,
    messages: Vec<ChatMessage>,
    tools: Vec<ToolSpec>,
}

fn numbers(value: &Value) -> Vec<u32> {
    let number = |value: &Value| u32::try_from(value.as_u64().expect("a token")).expect("a token");
    value.as_array().into_iter().flatten().map(number).collect()
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
        greedy: numbers(&value["greedy"]),
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
    model_of(family, "model.onnx", None)
}

fn model_of(family: &str, graph: &str, batching: Option<bool>) -> Model {
    let config = OnnxLlmConfig {
        model: folder(family),
        file: Some(Path::new("onnx").join(graph)),
        max_tokens: 24,
        batching,
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
            let encoded = model.tokenizer.encode_fast(prompt.as_str(), false).expect("it encodes");
            let is_dated = prompt.contains("TODAY"); // its tokens are those of the day that it was made
            assert!(is_dated || case.tokens == encoded.get_ids(), "{family}: {}", case.name);
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

/// An answer that is written, a token each step.
struct Written {
    cache: Cache,
    tokens: Vec<u32>,
}

impl Written {
    /// Reads the prompt in pieces, as a server does, and writes the first token.
    fn begin(model: &mut Model, prompt: &[u32]) -> Self {
        let mut cache = model.decoder.empty_cache().expect("a cache");
        let prompt: Vec<i64> = prompt.iter().map(|token| i64::from(*token)).collect();
        let (begin, last) = prompt.split_at(prompt.len() - 1 - prompt.len() % 5);
        for chunk in begin.chunks(17) {
            model.decoder.read(&mut cache, chunk).expect("a step");
        }
        let logits = model.decoder.step(&mut cache, last).expect("a step");
        let mut written = Self { cache, tokens: Vec::new() };
        written.take(model, logits);
        written
    }

    fn take(&mut self, model: &Model, mut logits: Vec<f32>) {
        let mut sampler = sampler::Sampler::new(model.sampling, &[]);
        self.tokens.push(sampler.choose(&mut logits).expect("a token"));
    }

    fn next(&self, model: &Model) -> Option<i64> {
        let last = self.tokens.last().expect("the first is there");
        (self.tokens.len() < 24 && !model.ends.contains(last)).then(|| i64::from(*last))
    }
}

/// The prompts and what `transformers` answers to them.
fn greedy(family: &str) -> Vec<(Vec<u32>, Vec<u32>)> {
    let cases = cases(&folder(family).join("reference.json"));
    assert!(cases.len() >= 2, "{family}");
    cases.iter().map(case).map(|case| (case.tokens, case.greedy)).collect()
}

#[test]
fn the_decoder_gives_the_tokens_of_transformers() {
    for family in FAMILIES {
        let mut model = model(family);
        for (prompt, expected) in greedy(family) {
            let mut written = Written::begin(&mut model, &prompt);
            while let Some(token) = written.next(&model) {
                let logits = model.decoder.step(&mut written.cache, &[token]).expect("a step");
                written.take(&model, logits);
            }
            assert_eq!(written.tokens, expected, "{family}");
        }
    }
}

/// Answers of different length, one of which joins while the others are written, and each leaves when it is over.
#[test]
fn answers_that_step_together_get_the_tokens_of_transformers() {
    for family in FAMILIES {
        let mut model = model_of(family, "model.onnx", Some(true));
        assert!(model.batching.is_some(), "{family}");
        let (prompts, expected): (Vec<_>, Vec<_>) =
            [greedy(family), greedy(family)].concat().into_iter().unzip();
        let mut waiting = prompts.into_iter();
        let mut answers = vec![Written::begin(&mut model, &waiting.next().expect("a prompt"))];
        loop {
            let mut writing: Vec<&mut Written> =
                answers.iter_mut().filter(|answer| answer.next(&model).is_some()).collect();
            let tokens: Vec<i64> = writing.iter().filter_map(|answer| answer.next(&model)).collect();
            if !tokens.is_empty() {
                let mut caches: Vec<&mut Cache> =
                    writing.iter_mut().map(|answer| &mut answer.cache).collect();
                let logits = model.decoder.step_together(&mut caches, &tokens).expect("a step");
                writing.into_iter().zip(logits).for_each(|(answer, logits)| answer.take(&model, logits));
            }
            match waiting.next() {
                Some(prompt) => answers.push(Written::begin(&mut model, &prompt)),
                None if tokens.is_empty() => break,
                None => {}
            }
        }
        let tokens: Vec<Vec<u32>> = answers.into_iter().map(|answer| answer.tokens).collect();
        assert_eq!(tokens, expected, "{family}");
    }
}

/// Where the scale of quantised activations is one for all that a step reads, an answer's numbers depend on the others.
#[test]
fn a_graph_that_mixes_answers_lets_them_take_turns() {
    for (family, graph, is_apart) in [
        ("llama3", "model_fp16.onnx", true),
        ("llama3", "model_q4.onnx", true),
        ("qwen2", "model_q4f16.onnx", true),
        ("qwen2", "model_quantized.onnx", false),
        ("qwen3", "model_q4.onnx", true),
    ] {
        assert_eq!(model_of(family, graph, Some(true)).batching.is_some(), is_apart, "{family} {graph}");
        assert!(model_of(family, graph, None).batching.is_none(), "{family} {graph}: its weights are small");
    }
}
