//! Ids against those of `piper-tts` (`testdata/reference.json`), and whole calls with graphs of the real class whose
//! weights are random (`models/interface/make.py`): their audio is noise of the right length.

use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;

use super::*;
use crate::engine::compute::Unlimited;
use crate::engine::tts::TimedWord;

const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/onnxruntime/libonnxruntime.so");
const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/piper/testdata");

fn config(model: &str) -> PiperConfig {
    PiperConfig { model: PathBuf::from(TESTDATA).join(model), ..PiperConfig::default() }
}

fn load(config: &PiperConfig) -> Result<PiperTts, LoadError> {
    PiperTts::load(config, Path::new(LIBRARY), Arc::new(Unlimited))
}

#[derive(Debug, Deserialize)]
struct Reference {
    said: Vec<Said>,
}

#[derive(Debug, Deserialize)]
struct Said {
    voice: String,
    text: String,
    phonemes: Vec<String>,
    ids: Vec<Vec<i64>>,
}

#[tokio::test]
async fn ids_are_those_of_piper() {
    let text = std::fs::read_to_string(PathBuf::from(TESTDATA).join("reference.json")).expect("the file");
    let reference: Reference = serde_json::from_str(&text).expect("as it was made");
    assert!(reference.said.len() >= 9);
    for said in reference.said {
        let mut voice = Voice::read(&config("one.onnx")).expect("settings");
        voice.language = said.voice;
        let phonemizer = Phonemizer::new("piper", "espeak-ng".into(), None);
        let speaker = Speaker { engine: "piper".into(), phonemizer, voice };
        let utterance = speaker.utterance(&said.text).await.expect("espeak-ng is installed");
        let ids: Vec<Vec<i64>> = utterance.parts.into_iter().map(|part| part.ids).collect();
        assert_eq!(ids, said.ids, "{:?} is {:?} for Piper", said.text, said.phonemes);
    }
}

fn say(text: &str, voice: &str, speed: f32) -> TtsRequest {
    TtsRequest { text: text.into(), voice: voice.into(), speed }
}

async fn speak(engine: &PiperTts, request: TtsRequest) -> (Vec<i16>, Vec<TimedWord>) {
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

fn check(text: &str, samples: &[i16], words: &[TimedWord]) {
    let audio_ms = samples.len() as u32 * 10 / 220;
    let spoken: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(spoken, text.split_whitespace().collect::<Vec<_>>());
    assert!(words.windows(2).all(|pair| pair[0].end_ms <= pair[1].start_ms), "{words:?}");
    assert!(words.iter().all(|word| word.start_ms < word.end_ms && word.end_ms <= audio_ms), "{words:?}");
}

#[tokio::test]
async fn it_speaks_with_word_times_with_lengths_of_the_graph_or_without() {
    let text = "Hello there, the number is 120. Isn't it in the house?";
    for model in ["one.onnx", "many.onnx"] {
        let engine = load(&config(model)).expect("it loads");
        let (samples, words) = speak(&engine, say(text, "alloy", 1.0)).await;
        check(text, &samples, &words);
        assert!(samples.len() > 22_050, "{model}: {} samples", samples.len());
        assert!(samples.iter().any(|sample| sample.unsigned_abs() > 30_000), "the loudest is made loud");
        let pause = samples.iter().rev().take_while(|sample| **sample == 0).count();
        assert!(pause >= 22_050 / 4, "{model}: a question ends in {pause} samples of silence");
    }
}

#[tokio::test]
async fn speed_and_scales_change_the_length() {
    let engine = load(&config("one.onnx")).expect("it loads");
    // Each phoneme's length is drawn anew each time; those of many add up to much the same.
    let text = &"one two three four five six. ".repeat(8);
    let (normal, _) = speak(&engine, say(text, "alloy", 1.0)).await;
    let (fast, words) = speak(&engine, say(text, "alloy", 1.5)).await;
    check(text, &fast, &words);
    assert!(fast.len() * 5 < normal.len() * 4, "{} and {} samples", fast.len(), normal.len());
    let slow = PiperConfig { length_scale: Some(2.0), noise_w: Some(0.0), ..config("one.onnx") };
    let (slow, _) = speak(&load(&slow).expect("it loads"), say(text, "alloy", 1.0)).await;
    assert!(slow.len() * 4 > normal.len() * 5, "{} and {} samples", slow.len(), normal.len());
}

#[tokio::test]
async fn speakers_have_names() {
    let many = load(&config("many.onnx")).expect("it loads");
    assert_eq!(many.voices()[..2], ["alloy", "ash"]);
    assert_eq!(many.voices()[13..], ["p226", "p227", "p228"]);
    assert_eq!(many.languages(), ["en"]);
    let ids = ["alloy", "ash", "ballad", "cedar", "p228", "P228", "nobody"];
    assert_eq!(ids.map(|name| many.speaker.voice.resolve(name)), [0, 1, 2, 0, 2, 0, 0]);
    let named = load(&PiperConfig { voice: Some("p227".into()), ..config("many.onnx") }).expect("it loads");
    assert_eq!(["alloy", "nobody", "p226"].map(|name| named.speaker.voice.resolve(name)), [1, 1, 0]);
    let one = load(&config("one.onnx")).expect("it loads");
    assert_eq!(one.voices()[13..], ["one"]);
}

#[tokio::test]
async fn odd_and_long_texts_are_spoken_or_passed_over() {
    let engine = load(&config("one.onnx")).expect("it loads");
    for text in ["—", "...", "\u{1}\u{7f}", "  ", "[[", "-"] {
        let (samples, words) = speak(&engine, say(text, "alloy", 1.0)).await;
        assert_eq!((samples.len(), words.len()), (0, text.split_whitespace().count()), "{text:?}");
    }
    for text in ["日本語 привет 😀 hello", "[[wɜːld]] <break/> x", "--help -v de"] {
        let (samples, words) = speak(&engine, say(text, "alloy", 1.0)).await;
        assert!(samples.len() > 1000 && words.len() == text.split_whitespace().count(), "{text:?}");
    }
    let long = "word ".repeat(800);
    let utterance = engine.speaker.utterance(&long).await.expect("phonemes");
    assert!(utterance.parts.len() > 5 && utterance.parts.iter().all(|part| part.ids.len() <= 2 * 400 + 3));
    let refused = engine.synthesize(say(&"a".repeat(4097), "alloy", 1.0), CancelFlag::new()).next().await;
    assert!(matches!(refused, Some(Err(EngineError::BadRequest { .. }))), "{refused:?}");
}

#[tokio::test]
async fn cancelling_ends_it_and_it_speaks_again() {
    let engine = load(&config("one.onnx")).expect("it loads");
    let flag = CancelFlag::new();
    let mut stream = engine.synthesize(say(&"a long story. ".repeat(200), "alloy", 1.0), flag.clone());
    assert!(matches!(stream.next().await, Some(Ok(TtsEvent::Audio(_)))));
    flag.cancel();
    assert_eq!(stream.next().await, Some(Err(EngineError::Cancelled)));
    assert!(stream.next().await.is_none());
    assert!(speak(&engine, say("again", "alloy", 1.0)).await.0.len() > 1000);
}

/// A copy of the settings of `one.onnx` with one change.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> (tempfile::TempDir, PiperConfig) {
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(PathBuf::from(TESTDATA).join("one.onnx.json")).expect("settings");
    let mut settings = serde_json::from_str(&text).expect("JSON");
    change(&mut settings);
    let path = folder.path().join("settings.json");
    std::fs::write(&path, settings.to_string()).expect("written");
    (folder, PiperConfig { settings: Some(path), ..config("one.onnx") })
}

