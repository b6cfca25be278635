//! A model's directory: graph, tokenizer, template and settings, read and checked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::config::OnnxLlmConfig;
use super::decoder::{Cache, Decoder};
use super::environment::environment;
use super::prefix::PrefixCache;
use super::template::ChatTemplate;
use crate::backend::LoadError;
use crate::backend::prompt::{Misfit, fit};
use crate::engine::EngineError;
use crate::engine::compute::ComputeGate;
use crate::engine::llm::{ChatMessage, LlmRequest, ToolChoice, ToolSpec};

/// At least so much of the context is left for the answer, where the request allows that much.
const MIN_ANSWER_SHARE: usize = 4;

/// Everything that an answer is made with.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) config: OnnxLlmConfig,
    pub(super) decoder: Decoder,
    pub(super) tokenizer: Tokenizer,
    pub(super) template: ChatTemplate,
    /// Tokens that end an answer.
    pub(super) ends: HashSet<u32>,
    /// Tokens of a prompt and its answer together.
    pub(super) context: usize,
    /// Each step enters here first.
    pub(super) gate: Arc<dyn ComputeGate>,
    /// What was read lately.
    pub(super) prefixes: PrefixCache<Cache>,
}

/// A request as tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) tokens: Vec<u32>,
    /// How the answer begins, where the request leaves no choice: part of the tokens, and of the answer.
    pub(super) begin: String,
    /// The most tokens of the answer.
    pub(super) max_tokens: u32,
}

impl Model {
    /// Reads the directory that `config` names; `library` is ONNX Runtime's.
    pub(super) fn load(
        config: &OnnxLlmConfig,
        library: &Path,
        gate: Arc<dyn ComputeGate>,
    ) -> Result<Self, LoadError> {
        let files = Files { config };
        if let Some((key, value, rule)) = config.sampling.problem() {
            let key = format!("llm.{}.sampling.{key}", config.name);
            return Err(LoadError::Config { key, value: value.to_string(), reason: rule.to_owned() });
        }
        let settings = files.json("config.json")?;
        let tokenizer_settings = files.json("tokenizer_config.json")?;
        let tokenizer = files.tokenizer()?;
        let template = ChatTemplate::new(
            &tokenizer_settings,
            std::fs::read_to_string(files.path("chat_template.jinja")).ok(),
        )
        .map_err(|reason| files.invalid("tokenizer_config.json", reason))?;
        let graph = files.graph()?;
        let environment = environment(library).map_err(|reason| LoadError::Dependency {
            engine: config.name.clone(),
            what: format!("ONNX Runtime's library {}", library.display()),
            reason,
            next_step: "Run `scripts/setup` to install it, or set `engines.onnxruntime`".into(),
        })?;
        let session = session(&environment, &graph)
            .map_err(|error| files.invalid_path(graph.clone(), error.to_string()))?;
        let decoder = Decoder::new(session, &settings).map_err(|reason| files.invalid_path(graph, reason))?;
        let generation = files.optional_json("generation_config.json");
        let ends = end_tokens(&[&generation, &settings]);
        if ends.is_empty() {
            return Err(
                files.invalid("config.json", "it names no `eos_token_id`, so no answer would end".into())
            );
        }
        let limit =
            settings["max_position_embeddings"].as_u64().and_then(|limit| usize::try_from(limit).ok());
        let context = config.max_context.min(limit.unwrap_or(usize::MAX)).max(1);
        let prefixes = PrefixCache::new(config.prefix_cache_mib << 20);
        Ok(Self { config: config.clone(), decoder, tokenizer, template, ends, context, gate, prefixes })
    }

    /// One step over one token, so that the first caller does not wait for memory to be touched.
    pub(super) fn warm_up(&mut self) -> Result<(), String> {
        let mut cache = self.decoder.empty_cache()?;
        self.decoder.step(&mut cache, &[0])?;
        self.decoder.step(&mut cache, &[0]).map(drop)
    }

    /// The request as tokens that leave room for the answer.
    pub(super) fn prompt(&self, request: &LlmRequest) -> Result<Prompt, EngineError> {
        let (tools, begin) = self.tools(request)?;
        let wanted = request.max_tokens.unwrap_or(self.config.max_tokens).max(1);
        let reserve =
            usize::try_from(wanted).unwrap_or(usize::MAX).min(self.context / MIN_ANSWER_SHARE).max(1);
        let budget = self.context.saturating_sub(reserve);
        let tokens_of = |messages: &[&ChatMessage]| self.tokens(messages, tools, &begin);
        let tokens = match fit(&request.messages, budget, request.truncation, tokens_of) {
            Ok(tokens) if tokens.is_empty() => {
                return Err(self.bad_request("there is nothing to answer: the conversation is empty".into()));
            }
            Ok(tokens) => tokens,
            Err(Misfit::Unreadable(reason)) => return Err(self.bad_request(reason)),
            Err(Misfit::TooLong { tokens }) => {
                let engine = self.config.name.clone();
                return Err(EngineError::ContextExceeded { engine, tokens, limit: budget });
            }
        };
        let left = u32::try_from(self.context - tokens.len()).unwrap_or(u32::MAX);
        Ok(Prompt { tokens, begin, max_tokens: wanted.min(left) })
    }

