//! One answer while it is written.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::answer::{Answer, Part};
use super::cache::Cache;
use super::detokenizer::Detokenizer;
use super::model::{Model, Prompt};
use super::sampler::Sampler;
use crate::engine::llm::{FinishReason, LlmEvent, LlmRequest, TokenUsage};
use crate::engine::{CancelFlag, Device, EngineError};

/// Tokens of a prompt that are read in one step on `device`, so that a long prompt does not hold up the other answers.
/// Exports give logits for each of them, so that more would also cost memory. A GPU reads more of them in the time of
/// one, as it waits for its memory all the same.
pub(super) fn prompt_chunk(device: Device) -> usize {
    if device.is_gpu() { 256 } else { 64 }
}

/// What an answer's reader gets.
pub(super) type Event = Result<LlmEvent, EngineError>;

/// A request and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: LlmRequest,
    pub(super) cancel: CancelFlag,
    pub(super) events: mpsc::Sender<Event>,
}

/// One answer while it is written.
#[derive(Debug)]
pub(super) struct Sequence {
    job: Job,
    /// Events that had no room yet. No step is made while there are any.
    outbox: VecDeque<Event>,
    is_over: bool,
    /// Tokens that the model has not read yet.
    unread: VecDeque<i64>,
    /// Tokens that it has: those in the cache.
    seen: Vec<i64>,
    cache: Cache,
    sampler: Sampler,
    detokenizer: Detokenizer,
    answer: Answer,
    max_tokens: u32,
    usage: TokenUsage,
}

impl Sequence {
    /// Reads the request; `None` where it is refused, which its reader is told.
    pub(super) fn start(model: &mut Model, job: Job) -> Option<Self> {
        if job.cancel.is_cancelled() || job.events.is_closed() {
            job.events.try_send(Err(EngineError::Cancelled)).ok();
            return None;
        }
        let prepared = model.prompt(&job.request).and_then(|prompt| {
            let tokens: Vec<i64> = prompt.tokens.iter().map(|token| i64::from(*token)).collect();
            let first = |cache: &Cache, tokens| model.decoder.first(cache, tokens);
            let start = match model.prefixes.take(&tokens, first) {
                Some(kept) => kept,
                None => (model.decoder.empty_cache().map_err(|reason| failed(model, reason))?, 0),
            };
            Ok((prompt, tokens, start))
        });
        match prepared {
            Ok((prompt, tokens, start)) => Some(Self::new(model, job, (&prompt, tokens), start)),
            Err(error) => {
                job.events.try_send(Err(error)).ok();
                None
            }
        }
    }

    fn new(
        model: &Model,
        job: Job,
        (prompt, mut tokens): (&Prompt, Vec<i64>),
        (cache, cached): (Cache, usize),
    ) -> Self {
        let [input, cached_tokens] =
            [tokens.len(), cached].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let unread = tokens.split_off(cached).into();
        let answer = model.answer(&job.request, prompt);
        let mut sequence = Self {
            job,
            outbox: VecDeque::new(),
            is_over: false,
            unread,
            seen: tokens,
            cache,
            sampler: Sampler::new(model.sampling, &prompt.tokens),
            detokenizer: Detokenizer::default(),
            answer,
            max_tokens: prompt.max_tokens,
            usage: TokenUsage { input, cached: cached_tokens, ..TokenUsage::default() },
        };
        if let Err(reason) = sequence.read(&prompt.begin) {
            sequence.end(Err(failed(model, reason)));
        }
        sequence
    }

    /// Whether a person waits for it in silence.
    pub(super) fn is_urgent(&self) -> bool {
        self.job.request.urgency.is_urgent()
    }

    /// Whether it can make a step: it is wanted, and its reader has room for what comes of it.
    pub(super) fn is_ready(&mut self) -> bool {
        !self.is_abandoned() && self.send() && !self.is_over
    }

    /// The length of its cache where its next step is one of writing: over a single token, after others.
    pub(super) fn writes_after(&self) -> Option<usize> {
        (self.unread.len() == 1 && self.cache.len() > 0).then(|| self.cache.len())
    }

