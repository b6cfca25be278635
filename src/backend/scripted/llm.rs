//! A language model that says what its script says, word by word.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::log::{CallLog, CallStats};
use super::play::{Beat, play};
use super::script::{Act, Script, Step, fill};
use crate::backend::Placement;
use crate::engine::cost::OwnCost;
use crate::engine::llm::{ChatRole, FinishReason, LlmEngine, LlmEvent, LlmRequest, TokenUsage};
use crate::engine::{CancelFlag, EngineCost, EngineStream};

/// Configuration of [`ScriptedLlm`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedLlmConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Calls that may run at once; told to the pool, not enforced.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Where it runs: in the server itself, or in a child process that may crash alone.
    pub placement: Placement,
    /// Steps of each call in turn; the last call's steps repeat.
    pub calls: Vec<Vec<Step>>,
    /// Milliseconds from word to word of one text.
    pub word_ms: u64,
    /// What it is said to cost; nothing where that is not said.
    pub cost: OwnCost,
}

impl Default for ScriptedLlmConfig {
    /// Echoes the user: first word after 30 ms, a word every 8 ms, about what the starter model does on one core.
    fn default() -> Self {
        let calls = vec![vec![Step::text(30, "You said: {user}")]];
        Self {
            name: "scripted-llm".into(),
            slots: 8,
            fallback: false,
            placement: Placement::default(),
            calls,
            word_ms: 8,
            cost: OwnCost::default(),
        }
    }
}

impl ScriptedLlmConfig {
    /// A script computes nothing: it costs what the configuration says.
    pub fn cost(&self) -> Result<EngineCost, String> {
        Ok(EngineCost { threads: self.slots, ..EngineCost::default() })
    }
}

/// A language model that says what its script says, word by word. A word is a token.
#[derive(Debug)]
pub struct ScriptedLlm {
    name: String,
    word_ms: u64,
    script: Script,
    log: CallLog<LlmRequest>,
}

impl ScriptedLlm {
    /// An engine that follows `config`.
    pub fn new(config: &ScriptedLlmConfig) -> Self {
        let script = Script::new(config.calls.clone());
        Self { name: config.name.clone(), word_ms: config.word_ms, script, log: CallLog::default() }
    }

    /// An engine that answers every call with `text`, the first word after `after_ms`, the others at once.
    pub fn saying(after_ms: u64, text: &str) -> Self {
        let calls = vec![vec![Step::text(after_ms, text)]];
        Self::new(&ScriptedLlmConfig { calls, word_ms: 0, ..ScriptedLlmConfig::default() })
    }

    /// An engine that answers at once with "You said: " and the last user message.
    pub fn echoing() -> Self {
        Self::saying(0, "You said: {user}")
    }

    /// Follows other calls from now on.
    pub fn set_calls(&self, calls: Vec<Vec<Step>>) {
        self.script.replace(calls);
    }

    /// The latest requests, oldest first.
    pub fn calls(&self) -> Vec<LlmRequest> {
        self.log.requests()
    }

    /// Counts of calls.
    pub fn stats(&self) -> CallStats {
        self.log.stats()
    }
}

impl LlmEngine for ScriptedLlm {
    fn generate(&self, request: LlmRequest, cancel: CancelFlag) -> EngineStream<LlmEvent> {
        let (call, steps) = self.script.next_call();
        let mut plan = Plan::new(&self.name, self.word_ms, &request);
        plan.call = call;
        for step in &steps {
            plan.step(step);
        }
        let beats = plan.finish();
        play(beats, cancel, self.log.begin(request))
    }
}

/// The beats of one call while they are laid out.
struct Plan<'a> {
    engine: &'a str,
    word_ms: u64,
    request: &'a LlmRequest,
    call: u64,
    left: u32,
    usage: TokenUsage,
    tool_calls: usize,
    broken_off: bool,
    beats: VecDeque<Beat<LlmEvent>>,
}

