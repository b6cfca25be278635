//! A model's directory: graph, tokenizer, template and settings, read and checked.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use tokenizers::Tokenizer;

use super::answer::{Answer, CallForm, THOUGHT_END};
use super::batching::Batching;
use super::cache::Cache;
use super::config::OnnxLlmConfig;
use super::decoder::Decoder;
use super::ends::end_tokens;
use super::files::{Files, weight_bytes};
use super::prefix::PrefixCache;
use super::sampler::Sampling;
use super::template::ChatTemplate;
use crate::backend::prompt::{Misfit, fit};
use crate::backend::{LoadError, onnx};
use crate::engine::compute::ComputeGate;
use crate::engine::llm::{ChatMessage, LlmRequest, ToolChoice, ToolSpec};
use crate::engine::{Device, EngineError};

/// At least so much of the context is left for the answer, where the request allows that much.
const MIN_ANSWER_SHARE: usize = 4;

const NO_TOOLS: &str = "the model's chat template has no place for tools: send none, set `tool_choice` to \"none\", or \
                        serve a model that was trained with tools (Llama 3, Qwen, SmolLM)";

/// Everything that an answer is made with.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) config: OnnxLlmConfig,
    pub(super) decoder: Decoder,
    pub(super) tokenizer: Tokenizer,
    pub(super) template: ChatTemplate,
    /// Tokens that end an answer.
    pub(super) ends: HashSet<u32>,
    /// How tokens are chosen.
    pub(super) sampling: Sampling,
    /// Tokens of a prompt and its answer together.
    pub(super) context: usize,
    /// Where it computes.
    pub(super) device: Device,
    /// Each step enters here first.
    pub(super) gate: Arc<dyn ComputeGate>,
    /// What was read lately.
    pub(super) prefixes: PrefixCache<Cache>,
    /// How several answers step together; `None`: they take turns.
    pub(super) batching: Option<Batching>,
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
        let device = onnx::settle_for(&config.name, library, config.device);
        let files = Files { config, device };
        if let Some((key, value, rule)) = config.sampling.problem() {
            let key = format!("llm.{}.sampling.{key}", config.name);
            return Err(LoadError::Config { key, value: value.to_string(), reason: rule.to_owned() });
        }
        let settings = files.settings()?;
        let tokenizer_settings = files.json("tokenizer_config.json")?;
        let tokenizer = files.tokenizer()?;
        let template = ChatTemplate::read(&files, &tokenizer_settings)?;
        let graph = files.graph()?;
        let (others, engine) = (files.graphs().len().saturating_sub(1), config.name.as_str());
        tracing::info!(engine, graph = %graph.display(), others, %device, "language model: the graph that is used");
        let invalid = |reason| files.invalid_path(graph.clone(), reason);
        let room = config.room(device);
        let session = onnx::open(room, engine, &graph, library, invalid)?;
        let invalid = |reason| files.invalid_path(graph.clone(), reason);
        let mut decoder = Decoder::new(session, &settings, device, library).map_err(invalid)?;
        let batching = Batching::settle(config, &mut decoder, weight_bytes(&graph));
        let batching = batching.map_err(|reason| LoadError::Start { engine: engine.to_owned(), reason })?;
        let generation = files.optional_json("generation_config.json");
        let ends = end_tokens(&generation, &settings, &tokenizer);
        if ends.is_empty() {
            return Err(
                files.invalid("config.json", "it names no `eos_token_id`, so no answer would end".into())
            );
        }
        let limit =
            settings["max_position_embeddings"].as_u64().and_then(|limit| usize::try_from(limit).ok());
        let context = config.max_context.min(limit.unwrap_or(usize::MAX)).max(1);
        let prefixes = PrefixCache::new(config.prefix_cache_mib << 20);
        let sampling = Sampling::new(&config.sampling, &generation);
        Ok(Self {
            config: config.clone(),
            decoder,
            tokenizer,
            template,
            ends,
            sampling,
            context,
            device,
            gate,
            prefixes,
            batching,
        })
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
        let Some(form) = self.template.calls() else { return Err(self.bad_request(NO_TOOLS.into())) };
        let begin = match &request.tool_choice {
            ToolChoice::Required => form.begin(None),
            ToolChoice::Function(name) if !tools.iter().any(|tool| tool.name == *name) => {
                return Err(self.bad_request("the tool that must be called is not among the tools".into()));
            }
            ToolChoice::Function(name) => form.begin(Some(name)),
            ToolChoice::Auto | ToolChoice::None => String::new(),
        };
        Ok((tools, begin))
    }

    /// Reads the answer to `request`, whose prompt made it begin so. Bare calls are looked for only where there are
    /// tools: without them, an answer in JSON is what was asked for.
    pub(super) fn answer(&self, request: &LlmRequest, prompt: &Prompt) -> Answer {
        let has_tools = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        let form = self.template.calls().filter(|_| has_tools).unwrap_or(CallForm::Tagged);
        Answer::new(form, self.template.opens_thought() && prompt.begin.is_empty())
    }

    fn tokens(&self, messages: &[&ChatMessage], tools: &[ToolSpec], begin: &str) -> Result<Vec<u32>, String> {
        let mut text = self.template.render(messages, tools)?;
        if self.template.opens_thought() && !begin.is_empty() {
            text = text + THOUGHT_END + "\n\n"; // a call that must be made needs no thought
        }
        text += begin;
        // The template has written the special tokens already.
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// An error that is the request's fault.
    fn bad_request(&self, reason: String) -> EngineError {
        EngineError::BadRequest { engine: self.config.name.clone(), reason }
    }
}
