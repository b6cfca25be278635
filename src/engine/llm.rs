//! Language model: a conversation in, text and tool calls out, piece by piece.

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compute::Urgency;
use super::{CancelFlag, Device, EngineFuture, EngineProcess, EngineStream};

/// Continues a conversation.
pub trait LlmEngine: Send + Sync + Debug {
    /// Streams the assistant's next message. The last event is [`LlmEvent::Done`].
    fn generate(&self, request: LlmRequest, cancel: CancelFlag) -> EngineStream<LlmEvent>;

    /// Whether the endpoint that it stands for answers at all, at less than the cost of a call; `None` where it stands
    /// for none.
    fn reach(&self, _cancel: CancelFlag) -> Option<EngineFuture<()>> {
        None
    }

    /// The process that it runs in, where that is not this one.
    fn process(&self) -> Option<EngineProcess> {
        None
    }

    /// Where it computes, which may be another device than was asked for; of no meaning for one behind a URL.
    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// A conversation to continue.
#[derive(Clone, Debug)]
pub struct LlmRequest {
    /// The conversation, oldest first; a system message, if any, stands first.
    pub messages: Arc<[ChatMessage]>,
    /// Tools that the model may call.
    pub tools: Arc<[ToolSpec]>,
    /// Whether it may, must or must not call them.
    pub tool_choice: ToolChoice,
    /// The most tokens to generate; `None` leaves it to the engine's own limit.
    pub max_tokens: Option<u32>,
    /// What happens where the conversation outgrows the model's context.
    pub truncation: Truncation,
    /// Whether a person waits in silence for what comes next; the caller lowers it when the first clause is there.
    /// An engine that writes several answers at once serves the urgent ones first.
    pub urgency: Urgency,
}

/// What happens to a conversation that outgrows the model's context. The system message and the last turn always
/// stay.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub enum Truncation {
    /// The oldest turns go, as the engine sees fit.
    #[default]
    Auto,
    /// None go: the call fails with [`EngineError::ContextExceeded`](super::EngineError::ContextExceeded).
    Disabled,
    /// The oldest turns go, more of them at once, so that the beginning stays the same for longer and what was
    /// read of it is of use again.
    Retain {
        /// The share of what fits that stays, in [0, 1].
        ratio: f64,
        /// The most tokens behind the system message, where the context allows more.
        max_tokens: Option<u32>,
    },
}

/// Who speaks in a [`ChatMessage`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum ChatRole {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl ChatRole {
    /// The name that chat templates and the chat completions API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What is said; empty where the message holds tool calls only.
    pub content: String,
    /// Tools that the assistant called in this message.
    pub tool_calls: Vec<ToolCall>,
    /// For [`ChatRole::Tool`]: the call that this answers.
    pub tool_call_id: Option<String>,
}

impl ChatMessage {
    /// A message of plain text.
    pub fn text(role: ChatRole, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }
}

/// One call of a tool.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    /// Id that the tool's result names.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Arguments as a JSON object in text.
    pub arguments: String,
}

/// A tool that the model may call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ToolSpec {
    /// The tool's name.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: serde_json::Value,
}

/// Whether the model calls tools.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No calls.
    None,
    /// At least one call.
    Required,
    /// This one.
    Function(String),
}

/// A piece of the answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum LlmEvent {
    /// Text to append; never empty.
    Text(String),
    /// A tool call begins; its arguments follow, all of them before anything else.
    ToolCallStart {
        /// Place of the call among the calls of this answer, from 0.
        index: usize,
        /// Id of the call.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// Arguments to append to call `index`.
    ToolCallArguments {
        /// Place of the call, as in its start.
        index: usize,
        /// JSON text to append.
        delta: String,
    },
    /// The answer is complete.
    Done {
        /// Why it ended.
        finish: FinishReason,
        /// What it took.
        usage: TokenUsage,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// `max_tokens` or the model's context was reached.
    Length,
    /// The model calls tools and waits for their results.
    ToolCalls,
}

/// Tokens of one call.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct TokenUsage {
    /// Tokens of the request.
    pub input: u32,
    /// Of these, how many were served from a cache.
    pub cached: u32,
    /// Tokens generated.
    pub output: u32,
}
