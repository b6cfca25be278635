//! Against the real program.

use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::*;
use crate::engine::tts::TimedWord;

fn engine() -> EspeakTts {
    EspeakTts::load(&EspeakConfig::default()).expect("espeak-ng is installed: apt-get install espeak-ng")
}

fn say(text: &str, speed: f32) -> TtsRequest {
    TtsRequest { text: text.into(), voice: "alloy".into(), speed }
}

async fn speak(engine: &EspeakTts, request: TtsRequest) -> (Vec<i16>, Vec<TimedWord>) {
    let events: Vec<TtsEvent> =
        engine.synthesize(request, CancelFlag::new()).try_collect().await.expect("it speaks");
    let (mut samples, mut words) = (Vec::new(), None);
    for event in events {
        match event {
            TtsEvent::Audio(chunk) => {
                assert!(words.is_none() && chunk.sample_rate == 22_050 && !chunk.samples.is_empty());
                samples.extend(chunk.samples);
            }
            TtsEvent::Words(timed) => words = Some(timed),
        }
    }
    (samples, words.expect("words come last"))
}

#[tokio::test]
async fn it_speaks_with_word_times() {
    let engine = engine();
    let text = "Hello there, the number is 120. Isn't it?";
    for _ in 0..2 {
        let (samples, words) = speak(&engine, say(text, 1.0)).await;
        let audio_ms = samples.len() as u32 * 10 / 220;
        assert!((2000..4500).contains(&audio_ms), "{audio_ms} ms");
        assert!(samples[..200].iter().any(|sample| sample.unsigned_abs() > 16), "it begins with silence");
        assert!(samples.iter().any(|sample| sample.unsigned_abs() > 3000), "it is silent");
        let spoken: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(spoken, text.split_whitespace().collect::<Vec<_>>());
        assert!(words.windows(2).all(|pair| pair[0].end_ms <= pair[1].start_ms));
        assert!(words.iter().all(|word| word.start_ms < word.end_ms && word.end_ms <= audio_ms));
    }
}

#[tokio::test]
async fn speed_and_voice_change_the_sound() {
    let engine = engine();
    let (normal, _) = speak(&engine, say("one two three four", 1.0)).await;
    let (fast, _) = speak(&engine, say("one two three four", 1.5)).await;
    assert!(fast.len() * 5 < normal.len() * 4, "{} and {} samples", fast.len(), normal.len());
    let low = TtsRequest { voice: "cedar".into(), ..say("one two three four", 1.0) };
    assert_ne!(speak(&engine, low).await.0, normal);
    let unknown = TtsRequest { voice: "nobody".into(), ..say("one two three four", 1.0) };
    assert_eq!(speak(&engine, unknown).await.0, normal);
}

#[tokio::test]
async fn odd_texts_are_spoken_or_passed_over() {
    let engine = engine();
    for text in ["—", "...", "\u{1}\u{7f}", "  ", "[[", "<", "\u{202e}\u{200b}", "-"] {
        let (_, words) = speak(&engine, say(text, 1.0)).await;
        assert_eq!(words.len(), text.split_whitespace().count(), "{text:?}");
    }
    for text in
        ["<speak><break time=\"9s\"/>hi</speak>", "日本語 привет 😀", "--stdout -w /tmp/x", "Hello...world"]
    {
        let (samples, words) = speak(&engine, say(text, 1.0)).await;
        assert!(samples.len() > 2000, "{text:?}");
        assert_eq!(words.len(), text.split_whitespace().count(), "{text:?}");
    }
    let (samples, _) = speak(&engine, say("<break time=\"9s\"/> hello", 1.0)).await;
    assert!(samples.len() < 22_050 * 5, "markup is not obeyed");
}

#[tokio::test]
async fn too_long_is_refused_and_long_is_spoken() {
    let engine = engine();
    let long = "word ".repeat(MAX_TEXT_CHARS / 5);
    let (samples, words) = speak(&engine, say(long.trim(), 1.5)).await;
    assert!(words.len() == MAX_TEXT_CHARS / 5 && samples.len() > 22_050 * 60);
    let refused =
        engine.synthesize(say(&"a".repeat(MAX_TEXT_CHARS + 1), 1.0), CancelFlag::new()).next().await;
    assert!(matches!(refused, Some(Err(EngineError::BadRequest { .. }))), "{refused:?}");
}

#[tokio::test]
async fn cancelling_ends_it() {
    let engine = engine();
    let flag = CancelFlag::new();
    let mut stream = engine.synthesize(say(&"a long story ".repeat(100), 1.0), flag.clone());
    assert!(matches!(stream.next().await, Some(Ok(TtsEvent::Audio(_)))));
    flag.cancel();
    let begin = Instant::now();
    assert_eq!(stream.next().await, Some(Err(EngineError::Cancelled)));
    assert!(begin.elapsed().as_millis() < 500);
    assert!(stream.next().await.is_none());
}

#[test]
fn a_missing_program_says_what_to_install() {
    let config = EspeakConfig { program: "/nowhere/espeak-ng".into(), ..EspeakConfig::default() };
    let error = EspeakTts::load(&config).expect_err("it is not there").to_string();
    assert!(error.contains("/nowhere/espeak-ng") && error.contains("apt-get install espeak-ng"), "{error}");
    let config = EspeakConfig { language: "tlh-x".into(), ..EspeakConfig::default() };
    assert!(EspeakTts::load(&config).expect_err("no such language").to_string().contains("tlh-x"));
}

#[test]
fn speeds() {
    for (speed, expected) in [(1.0, 175), (0.25, 80), (1.5, 263), (f32::NAN, 175), (100.0, 450)] {
        assert_eq!(words_per_minute(speed), expected);
    }
}
