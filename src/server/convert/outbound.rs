//! Session events → server events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error_body;
use super::items::wire_item;
use super::settings::{max_tokens, session, wire_format, wire_modality};
use super::transcripts::{transcription_event, translation_event};
use crate::protocol::{self, PartRef, ResponsePart, ServerEvent, StatusDetails, StatusReason};
use crate::session::SessionEvent;
use crate::session::event::{
    CloseReason, OutputPlace, ResponseEvent, ResponseStatus, ResponseView, TurnTimings,
};
use crate::session::id::ItemId;
use crate::session::settings::Modality;

/// What the client is told; `None` for the end, which is a close frame.
pub(in crate::server) fn server_event(event: SessionEvent) -> Option<ServerEvent> {
    let id = |id: Option<ItemId>| id.map(|id| id.to_string());
    Some(match event {
        SessionEvent::Created(view) => ServerEvent::SessionCreated { session: session(*view) },
        SessionEvent::Updated(view) => ServerEvent::SessionUpdated { session: session(*view) },
        SessionEvent::Error { error, client_event_id } => {
            ServerEvent::Error { error: error_body(&error, client_event_id) }
        }
        SessionEvent::SpeechStarted { item, audio_start_ms } => {
            ServerEvent::InputAudioBufferSpeechStarted { audio_start_ms, item_id: item.to_string() }
        }
        SessionEvent::SpeechStopped { item, audio_end_ms } => {
            ServerEvent::InputAudioBufferSpeechStopped { audio_end_ms, item_id: item.to_string() }
        }
        SessionEvent::InputCommitted { previous, item } => ServerEvent::InputAudioBufferCommitted {
            previous_item_id: id(previous),
            item_id: item.to_string(),
        },
        SessionEvent::InputCleared => ServerEvent::InputAudioBufferCleared,
        SessionEvent::IdleTimeout { item, audio_start_ms, audio_end_ms } => {
            let item_id = item.to_string();
            ServerEvent::InputAudioBufferTimeoutTriggered { audio_start_ms, audio_end_ms, item_id }
        }
        SessionEvent::ItemAdded { previous, item } => {
            ServerEvent::ConversationItemAdded { previous_item_id: id(previous), item: wire_item(item) }
        }
        SessionEvent::ItemDone { previous, item } => {
            ServerEvent::ConversationItemDone { previous_item_id: id(previous), item: wire_item(item) }
        }
        SessionEvent::ItemRetrieved(item) => ServerEvent::ConversationItemRetrieved { item: wire_item(item) },
        SessionEvent::ItemTruncated { item, audio_end_ms } => ServerEvent::ConversationItemTruncated {
            item_id: item.to_string(),
            content_index: 0,
            audio_end_ms,
        },
        SessionEvent::ItemDeleted(item) => ServerEvent::ConversationItemDeleted { item_id: item.to_string() },
        SessionEvent::TranscriptionDelta { .. }
        | SessionEvent::TranscriptionCompleted { .. }
        | SessionEvent::TranscriptionFailed { .. } => return transcription_event(event),
        SessionEvent::Translation(notice) => translation_event(*notice),
        SessionEvent::Response(event) => response_event(event),
        SessionEvent::Closing(_) => return None,
    })
}

fn response_event(event: ResponseEvent) -> ServerEvent {
    match event {
        ResponseEvent::Created(view) => ServerEvent::ResponseCreated { response: Box::new(response(*view)) },
        ResponseEvent::Done(view) => ServerEvent::ResponseDone { response: Box::new(response(*view)) },
        ResponseEvent::ItemAdded(place, item) => ServerEvent::ResponseOutputItemAdded {
            response_id: place.response.to_string(),
            output_index: index(&place),
            item: wire_item(item),
        },
        ResponseEvent::ItemDone(place, item) => ServerEvent::ResponseOutputItemDone {
            response_id: place.response.to_string(),
            output_index: index(&place),
            item: wire_item(item),
        },
        ResponseEvent::PartAdded(place, modality) => {
            let part = part(modality, String::new());
            ServerEvent::ResponseContentPartAdded { at: at(&place), part, antiphon: None }
        }
        ResponseEvent::PartDone(place, modality, text) => {
            ServerEvent::ResponseContentPartDone { at: at(&place), part: part(modality, text) }
        }
        ResponseEvent::TextDelta(place, delta) => {
            ServerEvent::ResponseOutputTextDelta { at: at(&place), delta }
        }
        ResponseEvent::TextDone(place, text) => ServerEvent::ResponseOutputTextDone { at: at(&place), text },
        ResponseEvent::TranscriptDelta(place, delta) => {
            let at = at(&place);
            ServerEvent::ResponseOutputAudioTranscriptDelta { at, delta, start_time: None }
        }
        ResponseEvent::TranscriptDone(place, transcript) => {
            ServerEvent::ResponseOutputAudioTranscriptDone { at: at(&place), transcript }
        }
        ResponseEvent::AudioDelta(place, bytes) => {
            ServerEvent::ResponseOutputAudioDelta { at: at(&place), delta: STANDARD.encode(bytes) }
        }
        ResponseEvent::AudioDone(place) => ServerEvent::ResponseOutputAudioDone { at: at(&place) },
        ResponseEvent::ArgumentsDelta(place, call, delta) => {
            ServerEvent::ResponseFunctionCallArgumentsDelta {
                output_index: index(&place),
                response_id: place.response.to_string(),
                item_id: place.item.to_string(),
                call_id: call.call_id,
                delta,
            }
        }
        ResponseEvent::ArgumentsDone(place, call, arguments) => {
            ServerEvent::ResponseFunctionCallArgumentsDone {
                output_index: index(&place),
                response_id: place.response.to_string(),
                item_id: place.item.to_string(),
                call_id: call.call_id,
                name: call.name,
                arguments,
            }
        }
    }
}

