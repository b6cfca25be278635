//! Session configuration, both ways.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::inbound::modality;
use crate::audio::AudioFormat;
use crate::engine::llm::{ToolChoice, ToolSpec, Truncation};
use crate::protocol::{self, ErrorCode, ProtocolError};
use crate::session::event::SessionView;
use crate::session::settings::{
    Eagerness, EchoSettings, Modality, PartialDelay, Purpose, SessionSettings, SettingsPatch, Transcription,
    TurnDetection, TurnDetectionPatch, TurnMode, TurnModePatch,
};
use crate::session::snapshot::{ResumeView, ResumedView};
use crate::session::translation::Language;

/// What is told of the silence when the text decides (see `session.endpointing`): OpenAI's default.
const ADAPTIVE_SILENCE_MS: u32 = 500;

/// The change that a client asks for.
pub(in crate::server) fn patch(update: protocol::SessionUpdate) -> Result<SettingsPatch, ProtocolError> {
    let audio = update.audio.unwrap_or_default();
    let (input, output) = (audio.input.unwrap_or_default(), audio.output.unwrap_or_default());
    let targets = update.antiphon.and_then(|ours| ours.translate_to);
    Ok(SettingsPatch {
        purpose: Some(match update.kind {
            protocol::SessionType::Realtime => Purpose::Conversation,
            protocol::SessionType::Transcription => Purpose::Transcription,
        }),
        instructions: update.instructions,
        modality: update.output_modalities.map(|modalities| modality(&modalities)),
        input_format: input.format.map(format),
        output_format: output.format.map(format),
        transcription: input.transcription.map(|wire| wire.as_ref().map(transcription)),
        turn_detection: input.turn_detection.map(|wire| wire.map(turn_detection)),
        logprobs: update
            .include
            .as_ref()
            .map(|fields| fields.iter().flatten().any(|field| field == protocol::INCLUDE_LOGPROBS)),
        translate_to: targets
            .map(|codes| codes.iter().filter_map(|code| Language::from_code(code)).collect()),
        voice: output.voice.map(|voice| voice.as_str().to_owned()),
        #[expect(clippy::cast_possible_truncation, reason = "0.25 to 1.5, checked when read")]
        speed: output.speed.map(|speed| speed as f32),
        tools: update.tools.map(|list| tools(list, "session.tools")).transpose()?,
        tool_choice: update.tool_choice.map(tool_choice),
        max_output_tokens: update.max_output_tokens.map(protocol::MaxTokens::limit),
        truncation: update.truncation.map(truncation),
        echo: EchoSettings {
            noise_reduction: input.noise_reduction.map(|wire| to_json(&wire)),
            tracing: update.tracing.map(|wire| to_json(&wire)),
            prompt: update.prompt.map(|wire| to_json(&wire)),
            include: update.include.map(|wire| to_json(&wire)),
            reasoning: update.reasoning.map(|wire| to_json(&wire)),
            parallel_tool_calls: update.parallel_tool_calls,
        },
    })
}

/// The session as its client sees it.
pub(in crate::server) fn session(view: SessionView) -> protocol::Session {
    match view.settings.purpose {
        Purpose::Conversation => conversation_session(view),
        Purpose::Transcription => transcription_session(view),
    }
}

fn transcription_session(view: SessionView) -> protocol::Session {
    let SessionView { id, expires_at, settings, resume } = view;
    let targets: Vec<String> =
        settings.translate_to.iter().map(|language| language.code().to_owned()).collect();
    protocol::Session::Transcription(Box::new(protocol::TranscriptionSession {
        object: protocol::TranscriptionSessionObject::It,
        id: id.to_string(),
        expires_at,
        audio: protocol::TranscriptionAudio { input: session_audio(&settings).input },
        include: from_json(settings.echo.include.as_ref()),
        antiphon: extension(resume, targets),
    }))
}

