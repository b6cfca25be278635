//! Against whisper.cpp and the starter model, with espeak-ng as the speaker.

use std::path::Path;

use futures::TryStreamExt;
use tokio::time::{Duration, timeout};

use super::*;
use crate::backend::espeak::{EspeakConfig, EspeakTts};
use crate::engine::EngineError;
use crate::engine::tts::{TtsEngine, TtsEvent, TtsRequest};

/// A path below the repository's root, where tests of any directory find it.
fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn config() -> WhisperConfig {
    let model = root("models/starter/stt/ggml-starter.bin");
    assert!(model.exists(), "{} is missing: run `make starter`", model.display());
    WhisperConfig { model, ..WhisperConfig::default() }
}

fn engine() -> WhisperEngine {
    WhisperEngine::load(&config()).expect("the starter model loads")
}

fn request(audio: Vec<f32>) -> SttRequest {
    SttRequest { audio: audio.into(), language: None, prompt: None }
}

/// `text` in espeak-ng's voice, at 16 kHz by linear interpolation.
async fn spoken(text: &str) -> Vec<f32> {
    let tts = EspeakTts::load(&EspeakConfig::default()).expect("apt-get install espeak-ng");
    let request = TtsRequest { text: text.into(), voice: "en-us".into(), speed: 1.0 };
    let events: Vec<TtsEvent> =
        tts.synthesize(request, CancelFlag::new()).try_collect().await.expect("speech");
    let mut samples = vec![0.0; 4000];
    for event in events {
        if let TtsEvent::Audio(chunk) = event {
            samples.extend(chunk.samples.iter().map(|sample| f32::from(*sample) / 32_768.0));
        }
    }
    let len = samples.len() * 16_000 / 22_050;
    let at = |n: usize| {
        let place = n as f64 * 22_050.0 / 16_000.0;
        let (index, part) = (place as usize, place.fract() as f32);
        let next = samples.get(index + 1).copied().unwrap_or_default();
        samples[index] * (1.0 - part) + next * part
    };
    (0..len).map(at).collect()
}

fn words(text: &str) -> Vec<String> {
    let clean = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(clean).collect()
}

#[tokio::test]
async fn it_understands_speech() {
    let engine = engine();
    let audio = spoken("Hello, how are you?").await;
    for _ in 0..2 {
        let heard = engine.transcribe(request(audio.clone()), CancelFlag::new()).await.expect("a transcript");
        assert_eq!(words(&heard.text), ["hello", "how", "are", "you"], "{heard:?}");
        assert_eq!(heard.language.as_deref(), Some("en"));
        let tokens: Vec<u8> = heard.tokens.iter().flat_map(|token| token.bytes.clone()).collect();
        assert_eq!(String::from_utf8_lossy(&tokens).trim(), heard.text, "nothing but the text");
        assert!(heard.tokens.iter().all(|token| (-5.0..=0.0).contains(&token.logprob)), "{:?}", heard.tokens);
    }
}

/// The guards drop what was invented, not what was said quietly: 40 dB below espeak-ng's own loudness.
#[tokio::test]
async fn quiet_and_short_speech_passes_the_guards() {
    let engine = engine();
    for (text, gain) in
        [("Hello, how are you?", 0.1), ("Hello, how are you?", 0.01), ("Yes.", 1.0), ("No.", 0.1)]
    {
        let audio = spoken(text).await.into_iter().map(|sample| sample * gain).collect();
        let heard = engine.transcribe(request(audio), CancelFlag::new()).await.expect("a transcript");
        assert_eq!((words(&heard.text), heard.guarded), (words(text), None), "{text} at {gain}");
    }
}

#[tokio::test]
async fn any_audio_is_survived() {
    let engine = engine();
    let noise = |len: usize| (0..len).map(|n| ((n * 7919) % 211) as f32 / 1055.0 - 0.1).collect::<Vec<_>>();
    for audio in [vec![], vec![0.0], vec![0.0; 1600], vec![f32::NAN; 5000], noise(16_000), noise(16_000 * 35)]
    {
        let len = audio.len();
        let heard = engine.transcribe(request(audio), CancelFlag::new()).await;
        assert!(heard.is_ok(), "{len} samples: {heard:?}");
    }
}

#[tokio::test]
async fn slots_run_side_by_side_without_mixing() {
    let engine = Arc::new(engine());
    let texts = ["Hello, how are you?", "What time is it?"];
    let audio = [spoken(texts[0]).await, spoken(texts[1]).await];
    let alone = [
        engine.transcribe(request(audio[0].clone()), CancelFlag::new()).await.expect("a transcript"),
        engine.transcribe(request(audio[1].clone()), CancelFlag::new()).await.expect("a transcript"),
    ];
    let calls = (0..12).map(|n| engine.transcribe(request(audio[n % 2].clone()), CancelFlag::new()));
    for (n, heard) in futures::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(heard.as_ref(), Ok(&alone[n % 2]), "call {n}");
    }
}

#[tokio::test]
async fn cancelling_and_dropping_free_the_thread() {
    let engine = WhisperEngine::load(&WhisperConfig { slots: 1, ..config() }).expect("it loads");
    let long: Vec<f32> = (0..16_000 * 120).map(|n| (n as f32 * 0.05).sin() * 0.2).collect();
    let flag = CancelFlag::new();
    let call = engine.transcribe(request(long.clone()), flag.clone());
    let raise = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        flag.cancel();
    };
    let (heard, ()) = tokio::join!(call, raise);
    assert_eq!(heard, Err(EngineError::Cancelled));
    let dropped =
        timeout(Duration::from_millis(30), engine.transcribe(request(long), CancelFlag::new())).await;
    assert!(dropped.is_err());
    // The one thread is free again for the next call, long before two minutes of audio are through.
    let next = engine.transcribe(request(vec![0.0; 16_000]), CancelFlag::new());
    assert!(timeout(Duration::from_secs(20), next).await.is_ok_and(|heard| heard.is_ok()));
}

#[tokio::test]
async fn languages_are_checked() {
    let engine = engine();
    for (language, is_right) in [("en-US", true), ("EN", true), ("de", false), ("x\0y", false), ("", false)] {
        let asked = SttRequest { language: Some(language.into()), ..request(vec![0.0; 8000]) };
        let heard = engine.transcribe(asked, CancelFlag::new()).await;
        assert_eq!(heard.is_ok(), is_right, "{language:?}: {heard:?}");
    }
    let german = WhisperConfig { language: Some("de".into()), ..config() };
    let error = WhisperEngine::load(&german).expect_err("an English-only model").to_string();
    assert!(error.contains("English alone"), "{error}");
}

#[test]
fn missing_and_damaged_models_say_what_to_do() {
    let missing = WhisperConfig { model: "/nowhere/model.bin".into(), ..WhisperConfig::default() };
    let error = WhisperEngine::load(&missing).expect_err("it is not there").to_string();
    assert!(error.contains("/nowhere/model.bin") && error.contains("make starter"), "{error}");
    let bytes = std::fs::read(config().model).expect("readable");
    let directory = tempfile::tempdir().expect("a directory");
    for (name, bytes) in [("empty", &[][..]), ("half", &bytes[..bytes.len() / 2]), ("zip", b"PK\x03\x04zip")]
    {
        let model = directory.path().join(name);
        std::fs::write(&model, bytes).expect("written");
        let error =
            WhisperEngine::load(&WhisperConfig { model, ..config() }).expect_err("damaged").to_string();
        assert!(error.contains(name) && error.contains("make starter"), "{error}");
    }
}
