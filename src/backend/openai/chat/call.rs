//! One call: asks, shortens and asks again where the talk is too long, and hands the answer on as it comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::Response;
use tokio::time::timeout;

use super::answer::{Answer, Fault};
use super::fitting::{Talk, fitted, shortened};
use super::request::body;
use crate::backend::openai::config::OpenAiLlmConfig;
use crate::backend::openai::sse::{Events, events};
use crate::backend::openai::upstream::{MAX_ANSWER, Upstream, media_type};
use crate::backend::openai::wait::Patience;
use crate::engine::llm::{LlmEvent, LlmRequest, Truncation};
use crate::engine::{CancelFlag, EngineError};

/// How often a talk that is too long for the server is shortened.
const MAX_CUTS: usize = 3;
/// How long the end of a stream is waited for behind its last event: only a connection that was read to its end
/// serves again.
const END: Duration = Duration::from_millis(50);
/// What a stream ends with.
const DONE: &str = "[DONE]";

/// One call.
pub(super) struct Call {
    upstream: Arc<Upstream>,
    config: Arc<OpenAiLlmConfig>,
    request: LlmRequest,
    patience: Patience,
    stream: Option<Events>,
    answer: Answer,
    ready: VecDeque<LlmEvent>,
}

impl Call {
    pub(super) fn new(
        upstream: Arc<Upstream>,
        config: Arc<OpenAiLlmConfig>,
        request: LlmRequest,
        cancel: CancelFlag,
    ) -> Self {
        let patience = Patience::new(&upstream.engine, upstream.timeouts, cancel);
        Self {
            upstream,
            config,
            request,
            patience,
            stream: None,
            answer: Answer::default(),
            ready: VecDeque::new(),
        }
    }

    /// The next event; behind [`LlmEvent::Done`] and errors there is none.
    pub(super) async fn next(&mut self) -> Result<LlmEvent, EngineError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.patience.output();
                return Ok(event);
            }
            let Self { upstream, config, request, patience, stream, answer, ready } = self;
            let call = Work { upstream, config, request, answer };
            patience.wait(call.more(stream, ready)).await?;
        }
    }
}

/// What a call works with while it waits.
struct Work<'a> {
    upstream: &'a Arc<Upstream>,
    config: &'a OpenAiLlmConfig,
    request: &'a LlmRequest,
    answer: &'a mut Answer,
}

impl Work<'_> {
    /// Waits until there are events.
    async fn more(
        mut self,
        stream: &mut Option<Events>,
        ready: &mut VecDeque<LlmEvent>,
    ) -> Result<(), EngineError> {
        while ready.is_empty() {
            match stream {
                Some(stream) => self.read(stream, ready).await?,
                None => {
                    let response = self.ask().await?;
                    *stream = self.open(response, ready).await?;
                }
            }
        }
        Ok(())
    }

    async fn ask(&mut self) -> Result<Response, EngineError> {
        let mut talk =
            fitted(self.request, self.config).map_err(|(tokens, limit)| self.too_long(tokens, limit))?;
        let may_cut = self.request.truncation != Truncation::Disabled;
        let mut cuts = 0;
        loop {
            self.answer.asked(talk.tokens);
            let (tokens, limit) = match self.post(&talk).await {
                Err(EngineError::ContextExceeded { tokens, limit, .. }) => (tokens, limit),
                outcome => return outcome,
            };
            cuts += 1;
            let shorter = if may_cut && cuts <= MAX_CUTS { shortened(&talk, (tokens, limit)) } else { None };
            let known = if tokens > 0 { tokens } else { talk.tokens };
            talk = shorter.ok_or_else(|| self.too_long(known, limit))?;
            tracing::debug!(engine = %self.upstream.engine, cuts, "a talk is too long for the server and is shortened");
        }
    }

    async fn post(&self, talk: &Talk<'_>) -> Result<Response, EngineError> {
        let texts: Vec<&str> = talk.messages.iter().map(|message| message.content.as_str()).collect();
        let body = body(self.config, &self.upstream.base, self.request, &talk.messages);
        self.upstream.send(self.upstream.post("chat/completions").json(&body), &texts).await
    }

    /// A stream to read, or all of the answer at once from a server that does not stream.
    async fn open(
        &mut self,
        response: Response,
        ready: &mut VecDeque<LlmEvent>,
    ) -> Result<Option<Events>, EngineError> {
        match media_type(&response).as_str() {
            "application/json" => {
                let body = self.upstream.body(response, MAX_ANSWER).await?;
                let body = String::from_utf8(body)
                    .map_err(|_| self.upstream.failed("its answer is not UTF-8".to_owned()))?;
                let whole = self.answer.take(&body, ready).and_then(|()| self.answer.finish(ready));
                whole.map_err(|fault| self.fault(fault)).map(|()| None)
            }
            "text/event-stream" | "text/plain" | "" => Ok(Some(events(self.upstream, response))),
            other => {
                let other = self.upstream.private(&[]).line(other);
                let reason = format!("it answered with {other} in place of an event stream; check url");
                Err(self.upstream.failed(reason))
            }
        }
    }

    async fn read(&mut self, stream: &mut Events, ready: &mut VecDeque<LlmEvent>) -> Result<(), EngineError> {
        match stream.next().await {
            Some(Ok(data)) if data.trim() == DONE => {
                // What stands behind the end is not waited for long, and not read.
                drop(timeout(END, async { while let Some(Ok(_)) = stream.next().await {} }).await);
                self.answer.finish(ready).map_err(|fault| self.fault(fault))
            }
            Some(Ok(data)) => self.answer.take(&data, ready).map_err(|fault| self.fault(fault)),
            Some(Err(error)) => Err(error),
            None => self.answer.finish_without_mark(ready).map_err(|fault| self.fault(fault)),
        }
    }

    fn fault(&self, fault: Fault) -> EngineError {
        let engine = self.upstream.engine.to_string();
        match fault {
            Fault::Broken(what) => self.upstream.failed(what.to_owned()),
            Fault::Filtered => {
                let reason = "its content filter let no answer through".to_owned();
                EngineError::BadRequest { engine, reason }
            }
            Fault::Said(status, said) => {
                let texts: Vec<&str> =
                    self.request.messages.iter().map(|message| message.content.as_str()).collect();
                self.upstream.refused_within(status, &said, &texts)
            }
        }
    }

    fn too_long(&self, tokens: usize, limit: usize) -> EngineError {
        EngineError::ContextExceeded { engine: self.upstream.engine.to_string(), tokens, limit }
    }
}