fn part(modality: Modality, text: String) -> ResponsePart {
    match modality {
        Modality::Audio => ResponsePart::Audio { transcript: Some(text) },
        Modality::Text => ResponsePart::Text { text },
    }
}

fn at(place: &OutputPlace) -> PartRef {
    PartRef {
        response_id: place.response.to_string(),
        item_id: place.item.to_string(),
        output_index: index(place),
        content_index: 0,
    }
}

fn index(place: &OutputPlace) -> u32 {
    u32::try_from(place.index).unwrap_or(u32::MAX)
}

fn response(view: ResponseView) -> protocol::Response {
    let (status, status_details) = status(&view.status);
    protocol::Response {
        object: protocol::ResponseObject::It,
        id: view.id.to_string(),
        status,
        status_details,
        output: view.output.into_iter().map(wire_item).collect(),
        conversation_id: view.conversation.map(|id| id.as_str().to_owned()),
        output_modalities: vec![wire_modality(view.modality)],
        max_output_tokens: max_tokens(view.max_output_tokens),
        audio: Some(protocol::ResponseAudio {
            output: protocol::ResponseAudioOutput {
                format: wire_format(view.format),
                voice: protocol::Voice::Name(view.voice),
            },
        }),
        usage: view.usage.map(|usage| {
            let tokens = usage.tokens;
            protocol::Usage::text(tokens.input.into(), tokens.cached.into(), tokens.output.into())
        }),
        metadata: view.metadata.and_then(|metadata| serde_json::from_value(metadata).ok()),
        antiphon: view
            .timings
            .map(|timings| protocol::ResponseExtension { timings_ms: wire_timings(timings) }),
    }
}

fn status(status: &ResponseStatus) -> (protocol::ResponseStatus, Option<StatusDetails>) {
    use protocol::ResponseStatus as Wire;
    match status {
        ResponseStatus::InProgress => (Wire::InProgress, None),
        ResponseStatus::Completed => (Wire::Completed, Some(StatusDetails::completed())),
        ResponseStatus::Interrupted => {
            (Wire::Cancelled, Some(StatusDetails::cancelled(StatusReason::TurnDetected)))
        }
        ResponseStatus::Cancelled => {
            (Wire::Cancelled, Some(StatusDetails::cancelled(StatusReason::ClientCancelled)))
        }
        ResponseStatus::OutOfTokens => {
            (Wire::Incomplete, Some(StatusDetails::incomplete(StatusReason::MaxOutputTokens)))
        }
        ResponseStatus::Failed(error) => {
            let body = error_body(error, None);
            let error = protocol::ResponseError {
                kind: body.kind,
                code: body.code.unwrap_or(protocol::ErrorCode::SERVER_ERROR),
                message: body.message,
            };
            (Wire::Failed, Some(StatusDetails::failed(error)))
        }
    }
}

fn wire_timings(timings: TurnTimings) -> protocol::ResponseTimings {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of one turn")]
    let whole = |ms: Option<f64>| ms.map(|ms| ms.round() as u64);
    protocol::ResponseTimings {
        endpointing: whole(timings.endpointing),
        stt_queue: whole(timings.queue_stt),
        stt: whole(timings.stt),
        llm_queue: whole(timings.queue_llm),
        llm_first_token: whole(timings.llm_first_token),
        llm_first_clause: whole(timings.llm_first_clause),
        tts_queue: whole(timings.queue_tts),
        tts_first_audio: whole(timings.tts_first_audio),
    }
}

/// The close code and text for the end of a session. 1012 and 1013 tell clients to come back; 1008 does not.
pub(in crate::server) fn close_code(reason: CloseReason) -> (u16, &'static str) {
    match reason {
        CloseReason::ClientGone => (1000, ""),
        CloseReason::Shutdown => (1012, "the server is shutting down"),
        CloseReason::Idle => (1008, "no event for longer than session.limits.idle_s"),
        CloseReason::Expired => (1008, "the session reached session.limits.max_session_s"),
        CloseReason::SlowClient => (1008, "the client does not read what it is sent"),
        CloseReason::OutOfMemory => (1008, "the session stayed over session.limits.max_memory_bytes"),
        CloseReason::Silent => (1008, "the client shows no life"),
        CloseReason::Unhealthy => (1011, "the session did not answer; open a new one"),
        CloseReason::TakenOver => (1008, "the session was resumed on another connection"),
    }
}
