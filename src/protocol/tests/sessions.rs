//! Merging of updates into the session in effect.

use serde_json::json;

use super::super::*;
use super::server_events::realtime_session;

fn apply(session: &mut Session, update: &serde_json::Value) {
    session.apply(
        &from_value(update, "session").unwrap(),
        &ServerVad { threshold: 0.75, ..ServerVad::default() },
    );
}

#[test]
fn an_update_changes_only_what_it_holds() {
    let before = Session::Realtime(Box::new(realtime_session()));
    let mut after = before.clone();
    apply(&mut after, &json!({"type": "realtime", "model": "other"}));
    assert_eq!(after, before, "the model is fixed");
    apply(
        &mut after,
        &json!({"type": "realtime", "instructions": "", "tracing": "auto", "max_output_tokens": 7,
            "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}},
                "output": {"speed": 1.25}}}),
    );
    let (Session::Realtime(before), Session::Realtime(after)) = (before, after) else { panic!() };
    let mut expected = before;
    expected.instructions.clear();
    expected.tracing = Some(Tracing::Mode(TracingMode::Auto));
    expected.max_output_tokens = MaxTokens::Limited(7);
    expected.audio.output.speed = 1.25;
    expected.audio.input.turn_detection =
        Some(TurnDetection::ServerVad(ServerVad { silence_duration_ms: 900, ..ServerVad::default() }));
    assert_eq!(after, expected);
}

#[test]
fn null_is_push_to_talk_and_a_new_kind_starts_from_defaults() {
    let mut session = Session::Realtime(Box::new(realtime_session()));
    let input = |detection| json!({"type": "realtime", "audio": {"input": {"turn_detection": detection}}});
    apply(&mut session, &input(json!(null)));
    assert_eq!(session.audio_input().turn_detection, None);
    apply(&mut session, &input(json!({"type": "semantic_vad", "interrupt_response": false})));
    let semantic = SemanticVad { interrupt_response: false, ..SemanticVad::default() };
    assert_eq!(session.audio_input().turn_detection, Some(TurnDetection::SemanticVad(semantic)));
    apply(&mut session, &input(json!({"type": "server_vad", "idle_timeout_ms": 6000})));
    let server = ServerVad { threshold: 0.75, idle_timeout_ms: Some(6000), ..ServerVad::default() };
    assert_eq!(session.audio_input().turn_detection, Some(TurnDetection::ServerVad(server)));
    apply(&mut session, &json!({"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcma"}}}}));
    assert!(session.audio_input().turn_detection.is_some(), "an absent field changes nothing");
    apply(&mut session, &input(json!({"type": "server_vad", "idle_timeout_ms": null})));
    let server = ServerVad { threshold: 0.75, ..ServerVad::default() };
    assert_eq!(session.audio_input().turn_detection, Some(TurnDetection::ServerVad(server)));
}

#[test]
fn a_transcription_session_takes_input_alone() {
    let mut session = super::server_events::transcription_session();
    apply(
        &mut session,
        &json!({"type": "transcription", "instructions": "x", "include": ["item.input_audio_transcription.logprobs"],
            "audio": {"input": {"transcription": {"model": "whisper-1"}}}}),
    );
    let Session::Transcription(session) = session else { panic!() };
    assert_eq!(session.include.as_deref(), Some(&["item.input_audio_transcription.logprobs".to_owned()][..]));
    assert_eq!(session.audio.input.transcription.unwrap().model.as_deref(), Some("whisper-1"));
}