fn conversation_session(view: SessionView) -> protocol::Session {
    let SessionView { id, expires_at, settings, resume } = view;
    let echo = &settings.echo;
    protocol::Session::Realtime(Box::new(protocol::RealtimeSession {
        object: protocol::RealtimeSessionObject::It,
        id: id.to_string(),
        model: settings.model.clone(),
        output_modalities: vec![wire_modality(settings.modality)],
        instructions: settings.instructions.clone(),
        tools: settings.tools.iter().map(wire_tool).collect(),
        tool_choice: wire_tool_choice(&settings.tool_choice),
        parallel_tool_calls: echo.parallel_tool_calls,
        reasoning: from_json(echo.reasoning.as_ref()),
        max_output_tokens: max_tokens(settings.max_output_tokens),
        tracing: from_json(echo.tracing.as_ref()),
        truncation: wire_truncation(settings.truncation),
        prompt: from_json(echo.prompt.as_ref()),
        expires_at,
        audio: session_audio(&settings),
        include: from_json(echo.include.as_ref()),
        antiphon: extension(resume, Vec::new()),
    }))
}

fn truncation(wire: protocol::Truncation) -> Truncation {
    match wire {
        protocol::Truncation::Mode(protocol::TruncationMode::Auto) => Truncation::Auto,
        protocol::Truncation::Mode(protocol::TruncationMode::Disabled) => Truncation::Disabled,
        protocol::Truncation::Ratio(keep) => Truncation::Retain {
            ratio: keep.retention_ratio,
            max_tokens: keep.token_limits.and_then(|limits| limits.post_instructions),
        },
    }
}

fn wire_truncation(truncation: Truncation) -> protocol::Truncation {
    match truncation {
        Truncation::Auto => protocol::Truncation::Mode(protocol::TruncationMode::Auto),
        Truncation::Disabled => protocol::Truncation::Mode(protocol::TruncationMode::Disabled),
        Truncation::Retain { ratio, max_tokens } => protocol::Truncation::Ratio(protocol::RetentionRatio {
            kind: protocol::RetentionRatioType::It,
            retention_ratio: ratio,
            token_limits: max_tokens.map(|tokens| protocol::TokenLimits { post_instructions: Some(tokens) }),
        }),
    }
}

fn session_audio(settings: &SessionSettings) -> protocol::SessionAudio {
    let transcription = settings.transcription.as_ref();
    protocol::SessionAudio {
        input: protocol::AudioInput {
            format: wire_format(settings.input_format),
            transcription: transcription.map(|set| from_json(Some(&set.echo)).unwrap_or_default()),
            noise_reduction: from_json(settings.echo.noise_reduction.as_ref()),
            turn_detection: settings.turn_detection.as_ref().map(wire_turn_detection),
        },
        output: protocol::AudioOutput {
            format: wire_format(settings.output_format),
            voice: protocol::Voice::Name(settings.voice.clone()),
            speed: f64::from(settings.speed),
        },
    }
}

/// Our additions to the session; `None` where there are none.
fn extension(resume: Option<Box<ResumeView>>, targets: Vec<String>) -> Option<protocol::SessionExtension> {
    let translate_to = (!targets.is_empty()).then_some(targets);
    if resume.is_none() && translate_to.is_none() {
        return None;
    }
    let mut extension = protocol::SessionExtension { translate_to, ..Default::default() };
    if let Some(view) = resume {
        extension.resume_token = Some(view.token.as_str().to_owned());
        extension.resume_within_s = Some(view.grace_s);
        extension.resumed = Some(view.resumed.is_some());
        extension.left_off = view.resumed.map(left_off);
    }
    Some(extension)
}

fn left_off(resumed: ResumedView) -> protocol::ResumedSession {
    protocol::ResumedSession {
        last_item_id: resumed.last_item.map(|id| id.to_string()),
        interrupted: resumed.interrupted.map(|answer| protocol::InterruptedAnswer {
            item_id: answer.item.to_string(),
            heard_ms: answer.heard_ms,
            audio_ms: answer.audio_ms,
        }),
        awaits_response: resumed.awaits_response,
        input_audio_ms: resumed.input_audio_ms,
    }
}