    /// Whether it is over and its reader knows. What the model has read for it is kept then.
    pub(super) fn has_ended(&mut self, model: &mut Model) -> bool {
        if self.is_abandoned() {
            // No room is no loss: the reader looks at the flag too.
            self.job.events.try_send(Err(EngineError::Cancelled)).ok();
        } else if !(self.send() && self.is_over) {
            return false;
        }
        // Alone: others may hold the batch that it is a row of.
        if model.prefixes.keeps(&self.seen)
            && let Some(own) = model.decoder.first(&self.cache, self.cache.len())
        {
            model.prefixes.put(std::mem::take(&mut self.seen), own);
        }
        true
    }

    /// Whether nobody wants it any more.
    fn is_abandoned(&self) -> bool {
        self.job.cancel.is_cancelled() || self.job.events.is_closed()
    }

    /// Hands over what waits; false when there was no room for all of it.
    fn send(&mut self) -> bool {
        while let Some(event) = self.outbox.pop_front() {
            if let Err(TrySendError::Full(event)) = self.job.events.try_send(event) {
                self.outbox.push_front(event);
                return false;
            }
        }
        true
    }

    /// One step by itself.
    pub(super) fn step(&mut self, model: &mut Model) {
        let count = self.unread.len().min(prompt_chunk(model.device));
        let chunk: Vec<i64> = self.unread.drain(..count).collect();
        let permit = model.gate.enter(model.device, self.is_urgent());
        let logits = if self.unread.is_empty() {
            model.decoder.step(&mut self.cache, &chunk).map(Some)
        } else {
            model.decoder.read(&mut self.cache, &chunk).map(|()| None)
        };
        drop(permit);
        self.take(model, chunk, logits);
    }

    /// One step of all of these together, each of which writes. Where that fails, each makes its own, from then on.
    pub(super) fn step_together(model: &mut Model, sequences: &mut [&mut Self]) {
        let tokens: Vec<i64> =
            sequences.iter().filter_map(|sequence| sequence.unread.front().copied()).collect();
        let permit = model.gate.enter(model.device, sequences.iter().any(|sequence| sequence.is_urgent()));
        let mut caches: Vec<&mut Cache> = sequences.iter_mut().map(|sequence| &mut sequence.cache).collect();
        let logits = model.decoder.step_together(&mut caches, &tokens);
        drop(permit);
        match logits {
            Ok(logits) => {
                for (sequence, logits) in sequences.iter_mut().zip(logits) {
                    let chunk = sequence.unread.drain(..).collect();
                    sequence.take(model, chunk, Ok(Some(logits)));
                }
            }
            Err(reason) => {
                let (engine, answers) = (model.config.name.as_str(), sequences.len());
                tracing::warn!(engine, answers, %reason, "a step of several answers failed: they take turns now");
                model.batching = None;
                sequences.iter_mut().for_each(|sequence| sequence.step(model));
            }
        }
    }

    /// Takes what a step gave: the model has read `chunk`.
    fn take(&mut self, model: &Model, chunk: Vec<i64>, logits: Result<Option<Vec<f32>>, String>) {
        self.seen.extend(chunk);
        let taken = logits.and_then(|logits| logits.map_or(Ok(()), |logits| self.write(model, logits)));
        if let Err(reason) = taken {
            self.seen.clear(); // what is in the cache is of no use to anybody
            self.end(Err(failed(model, reason)));
        }
        self.send();
    }

    /// Chooses the next token.
    fn write(&mut self, model: &Model, mut logits: Vec<f32>) -> Result<(), String> {
        let token = self.sampler.choose(&mut logits).ok_or("the model's probabilities are no numbers")?;
        self.usage.output += 1;
        if model.ends.contains(&token) {
            return self.finish(model, FinishReason::Stop);
        }
        let text = self.detokenizer.push(token, &model.tokenizer)?;
        self.read(&text)?;
        if self.usage.output >= self.max_tokens || self.cache.len() >= model.context {
            return self.finish(model, FinishReason::Length);
        }
        self.unread.push_back(i64::from(token));
        Ok(())
    }

    fn read(&mut self, text: &str) -> Result<(), String> {
        for part in self.answer.push(text)? {
            self.tell(part)?;
        }
        Ok(())
    }