impl<'a> Plan<'a> {
    fn new(engine: &'a str, word_ms: u64, request: &'a LlmRequest) -> Self {
        let words = |text: &str| u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
        let input = request.messages.iter().map(|message| words(&message.content)).sum();
        Self {
            engine,
            word_ms,
            request,
            call: 1,
            left: request.max_tokens.unwrap_or(u32::MAX),
            usage: TokenUsage { input, ..TokenUsage::default() },
            tool_calls: 0,
            broken_off: false,
            beats: VecDeque::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match &step.act {
            Act::Text(template) => self.text(step.after_ms, &self.filled(template)),
            Act::ToolCall(call) => {
                let index = self.tool_calls;
                self.tool_calls += 1;
                self.usage.output += 1;
                let id = format!("call_{}_{index}", self.call);
                let start = LlmEvent::ToolCallStart { index, id, name: call.name.clone() };
                self.beats.push_back(Beat::emit(step.after_ms, start));
                let delta = call.arguments.clone();
                self.beats.push_back(Beat::emit(self.word_ms, LlmEvent::ToolCallArguments { index, delta }));
            }
            act => self.beats.extend(Beat::fault(self.engine, step.after_ms, act)),
        }
    }

    fn text(&mut self, after_ms: u64, text: &str) {
        let mut wait = after_ms;
        for word in text.split_inclusive(' ') {
            if self.left == 0 {
                self.broken_off = true;
                return;
            }
            self.left -= 1;
            self.usage.output += 1;
            self.beats.push_back(Beat::emit(wait, LlmEvent::Text(word.to_owned())));
            wait = self.word_ms;
        }
    }

    fn filled(&self, template: &str) -> String {
        let said_by = |role: ChatRole| {
            let latest = self.request.messages.iter().rfind(|message| message.role == role);
            latest.map_or("", |message| message.content.as_str())
        };
        let (call, messages) = (self.call.to_string(), self.request.messages.len().to_string());
        let values = [
            ("call", call.as_str()),
            ("messages", messages.as_str()),
            ("user", said_by(ChatRole::User)),
            ("system", said_by(ChatRole::System)),
        ];
        fill(template, &values)
    }

    fn finish(mut self) -> VecDeque<Beat<LlmEvent>> {
        let finish = match () {
            () if self.broken_off => FinishReason::Length,
            () if self.tool_calls > 0 => FinishReason::ToolCalls,
            () => FinishReason::Stop,
        };
        self.beats.push_back(Beat::emit(0, LlmEvent::Done { finish, usage: self.usage }));
        self.beats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;
    use crate::engine::compute::Urgency;
    use crate::engine::llm::{ChatMessage, ToolChoice, Truncation};
    use futures::{StreamExt, TryStreamExt};
    use std::time::Duration;
    use tokio::time::Instant;

    fn ask(text: &str, max_tokens: Option<u32>) -> LlmRequest {
        let messages =
            [ChatMessage::text(ChatRole::System, "Be brief."), ChatMessage::text(ChatRole::User, text)];
        LlmRequest {
            messages: messages.into(),
            tools: [].into(),
            tool_choice: ToolChoice::Auto,
            max_tokens,
            truncation: Truncation::default(),
            urgency: Urgency::default(),
        }
    }

    fn text_of(events: &[LlmEvent]) -> String {
        let text = |event: &LlmEvent| match event {
            LlmEvent::Text(text) => Some(text.clone()),
            _ => None,
        };
        events.iter().filter_map(text).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn it_echoes_word_by_word() {
        let llm = ScriptedLlm::new(&ScriptedLlmConfig::default());
        let begin = Instant::now();
        let stream = llm.generate(ask("good morning to you", None), CancelFlag::new());
        let events: Vec<LlmEvent> = stream.try_collect().await.expect("no fault");
        assert_eq!(text_of(&events), "You said: good morning to you");
        assert_eq!(events.len(), 7);
        assert_eq!(begin.elapsed(), Duration::from_millis(30 + 5 * 8));
        let usage = TokenUsage { input: 6, cached: 0, output: 6 };
        assert_eq!(events[6], LlmEvent::Done { finish: FinishReason::Stop, usage });
        assert_eq!(llm.calls()[0].messages[1].content, "good morning to you");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_limit_breaks_it_off() {
        let llm = ScriptedLlm::echoing();
        let stream = llm.generate(ask("good morning", Some(3)), CancelFlag::new());
        let events: Vec<LlmEvent> = stream.try_collect().await.expect("no fault");
        assert_eq!(text_of(&events), "You said: good ");
        assert!(matches!(events[3], LlmEvent::Done { finish: FinishReason::Length, .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn it_calls_tools_and_fails_after_output() {
        let llm = ScriptedLlm::echoing();
        llm.set_calls(vec![
            vec![Step::text(0, "One moment."), Step::tool_call(5, "clock", "{}")],
            vec![Step::text(0, "Half an"), Step::error(10, "gone")],
        ]);
        let stream = llm.generate(ask("what time is it", None), CancelFlag::new());
        let events: Vec<LlmEvent> = stream.try_collect().await.expect("no fault");
        let id = "call_1_0".to_owned();
        assert_eq!(events[2], LlmEvent::ToolCallStart { index: 0, id, name: "clock".into() });
        assert_eq!(events[3], LlmEvent::ToolCallArguments { index: 0, delta: "{}".into() });
        assert!(matches!(events[4], LlmEvent::Done { finish: FinishReason::ToolCalls, .. }));

        let stream = llm.generate(ask("and now", None), CancelFlag::new());
        let events: Vec<Result<LlmEvent, EngineError>> = stream.collect().await;
        assert_eq!(events.len(), 3);
        assert!(events[2].as_ref().is_err_and(EngineError::is_retryable));
    }

    #[tokio::test(start_paused = true)]
    async fn raising_the_flag_ends_it_within_50_ms() {
        let llm = ScriptedLlm::saying(10_000, "late");
        let flag = CancelFlag::new();
        let mut stream = llm.generate(ask("hello", None), flag.clone());
        let raise = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            flag.cancel();
            Instant::now()
        };
        let (event, raised) = tokio::join!(stream.next(), raise);
        assert_eq!(event, Some(Err(EngineError::Cancelled)));
        assert!(raised.elapsed() <= Duration::from_millis(50));
        assert_eq!(stream.next().await, None);
        assert_eq!(llm.stats().cancelled, 1);
    }
}