fn transcription(wire: &protocol::Transcription) -> Transcription {
    let keywords = wire.keywords.as_ref().map(|keywords| keywords.join(", "));
    let prompt = [wire.prompt.clone(), keywords].into_iter().flatten().collect::<Vec<_>>().join(" ");
    // One language that may be spoken is the one that is; of several the engine chooses.
    let only =
        wire.languages.as_deref().and_then(|languages| languages.first().filter(|_| languages.len() == 1));
    Transcription {
        language: wire.language.as_ref().or(only).cloned(),
        prompt: Some(prompt).filter(|prompt| !prompt.is_empty()),
        delay: wire.delay.map(partial_delay).unwrap_or_default(),
        echo: to_json(wire),
    }
}

fn partial_delay(wire: protocol::TranscriptionDelay) -> PartialDelay {
    match wire {
        protocol::TranscriptionDelay::Minimal => PartialDelay::Minimal,
        protocol::TranscriptionDelay::Low => PartialDelay::Low,
        protocol::TranscriptionDelay::Medium => PartialDelay::Medium,
        protocol::TranscriptionDelay::High => PartialDelay::High,
        protocol::TranscriptionDelay::Xhigh => PartialDelay::Longest,
    }
}

fn turn_detection(wire: protocol::TurnDetectionUpdate) -> TurnDetectionPatch {
    match wire {
        protocol::TurnDetectionUpdate::ServerVad(vad) => TurnDetectionPatch {
            mode: TurnModePatch::Server {
                #[expect(clippy::cast_possible_truncation, reason = "0 to 1, checked when read")]
                threshold: vad.threshold.map(|threshold| threshold as f32),
                prefix_padding_ms: vad.prefix_padding_ms,
                silence_duration_ms: vad.silence_duration_ms,
                idle_timeout_ms: vad.idle_timeout_ms,
            },
            create_response: vad.create_response,
            interrupt_response: vad.interrupt_response,
        },
        protocol::TurnDetectionUpdate::SemanticVad(vad) => TurnDetectionPatch {
            mode: TurnModePatch::Semantic {
                eagerness: vad.eagerness.map(|eagerness| match eagerness {
                    protocol::Eagerness::Low => Eagerness::Low,
                    protocol::Eagerness::Medium => Eagerness::Medium,
                    protocol::Eagerness::High => Eagerness::High,
                    protocol::Eagerness::Auto => Eagerness::Auto,
                }),
            },
            create_response: vad.create_response,
            interrupt_response: vad.interrupt_response,
        },
    }
}

fn wire_turn_detection(detection: &TurnDetection) -> protocol::TurnDetection {
    let TurnDetection { mode, create_response, interrupt_response } = detection.clone();
    match mode {
        TurnMode::Server { threshold, prefix_padding_ms, silence_duration_ms, idle_timeout_ms } => {
            protocol::TurnDetection::ServerVad(protocol::ServerVad {
                // Through decimal text, so that 0.6 is not echoed as 0.6000000238.
                threshold: threshold.to_string().parse().unwrap_or_default(),
                prefix_padding_ms,
                silence_duration_ms: silence_duration_ms.unwrap_or(ADAPTIVE_SILENCE_MS),
                idle_timeout_ms,
                create_response,
                interrupt_response,
            })
        }
        TurnMode::Semantic { eagerness } => protocol::TurnDetection::SemanticVad(protocol::SemanticVad {
            eagerness: match eagerness {
                Eagerness::Low => protocol::Eagerness::Low,
                Eagerness::Medium => protocol::Eagerness::Medium,
                Eagerness::High => protocol::Eagerness::High,
                Eagerness::Auto => protocol::Eagerness::Auto,
            },
            create_response,
            interrupt_response,
        }),
    }
}