#[test]
fn what_is_wrong_with_a_voice_is_told() {
    let told = |config: &PiperConfig| load(config).expect_err("it is wrong").to_string();
    assert!(told(&config("none.onnx")).contains("none.onnx.json"));
    let (_folder, config_of_none) = changed(|_| {});
    let none = PiperConfig { model: "/nowhere/voice.onnx".into(), ..config_of_none };
    assert!(told(&none).contains("/nowhere/voice.onnx"));
    let other = PathBuf::from(TESTDATA).join("../../kokoro/testdata/model.onnx");
    let (_folder, kokoro) = changed(|_| {});
    let error = told(&PiperConfig { model: other, ..kokoro });
    assert!(error.contains("no input `input`") && error.contains("input_ids"), "{error}");
    type Change = fn(&mut serde_json::Value);
    let cases: [(Change, &str); 6] = [
        (|settings| settings["espeak"]["voice"] = "tlh-x".into(), "tlh-x"),
        (|settings| settings["phoneme_type"] = "pinyin".into(), "pinyin"),
        (|settings| settings["audio"]["sample_rate"] = 7.into(), "sample rate is 7"),
        (|settings| settings["phoneme_id_map"]["_"] = serde_json::json!([]), "no `_`"),
        (|settings| settings["num_speakers"] = 4.into(), "no input `sid`"),
        (|settings| settings["phoneme_id_map"] = "none".into(), "invalid type"),
    ];
    for (change, reason) in cases {
        let (_folder, config) = changed(change);
        let error = told(&config);
        assert!(error.contains(reason) && error.contains("docs/operations.md"), "{error}");
    }
    let error = told(&PiperConfig { voice: Some("bob".into()), ..config("many.onnx") });
    assert!(error.contains("tts.piper.voice = bob") && error.contains("p226, p227, p228"), "{error}");
    let error = told(&PiperConfig { program: "/nowhere/espeak-ng".into(), ..config("one.onnx") });
    assert!(error.contains("apt-get install espeak-ng"), "{error}");
}

#[tokio::test]
async fn letters_clusters_and_unknown_phonemes() {
    let (_folder, config) = changed(|settings| settings["phoneme_type"] = "text".into());
    let engine = load(&config).expect("it loads");
    let utterance = engine.speaker.utterance("az ñ. 語").await.expect("letters");
    // ^ _ a _ z _ space n _ tilde . space; the last is not known.
    let ids = [1, 0, 14, 0, 38, 0, 3, 0, 26, 0, 141, 0, 10, 0, 3, 0, 2];
    assert_eq!(utterance.parts[0].ids, ids);
    assert_eq!(engine.speaker.voice.unknown(), 1);
    let (_folder, config) = changed(|settings| settings["vowel_clusters"] = serde_json::json!([["a", "ɪ"]]));
    let voice = Voice::read(&config).expect("settings");
    use crate::backend::onnx_voice::Dialect;
    assert_eq!(voice.sound("mˈaɪ"), ["m", "ˈ", "aɪ"]);
    assert_eq!(voice.ids("aɪ"), [161, 0]);
}

#[test]
fn costs_come_from_the_files() {
    let cost = PiperConfig { slots: 2, ..config("one.onnx") }.cost(Device::Cpu).expect("the file is there");
    assert!(cost.ram.slot_bytes > 100_000 && cost.threads == 2);
    assert!(PiperConfig::default().cost(Device::Cpu).expect_err("no file").contains("voice.onnx"));
}