    fn finish(&mut self, model: &Model, reason: FinishReason) -> Result<(), String> {
        let rest = self.detokenizer.finish(&model.tokenizer)?;
        self.read(&rest)?;
        for part in self.answer.finish()? {
            self.tell(part)?;
        }
        let finish = if self.answer.calls() > 0 { FinishReason::ToolCalls } else { reason };
        self.end(Ok(LlmEvent::Done { finish, usage: self.usage }));
        Ok(())
    }

    fn tell(&mut self, part: Part) -> Result<(), String> {
        let event = match part {
            Part::Text(text) => LlmEvent::Text(text),
            Part::CallArguments { index, delta } => LlmEvent::ToolCallArguments { index, delta },
            Part::CallStart { index, name } => {
                if !self.job.request.tools.iter().any(|tool| tool.name == name) {
                    return Err("the model called a tool that was not offered".into());
                }
                let id = format!("call_{:016x}", self.sampler.number());
                LlmEvent::ToolCallStart { index, id, name }
            }
        };
        self.outbox.push_back(Ok(event));
        Ok(())
    }

    fn end(&mut self, event: Event) {
        self.outbox.push_back(event);
        self.is_over = true;
    }
}

fn failed(model: &Model, reason: String) -> EngineError {
    EngineError::Failed { engine: model.config.name.clone(), reason }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::backend::onnx_llm::OnnxLlmConfig;
    use crate::engine::compute::{Unlimited, Urgency};
    use crate::engine::llm::{ChatMessage, ChatRole, ToolChoice, Truncation};

    pub(in crate::backend::onnx_llm) fn model() -> Model {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let model = root.join("tests/fixtures/llm/qwen2");
        let config = OnnxLlmConfig { model, batching: Some(true), max_tokens: 6, ..OnnxLlmConfig::default() };
        let config = OnnxLlmConfig { file: Some("onnx/model.onnx".into()), ..config };
        let library = root.join(".cache/onnxruntime/libonnxruntime.so");
        Model::load(&config, &library, Arc::new(Unlimited)).expect("it loads")
    }

    pub(in crate::backend::onnx_llm) fn begin(
        model: &mut Model,
        text: &str,
    ) -> (Sequence, mpsc::Receiver<Event>) {
        let (events, reader) = mpsc::channel(64);
        let request = LlmRequest {
            messages: [ChatMessage::text(ChatRole::User, text)].into(),
            tools: [].into(),
            tool_choice: ToolChoice::Auto,
            max_tokens: None,
            truncation: Truncation::default(),
            urgency: Urgency::default(),
        };
        let job = Job { request, cancel: CancelFlag::new(), events };
        (Sequence::start(model, job).expect("it starts"), reader)
    }

    /// An answer that has read its prompt.
    pub(in crate::backend::onnx_llm) fn writing(
        model: &mut Model,
        text: &str,
    ) -> (Sequence, mpsc::Receiver<Event>) {
        let (mut sequence, reader) = begin(model, text);
        while sequence.writes_after().is_none() {
            sequence.step(model);
        }
        (sequence, reader)
    }

    fn told(reader: &mut mpsc::Receiver<Event>) -> Vec<Event> {
        std::iter::from_fn(|| reader.try_recv().ok()).collect()
    }

    #[test]
    fn an_answer_that_is_broken_breaks_no_other() {
        let mut model = model();
        assert!(model.batching.is_some());
        let (mut alone, mut expected) = writing(&mut model, "How is Oslo?");
        while alone.is_ready() {
            alone.step(&mut model);
        }
        let (mut whole, mut reader) = writing(&mut model, "How is Oslo?");
        let (mut broken, mut failed) = writing(&mut model, "And Rome?");
        broken.cache = Cache::nothing();
        Sequence::step_together(&mut model, &mut [&mut whole, &mut broken]);
        assert!(model.batching.is_none(), "they take turns from here on");
        let last = told(&mut failed).pop();
        assert!(matches!(last, Some(Err(EngineError::Failed { .. }))), "{last:?}");
        while whole.is_ready() {
            whole.step(&mut model);
        }
        let (told, expected) = (told(&mut reader), told(&mut expected));
        assert!(matches!(told.last(), Some(Ok(LlmEvent::Done { .. }))), "{told:?}");
        assert_eq!(told, expected);
    }
}