    /// The tools to show, and how the answer must begin.
    fn tools<'a>(&self, request: &'a LlmRequest) -> Result<(&'a [ToolSpec], String), EngineError> {
        let tools: &[ToolSpec] = match request.tool_choice {
            ToolChoice::None => &[],
            _ => &request.tools,
        };
        if tools.is_empty() {
            return match request.tool_choice {
                ToolChoice::Auto | ToolChoice::None => Ok((tools, String::new())),
                _ => Err(self.bad_request("a tool call is asked for, but no tool is given".into())),
            };
        }
        if !self.template.writes_calls() {
            return Err(self.bad_request("the model's chat template knows no `<tool_call>`".into()));
        }
        let begin = match &request.tool_choice {
            ToolChoice::Required => "<tool_call>\n".to_owned(),
            ToolChoice::Function(name) if !tools.iter().any(|tool| tool.name == *name) => {
                return Err(self.bad_request("the tool that must be called is not among the tools".into()));
            }
            ToolChoice::Function(name) => format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": "),
            ToolChoice::Auto | ToolChoice::None => String::new(),
        };
        Ok((tools, begin))
    }

    fn tokens(&self, messages: &[&ChatMessage], tools: &[ToolSpec], begin: &str) -> Result<Vec<u32>, String> {
        let text = self.template.render(messages, tools)? + begin;
        // The template has written the special tokens already.
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// An error that is the request's fault.
    fn bad_request(&self, reason: String) -> EngineError {
        EngineError::BadRequest { engine: self.config.name.clone(), reason }
    }
}

fn session(environment: &ort::environment::Environment, graph: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        // Patterns are remembered for each shape, and every step has a new one.
        .with_memory_pattern(false)?
        .commit_from_file(graph)
}

/// `eos_token_id` of the first of `settings` that has one: a number or a list.
fn end_tokens(settings: &[&Value]) -> HashSet<u32> {
    let tokens = |value: &Value| {
        let list = value.as_array().map_or_else(|| vec![value.clone()], Clone::clone);
        list.iter().filter_map(|token| u32::try_from(token.as_u64()?).ok()).collect::<HashSet<u32>>()
    };
    let found = settings.iter().map(|settings| tokens(&settings["eos_token_id"]));
    found.into_iter().find(|tokens| !tokens.is_empty()).unwrap_or_default()
}

/// The files of a model's directory and what to say when one is missing or wrong.
pub(super) struct Files<'a> {
    pub(super) config: &'a OnnxLlmConfig,
}

impl Files<'_> {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.config.model.join(name)
    }

    pub(super) fn json(&self, name: &str) -> Result<Value, LoadError> {
        let text = std::fs::read_to_string(self.path(name))
            .map_err(|error| self.missing(self.path(name), &error))?;
        serde_json::from_str(&text).map_err(|error| self.invalid(name, error.to_string()))
    }

    fn optional_json(&self, name: &str) -> Value {
        self.json(name).unwrap_or_default()
    }

    fn tokenizer(&self) -> Result<Tokenizer, LoadError> {
        let path = self.path("tokenizer.json");
        std::fs::metadata(&path).map_err(|error| self.missing(path.clone(), &error))?;
        let mut tokenizer =
            Tokenizer::from_file(&path).map_err(|error| self.invalid("tokenizer.json", error.to_string()))?;
        tokenizer.with_padding(None);
        let whole = tokenizer.with_truncation(None).map(drop);
        whole.map_err(|error| self.invalid("tokenizer.json", error.to_string()))?;
        Ok(tokenizer)
    }

    pub(super) fn graph(&self) -> Result<PathBuf, LoadError> {
        let named = self.config.file.as_ref().map(|file| self.config.model.join(file));
        let candidates = named
            .map_or_else(|| vec![self.path("onnx/model.onnx"), self.path("model.onnx")], |file| vec![file]);
        let found = candidates.iter().find(|path| path.is_file()).cloned();
        let not_found = std::io::Error::from(std::io::ErrorKind::NotFound);
        found.ok_or_else(|| self.missing(candidates[0].clone(), &not_found))
    }

    fn missing(&self, path: PathBuf, error: &std::io::Error) -> LoadError {
        LoadError::FileMissing {
            engine: self.config.name.clone(),
            path,
            reason: error.to_string(),
            next_step: "Run `make starter`, or set the engine's `model` to a directory of an ONNX export"
                .into(),
        }
    }

    fn invalid(&self, name: &str, reason: String) -> LoadError {
        self.invalid_path(self.path(name), reason)
    }

    fn invalid_path(&self, path: PathBuf, reason: String) -> LoadError {
        LoadError::FileInvalid {
            engine: self.config.name.clone(),
            path,
            reason,
            next_step: "Run `make starter` to restore the starter model, or download the model again".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn end_tokens_are_a_number_or_a_list() {
        let table = [
            (json!({ "eos_token_id": [2, 0] }), json!({ "eos_token_id": 5 }), vec![0, 2]),
            (Value::Null, json!({ "eos_token_id": 5 }), vec![5]),
            (json!({ "eos_token_id": null }), json!({}), vec![]),
        ];
        for (generation, config, expected) in table {
            let mut ends: Vec<u32> = end_tokens(&[&generation, &config]).into_iter().collect();
            ends.sort_unstable();
            assert_eq!(ends, expected);
        }
    }
}
