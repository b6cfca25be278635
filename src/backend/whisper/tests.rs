//! Against whisper.cpp and the starter model, with espeak-ng as the speaker.

use std::path::Path;

use futures::TryStreamExt;
use tokio::time::{Duration, timeout};

use super::*;
use crate::backend::espeak::{EspeakConfig, EspeakTts};
use crate::engine::EngineError;
use crate::engine::tts::{TimedWord, TtsEngine, TtsEvent, TtsRequest};

/// Silence before the speech of tests, in samples of espeak-ng's rate.
const LEAD: usize = 4000;

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
    SttRequest { audio: audio.into(), language: None, prompt: None, word_times: false }
}

/// `text` in espeak-ng's voice, at 16 kHz by linear interpolation.
async fn spoken(text: &str) -> Vec<f32> {
    spoken_words(text).await.0
}

/// The same, and when espeak-ng says each word.
async fn spoken_words(text: &str) -> (Vec<f32>, Vec<TimedWord>) {
    let tts = EspeakTts::load(&EspeakConfig::default()).expect("apt-get install espeak-ng");
    let request = TtsRequest { text: text.into(), voice: "en-us".into(), speed: 1.0 };
    let events: Vec<TtsEvent> =
        tts.synthesize(request, CancelFlag::new()).try_collect().await.expect("speech");
    let mut samples = vec![0.0; LEAD];
    let mut words = Vec::new();
    for event in events {
        match event {
            TtsEvent::Audio(chunk) => {
                samples.extend(chunk.samples.iter().map(|sample| f32::from(*sample) / 32_768.0));
            }
            TtsEvent::Words(told) => words = told,
        }
    }
    let lead_ms = (LEAD * 1_000 / 22_050) as u32;
    for word in &mut words {
        (word.start_ms, word.end_ms) = (word.start_ms + lead_ms, word.end_ms + lead_ms);
    }
    let len = samples.len() * 16_000 / 22_050;
    let at = |n: usize| {
        let place = n as f64 * 22_050.0 / 16_000.0;
        let (index, part) = (place as usize, place.fract() as f32);
        let next = samples.get(index + 1).copied().unwrap_or_default();
        samples[index] * (1.0 - part) + next * part
    };
    ((0..len).map(at).collect(), words)
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

/// Against the times of espeak-ng's own synthesis, in audio time.
#[tokio::test]
async fn words_are_told_when_they_were_said() {
    let engine = WhisperEngine::load(&WhisperConfig { word_times: true, ..config() }).expect("it loads");
    assert!(engine.tells_word_times());
    let mut off = Vec::new();
    for text in ["Hello, how are you today?", "My favourite colour is green.", "What is my favourite food?"] {
        let (audio, said) = spoken_words(text).await;
        let whole_ms = (audio.len() / 16) as u32;
        let asked = SttRequest { word_times: true, ..request(audio.clone()) };
        let heard = engine.transcribe(asked, CancelFlag::new()).await.expect("a transcript");
        let told: Vec<&str> = heard.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(told.join(" "), heard.text);
        assert_eq!(words(&heard.text), words(text), "else there is nothing to compare");
        for (word, said) in heard.words.iter().zip(&said) {
            assert!(word.start_ms < word.end_ms && word.end_ms <= whole_ms, "{word:?} of {whole_ms}");
            off.push((word.start_ms.abs_diff(said.start_ms), word.end_ms.abs_diff(said.end_ms)));
        }
        assert!(heard.words.is_sorted_by(|a, b| a.end_ms <= b.start_ms), "{:?}", heard.words);
        let unasked = engine.transcribe(request(audio), CancelFlag::new()).await.expect("a transcript");
        assert_eq!((unasked.words.len(), unasked.text), (0, heard.text), "and nobody else is told");
    }
    // 20 ms a position; the heads see a word's end when they look at the next.
    assert!(off.iter().all(|(start, end)| *start <= 300 && *end <= 300), "{off:?}");
    let mean = off.iter().map(|(start, end)| start + end).sum::<u32>() / (2 * off.len() as u32);
    assert!(mean <= 90, "{mean} ms: {off:?}");
}

/// Each length that the encoder can be set to, and the longest: whisper.cpp would end the process.
#[tokio::test]
async fn audio_of_any_length_is_aligned() {
    let config = WhisperConfig { word_times: true, audio_ctx_margin: Some(0), ..config() };
    let engine = WhisperEngine::load(&config).expect("it loads");
    let speech = spoken("Hello, how are you today?").await;
    for samples in [0, 1, 1_600, 10_240, 20_480, 20_481, 30_720, 245_760, 245_761, 16_000 * 20] {
        let audio: Vec<f32> = speech.iter().copied().cycle().take(samples).collect();
        let asked = SttRequest { word_times: true, ..request(audio) };
        let heard = engine.transcribe(asked, CancelFlag::new()).await.expect("a transcript");
        let told: Vec<&str> = heard.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(told.join(" "), heard.text, "{samples} samples");
        assert!(heard.words.iter().all(|word| word.end_ms as usize <= samples / 16), "{heard:?}");
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
