//! What a user hears, and what it takes for an answer.

use super::*;
use base64::Engine as _;

/// An ear that heard `events` at one moment.
fn ear(events: &[&str]) -> (Ear, Instant) {
    let (mut ear, now) = (Ear::new(AudioFormat::Pcm16, false), Instant::now());
    for event in events {
        ear.hear(serde_json::from_str(event).unwrap(), now);
    }
    (ear, now)
}

fn audio(response: &str, item: &str, ms: usize) -> String {
    let delta = base64::engine::general_purpose::STANDARD.encode(vec![0; 48 * ms]);
    serde_json::json!({"type": "response.output_audio.delta", "response_id": response, "item_id": item,
        "delta": delta})
    .to_string()
}

#[test]
fn binary_audio_belongs_to_the_part_that_announced_it() {
    let part = r#"{"type":"response.content_part.added","response_id":"r","item_id":"a",
        "antiphon":{"audio_stream":7}}"#;
    let (mut ear, now) = ear(&[CREATED, ITEM, part]);
    ear.hear(ServerEvent::BinaryAudio { stream: 7, audio: vec![0; 4_800] }, now);
    assert_eq!(ear.answers[0].audio, Duration::from_millis(100));
    assert!(ear.faults.is_empty(), "{:?}", ear.faults);
    ear.hear(ServerEvent::BinaryAudio { stream: 8, audio: vec![0; 4_800] }, now);
    assert_eq!(ear.faults.len(), 1, "nobody announced 8");
}

const STARTED: &str = r#"{"type":"input_audio_buffer.speech_started","item_id":"u"}"#;
const COMMITTED: &str = r#"{"type":"input_audio_buffer.committed","item_id":"u"}"#;
const TRANSCRIPT: &str =
    r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"u","transcript":" hi "}"#;
const CREATED: &str = r#"{"type":"response.created","response":{"id":"r","status":"in_progress"}}"#;
const ITEM: &str = r#"{"type":"response.output_item.added","response_id":"r","item":{"id":"a"}}"#;
const TEXT: &str =
    r#"{"type":"response.output_audio_transcript.delta","response_id":"r","item_id":"a","delta":"Hello."}"#;
const DONE: &str = r#"{"type":"response.done","response":{"id":"r","status":"completed"}}"#;

#[test]
fn a_turn_is_put_together() {
    let sound = audio("r", "a", 500);
    let (ear, now) = ear(&[STARTED, COMMITTED, TRANSCRIPT, CREATED, ITEM, TEXT, &sound, &sound, DONE]);
    assert_eq!(ear.transcript().as_deref(), Some("hi"));
    let answer = ear.answer().unwrap();
    assert_eq!((answer.text.as_str(), answer.status.as_deref()), ("Hello.", Some("completed")));
    assert_eq!(answer.audio, Duration::from_secs(1));
    assert_eq!(ear.playing_until, Some(now + Duration::from_secs(1)));
    assert_eq!(ear.played(answer, now + Duration::from_millis(300)), Duration::from_millis(300));
    assert!(ear.is_busy(now) && !ear.is_busy(now + Duration::from_secs(1)));
    assert!(ear.faults.is_empty(), "{:?}", ear.faults);
}

#[test]
fn the_transcript_waits_for_every_item() {
    let (ear, _) = ear(&[STARTED, COMMITTED]);
    assert_eq!(ear.transcript(), None);
    assert_eq!(ear.heard_so_far(), "");
}

#[test]
fn events_of_strangers_are_faults() {
    let foreign = audio("x", "y", 20);
    for (events, words) in [
        (vec![foreign.as_str()], "never had"),
        (vec![TRANSCRIPT], "never had"),
        (vec![CREATED, CREATED], "twice"),
        (vec![CREATED, ITEM, DONE, TEXT], "after its response.done"),
        (vec![CREATED, DONE, DONE], "after its response.done"),
        (
            vec![
                r#"{"type":"session.created","session":{"id":"s"}}"#,
                r#"{"type":"session.updated","session":{"id":"t"}}"#,
            ],
            "is now t",
        ),
    ] {
        let (ear, _) = ear(&events);
        assert!(ear.faults.iter().any(|fault| fault.contains(words)), "{events:?}: {:?}", ear.faults);
    }
}

#[test]
fn what_comes_late_of_an_interrupted_answer_is_measured_but_not_played() {
    let sound = audio("r", "a", 500);
    let (mut ear, now) = ear(&[STARTED, COMMITTED, CREATED, ITEM, &sound]);
    ear.begin_turn();
    ear.stop_playing();
    let later = now + Duration::from_millis(90);
    ear.hear(serde_json::from_str(&sound).unwrap(), later);
    assert_eq!(ear.before.as_ref().unwrap().last_at, Some(later));
    assert!(ear.faults.is_empty() && !ear.is_playing(later));
}
