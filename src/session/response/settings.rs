//! What a response is made with. Pure.

use std::sync::Arc;

use serde_json::Value;

use crate::audio::AudioFormat;
use crate::engine::llm::{ToolChoice, ToolSpec, Truncation};
use crate::session::settings::{Modality, ResponseRequest, SessionSettings};

/// What a response is made with: the session's settings under the request's overrides.
#[derive(Clone, Debug)]
pub(in crate::session) struct ResponseSettings {
    pub(in crate::session) instructions: String,
    pub(in crate::session) modality: Modality,
    pub(in crate::session) format: AudioFormat,
    pub(in crate::session) voice: String,
    pub(in crate::session) speed: f32,
    pub(in crate::session) tools: Arc<[ToolSpec]>,
    pub(in crate::session) tool_choice: ToolChoice,
    pub(in crate::session) max_output_tokens: Option<u32>,
    pub(in crate::session) truncation: Truncation,
    pub(in crate::session) metadata: Option<Value>,
    pub(in crate::session) in_history: bool,
}

impl ResponseSettings {
    pub(in crate::session) fn new(session: &SessionSettings, request: ResponseRequest) -> Self {
        Self {
            instructions: request.instructions.unwrap_or_else(|| session.instructions.clone()),
            modality: request.modality.unwrap_or(session.modality),
            format: request.output_format.unwrap_or(session.output_format),
            voice: request.voice.unwrap_or_else(|| session.voice.clone()),
            speed: session.speed,
            tools: request.tools.unwrap_or_else(|| Arc::clone(&session.tools)),
            tool_choice: request.tool_choice.unwrap_or_else(|| session.tool_choice.clone()),
            max_output_tokens: request.max_output_tokens.unwrap_or(session.max_output_tokens),
            truncation: session.truncation,
            metadata: request.metadata,
            in_history: !request.out_of_band,
        }
    }
}
