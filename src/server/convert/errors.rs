//! Session errors → error bodies: the second and last conversion of an error.

use crate::engine::EngineError;
use crate::protocol::{ErrorBody, ErrorCode, ErrorType};
use crate::session::SessionError;
use crate::session::error::{EndError, ItemEvent};
use crate::session::quota::QuotaError;

/// The error as the client sees it.
pub(in crate::server) fn error_body(error: &SessionError, client_event_id: Option<String>) -> ErrorBody {
    let (kind, code, param) = classify(error);
    ErrorBody {
        kind,
        code: Some(code),
        message: error.to_string(),
        param: param.map(str::to_owned),
        event_id: client_event_id,
    }
}

fn classify(error: &SessionError) -> (ErrorType, ErrorCode, Option<&str>) {
    use ErrorType::{InvalidRequestError as Invalid, RateLimitError as Limit, ServerError as Server};
    match error {
        SessionError::BadEvent { code, param, .. } => {
            (Invalid, ErrorCode::other(code.clone()), param.as_deref())
        }
        SessionError::BadAudio { .. } => (Invalid, ErrorCode::INVALID_VALUE, Some("audio")),
        SessionError::InputBufferFull { .. } => {
            (Limit, ErrorCode::other("input_audio_buffer_full"), Some("audio"))
        }
        SessionError::InputBufferTooSmall { .. } => {
            (Invalid, ErrorCode::INPUT_AUDIO_BUFFER_COMMIT_EMPTY, None)
        }
        SessionError::UnknownItem { event: ItemEvent::Retrieve, .. } => {
            (Invalid, ErrorCode::ITEM_RETRIEVE_INVALID_ITEM_ID, Some("item_id"))
        }
        SessionError::UnknownItem { event, .. } => {
            let (code, param) = match event {
                ItemEvent::Create => ("item_create_invalid_previous_item_id", "previous_item_id"),
                ItemEvent::Truncate => ("item_truncate_invalid_item_id", "item_id"),
                ItemEvent::Delete => ("item_delete_invalid_item_id", "item_id"),
                ItemEvent::Respond | ItemEvent::Retrieve => ("item_not_found", "response.input"),
            };
            (Invalid, ErrorCode::other(code), Some(param))
        }
        SessionError::ItemExists { .. } => {
            (Invalid, ErrorCode::other("item_create_duplicate_item_id"), Some("item.id"))
        }
        SessionError::TooManyItems { .. } => (Limit, ErrorCode::other("conversation_too_long"), None),
        SessionError::NotTruncatable { .. } => {
            (Invalid, ErrorCode::other("item_truncate_invalid_item_id"), Some("item_id"))
        }
        SessionError::TruncatePastEnd { .. } => (Invalid, ErrorCode::INVALID_VALUE, Some("audio_end_ms")),
        SessionError::ResponseActive { .. } => {
            (Invalid, ErrorCode::CONVERSATION_ALREADY_HAS_ACTIVE_RESPONSE, None)
        }
        SessionError::NoActiveResponse => (Invalid, ErrorCode::RESPONSE_CANCEL_NOT_ACTIVE, None),
        SessionError::VoiceLocked { .. } => {
            (Invalid, ErrorCode::other("cannot_update_voice"), Some("session.audio.output.voice"))
        }
        SessionError::PurposeFixed { .. }
        | SessionError::TranscribesOnly
        | SessionError::TooManyLanguages { .. }
        | SessionError::TranslationsWaiting { .. } => classify_listening(error),
        SessionError::Quota(error) => (Limit, quota_code(error), None),
        SessionError::RequestCancelled => (Invalid, ErrorCode::other("request_cancelled"), None),
        SessionError::Ended(error) => {
            let (kind, code) = end_code(error);
            (kind, code, None)
        }
        SessionError::UnknownTool { .. } | SessionError::BrokenCall { .. } => {
            (Server, ErrorCode::other("invalid_function_call"), None)
        }
        SessionError::Overloaded(_) => (Server, ErrorCode::OVERLOADED, None),
        SessionError::Engine(EngineError::ContextExceeded { .. }) => {
            (Invalid, ErrorCode::other("context_length_exceeded"), None)
        }
        SessionError::Engine(_) => (Server, ErrorCode::SERVER_ERROR, None),
    }
}

/// What only sessions that transcribe and translate say.
fn classify_listening(error: &SessionError) -> (ErrorType, ErrorCode, Option<&'static str>) {
    let invalid = |code, param| (ErrorType::InvalidRequestError, code, param);
    match error {
        SessionError::PurposeFixed { .. } => invalid(ErrorCode::INVALID_VALUE, Some("session.type")),
        SessionError::TooManyLanguages { .. } => {
            invalid(ErrorCode::other("array_above_max_length"), Some("session.antiphon.translate_to"))
        }
        SessionError::TranslationsWaiting { .. } => (ErrorType::ServerError, ErrorCode::OVERLOADED, None),
        _ => invalid(ErrorCode::other("unsupported_in_transcription_session"), None),
    }
}

/// Each limit has a code of its own.
pub(in crate::server) fn quota_code(error: &QuotaError) -> ErrorCode {
    match error {
        QuotaError::UserSessions { .. } => ErrorCode::SESSION_LIMIT_REACHED,
        QuotaError::UserConcurrentRequests { .. } => ErrorCode::other("user_concurrency_limit_exceeded"),
        QuotaError::UserResponsesPerMinute { .. } => ErrorCode::INFERENCE_RATE_LIMIT_EXCEEDED,
        QuotaError::SessionConcurrentRequests { .. } => {
            ErrorCode::other("session_concurrency_limit_exceeded")
        }
        QuotaError::SessionRequestsPerMinute { .. } => ErrorCode::RATE_LIMIT_EXCEEDED,
        QuotaError::Memory { .. } => ErrorCode::other("session_memory_exceeded"),
    }
}

fn end_code(error: &EndError) -> (ErrorType, ErrorCode) {
    match error {
        EndError::Idle { .. } => (ErrorType::InvalidRequestError, ErrorCode::other("session_idle")),
        EndError::Expired { .. } => (ErrorType::InvalidRequestError, ErrorCode::SESSION_EXPIRED),
        EndError::OutOfMemory { .. } => {
            (ErrorType::RateLimitError, ErrorCode::other("session_out_of_memory"))
        }
        EndError::Silent => (ErrorType::InvalidRequestError, ErrorCode::other("client_silent")),
        EndError::SlowClient { .. } => (ErrorType::InvalidRequestError, ErrorCode::other("client_too_slow")),
        EndError::Unhealthy { .. } => (ErrorType::ServerError, ErrorCode::other("session_unhealthy")),
    }
}