pub(super) fn format(wire: protocol::AudioFormat) -> AudioFormat {
    match wire {
        protocol::AudioFormat::Pcm { .. } => AudioFormat::Pcm16,
        protocol::AudioFormat::Pcmu => AudioFormat::Pcmu,
        protocol::AudioFormat::Pcma => AudioFormat::Pcma,
        protocol::AudioFormat::Opus => AudioFormat::Opus,
    }
}

pub(super) fn wire_format(format: AudioFormat) -> protocol::AudioFormat {
    match format {
        AudioFormat::Pcm16 => protocol::AudioFormat::PCM,
        AudioFormat::Pcmu => protocol::AudioFormat::Pcmu,
        AudioFormat::Pcma => protocol::AudioFormat::Pcma,
        AudioFormat::Opus => protocol::AudioFormat::Opus,
    }
}

pub(super) fn wire_modality(modality: Modality) -> protocol::Modality {
    match modality {
        Modality::Audio => protocol::Modality::Audio,
        Modality::Text => protocol::Modality::Text,
    }
}

pub(super) fn max_tokens(limit: Option<u32>) -> protocol::MaxTokens {
    limit.map_or(protocol::MaxTokens::INF, protocol::MaxTokens::Limited)
}

pub(super) fn tools(wire: Vec<protocol::Tool>, path: &str) -> Result<Arc<[ToolSpec]>, ProtocolError> {
    let tool = |(at, tool)| match tool {
        protocol::Tool::Function(function) => Ok(ToolSpec {
            name: function.name,
            description: function.description.unwrap_or_default(),
            parameters: function.parameters.map_or_else(|| serde_json::json!({}), Value::Object),
        }),
        protocol::Tool::Mcp(_) => {
            let param = format!("{path}[{at}].type");
            let message = format!(
                "Invalid '{param}': tools of type 'mcp' run at the server, which this one does not do. Declare \
                 them as type 'function' and call the MCP server from the client."
            );
            Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message))
        }
    };
    wire.into_iter().enumerate().map(tool).collect()
}

fn wire_tool(tool: &ToolSpec) -> protocol::Tool {
    protocol::Tool::Function(protocol::FunctionTool {
        name: tool.name.clone(),
        description: Some(tool.description.clone()).filter(|description| !description.is_empty()),
        parameters: tool.parameters.as_object().cloned(),
    })
}

pub(super) fn tool_choice(wire: protocol::ToolChoice) -> ToolChoice {
    match wire {
        protocol::ToolChoice::Mode(protocol::ToolChoiceMode::Auto) => ToolChoice::Auto,
        protocol::ToolChoice::Mode(protocol::ToolChoiceMode::None) => ToolChoice::None,
        protocol::ToolChoice::Mode(protocol::ToolChoiceMode::Required) => ToolChoice::Required,
        protocol::ToolChoice::Named(protocol::NamedTool::Function { name }) => ToolChoice::Function(name),
        // There are no MCP tools (see `tools`), so one that is named is as good as any.
        protocol::ToolChoice::Named(protocol::NamedTool::Mcp { .. }) => ToolChoice::Required,
    }
}

fn wire_tool_choice(choice: &ToolChoice) -> protocol::ToolChoice {
    let mode = match choice {
        ToolChoice::Auto => protocol::ToolChoiceMode::Auto,
        ToolChoice::None => protocol::ToolChoiceMode::None,
        ToolChoice::Required => protocol::ToolChoiceMode::Required,
        ToolChoice::Function(name) => {
            return protocol::ToolChoice::Named(protocol::NamedTool::Function { name: name.clone() });
        }
    };
    protocol::ToolChoice::Mode(mode)
}

fn to_json(wire: &impl Serialize) -> Value {
    serde_json::to_value(wire).unwrap_or_default()
}

/// What was read from the wire once reads again; null is absent.
fn from_json<T: DeserializeOwned>(value: Option<&Value>) -> Option<T> {
    value.filter(|value| !value.is_null()).and_then(|value| T::deserialize(value).ok())
}
