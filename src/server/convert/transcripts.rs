//! What was heard → server events.

use super::error_body;
use crate::engine::stt::TokenLogprob;
use crate::protocol::{self, ServerEvent};
use crate::session::event::TranscribedAudio;
use crate::session::translation::{Translation, TranslationNotice};
use crate::session::{SessionError, SessionEvent};

/// Events about transcripts; `None` for all others.
pub(super) fn transcription_event(event: SessionEvent) -> Option<ServerEvent> {
    Some(match event {
        SessionEvent::TranscriptionDelta { item, delta } => ServerEvent::InputAudioTranscriptionDelta {
            item_id: item.to_string(),
            content_index: 0,
            delta,
            logprobs: None,
        },
        SessionEvent::TranscriptionCompleted { item, transcript, audio } => {
            let TranscribedAudio { seconds, language, logprobs } = audio;
            ServerEvent::InputAudioTranscriptionCompleted {
                item_id: item.to_string(),
                content_index: 0,
                transcript,
                usage: protocol::TranscriptionUsage::Duration { seconds },
                logprobs: logprobs.map(|tokens| tokens.into_iter().map(logprob).collect()),
                languages: language.map(|code| vec![protocol::DetectedLanguage { code }]),
            }
        }
        SessionEvent::TranscriptionFailed { item, error } => ServerEvent::InputAudioTranscriptionFailed {
            item_id: item.to_string(),
            content_index: 0,
            error: wire_error(&error),
        },
        _ => return None,
    })
}

fn logprob(token: TokenLogprob) -> protocol::Logprob {
    protocol::Logprob {
        token: String::from_utf8_lossy(&token.bytes).into_owned(),
        // Through decimal text, so that -0.1 is not told as -0.10000000149.
        logprob: token.logprob.to_string().parse().unwrap_or_default(),
        bytes: token.bytes,
    }
}

fn wire_error(error: &SessionError) -> protocol::TranscriptionError {
    let body = error_body(error, None);
    protocol::TranscriptionError {
        kind: Some("server_error".to_owned()),
        code: body.code,
        message: Some(body.message),
        param: None,
    }
}

/// A translation, for clients that asked for it.
pub(super) fn translation_event(notice: TranslationNotice) -> ServerEvent {
    let (item_id, language) = (notice.item.to_string(), notice.language.code().to_owned());
    let content_index = 0;
    match notice.translation {
        Translation::Partial { revision, source, text } => ServerEvent::AntiphonTranslationPartial {
            item_id,
            content_index,
            language,
            revision,
            source,
            text,
        },
        Translation::Completed { source, text } => {
            ServerEvent::AntiphonTranslationCompleted { item_id, content_index, language, source, text }
        }
        Translation::Failed(error) => {
            let error = wire_error(&error);
            ServerEvent::AntiphonTranslationFailed { item_id, content_index, language, error }
        }
    }
}
