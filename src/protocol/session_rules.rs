//! What belongs to which type of session, and which languages there are.

use super::audio_config::{AudioInputUpdate, Transcription};
use super::decode::join;
use super::error::{ErrorCode, ProtocolError};
use super::session::{SessionType, SessionUpdate};
use super::turn_detection::TurnDetectionUpdate;

/// Checks that all fields of an update belong to the type of session that it names.
pub(super) fn check(update: &SessionUpdate, path: &str) -> Result<(), ProtocolError> {
    let input = update.audio.as_ref().and_then(|audio| audio.input.as_ref());
    if let Some(Some(transcription)) = input.and_then(|input| input.transcription.as_ref()) {
        check_transcription(transcription, &join(path, "audio.input.transcription"))?;
    }
    match update.kind {
        SessionType::Realtime => check_conversation(update, path),
        SessionType::Transcription => check_transcription_session(update, input, path),
    }
}

fn check_conversation(update: &SessionUpdate, path: &str) -> Result<(), ProtocolError> {
    let targets = update.antiphon.as_ref().and_then(|ours| ours.translate_to.as_ref());
    if targets.is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let param = join(path, "antiphon.translate_to");
    let message = format!(
        "Invalid '{param}': translations are made in sessions of type 'transcription'; connect with \
         ?intent=transcription."
    );
    Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message))
}

fn check_transcription_session(
    update: &SessionUpdate,
    input: Option<&AudioInputUpdate>,
    path: &str,
) -> Result<(), ProtocolError> {
    if let Some(field) = answering_field(update) {
        let param = join(path, field);
        let message = format!(
            "Invalid '{param}': a session of type 'transcription' does not answer. It has 'audio.input', \
             'include' and 'antiphon.translate_to'."
        );
        return Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message));
    }
    if let Some(Some(TurnDetectionUpdate::SemanticVad(_))) =
        input.and_then(|input| input.turn_detection.as_ref())
    {
        let param = join(path, "audio.input.turn_detection.type");
        let message = format!(
            "Invalid '{param}': a transcription session has 'server_vad' or null, not 'semantic_vad'."
        );
        return Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message));
    }
    if input.is_some_and(|input| input.transcription == Some(None)) {
        let param = join(path, "audio.input.transcription");
        let message =
            format!("Invalid '{param}': null would leave a session of type 'transcription' nothing to do.");
        return Err(ProtocolError::at(param, ErrorCode::INVALID_VALUE, message));
    }
    check_targets(update, &join(path, "antiphon.translate_to"))
}

/// A field that only makes sense where there are answers.
fn answering_field(update: &SessionUpdate) -> Option<&'static str> {
    let output = update.audio.as_ref().and_then(|audio| audio.output.as_ref());
    let fields = [
        ("output_modalities", update.output_modalities.is_some()),
        ("instructions", update.instructions.is_some()),
        ("audio.output", output.is_some()),
        ("tools", update.tools.is_some()),
        ("tool_choice", update.tool_choice.is_some()),
        ("max_output_tokens", update.max_output_tokens.is_some()),
    ];
    fields.into_iter().find(|(_, is_there)| *is_there).map(|(field, _)| field)
}

fn check_transcription(wire: &Transcription, path: &str) -> Result<(), ProtocolError> {
    if let Some(language) = &wire.language {
        check_spoken(language, &join(path, "language"))?;
    }
    let languages = wire.languages.iter().flatten().enumerate();
    languages.into_iter().try_for_each(|(index, language)| {
        check_spoken(language, &format!("{}[{index}]", join(path, "languages")))
    })
}

/// Clients send `en-US` where the protocol has `en`; Whisper knows some languages by three letters alone.
fn check_spoken(language: &str, param: &str) -> Result<(), ProtocolError> {
    let code = language.split(['-', '_']).next().unwrap_or(language).to_ascii_lowercase();
    let known = isolang::Language::from_639_1(&code).or_else(|| isolang::Language::from_639_3(&code));
    known.map(drop).ok_or_else(|| unknown_language(language, param))
}

fn check_targets(update: &SessionUpdate, path: &str) -> Result<(), ProtocolError> {
    let targets = update.antiphon.iter().flat_map(|ours| ours.translate_to.iter().flatten()).enumerate();
    targets.into_iter().try_for_each(|(index, code)| {
        let is_known = isolang::Language::from_639_1(code).is_some();
        is_known.then_some(()).ok_or_else(|| unknown_language(code, &format!("{path}[{index}]")))
    })
}

fn unknown_language(language: &str, param: &str) -> ProtocolError {
    let short: String = language.chars().take(20).collect();
    let named = isolang::Language::from_name(&short).and_then(|language| language.to_639_1());
    let hint = named.map(|code| format!(" Did you mean '{code}'?")).unwrap_or_default();
    let message = format!(
        "Invalid '{param}': '{short}' is no language. Expected an ISO 639-1 code of two letters like 'en'.{hint}"
    );
    ProtocolError::at(param, ErrorCode::INVALID_VALUE, message)
}
