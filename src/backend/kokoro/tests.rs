//! Tokens against those of `misaki` and `kokoro` (`testdata/reference.json`), and whole calls with a graph of the real
//! class, made small, whose weights are random (`models/interface/make.py`): its audio is noise of the right length.

use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;

use super::*;
use crate::engine::compute::Unlimited;
use crate::engine::tts::TimedWord;

const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/onnxruntime/libonnxruntime.so");
const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/kokoro/testdata");
const NAMES: [&str; 5] = ["af_heart", "am_onyx", "bf_emma", "ef_dora", "xx_odd"];

/// The small graph with voices of random styles.
fn config() -> (tempfile::TempDir, KokoroConfig) {
    let folder = tempfile::tempdir().expect("a folder");
    for (at, name) in NAMES.iter().enumerate() {
        let number = |n: usize| (((n * (at + 3)) as f32).sin() * 0.2).to_le_bytes();
        let bytes: Vec<u8> = (0..510 * 256).flat_map(number).collect();
        std::fs::write(folder.path().join(format!("{name}.bin")), bytes).expect("written");
    }
    let (model, voices) = (PathBuf::from(TESTDATA).join("model.onnx"), Some(folder.path().to_owned()));
    (folder, KokoroConfig { model, voices, ..KokoroConfig::default() })
}

fn load(config: &KokoroConfig) -> Result<KokoroTts, LoadError> {
    KokoroTts::load(config, Path::new(LIBRARY), Arc::new(Unlimited))
}

#[derive(Debug, Deserialize)]
struct Reference {
    said: Vec<Said>,
}

#[derive(Debug, Deserialize)]
struct Said {
    voice: String,
    text: String,
    phonemes: String,
    ids: Vec<i64>,
}

fn languages() -> impl Iterator<Item = Language> {
    use Language::{American, British, French, Hindi, Italian, Portuguese, Spanish};
    [American, British, French, Hindi, Italian, Portuguese, Spanish].into_iter()
}

#[tokio::test]
async fn tokens_are_those_of_misaki_and_kokoro() {
    let text = std::fs::read_to_string(PathBuf::from(TESTDATA).join("reference.json")).expect("the file");
    let reference: Reference = serde_json::from_str(&text).expect("as it was made");
    assert!(reference.said.len() >= 10);
    let (_folder, config) = config();
    let speaker = load(&config).expect("it loads").speaker;
    let space = speaker.vocabulary.clone();
    let space = Tongue { vocabulary: &space, language: Language::American };
    let space = crate::backend::onnx_voice::Dialect::ids(&space, " ");
    for said in reference.said {
        let language = languages().find(|language| language.espeak() == said.voice).expect("one of them");
        let utterance = speaker.utterance(&said.text, language).await.expect("espeak-ng is installed");
        // misaki's pipeline gives sentences to the graph together where they fit, the server one by one.
        let parts: Vec<&[i64]> =
            utterance.parts.iter().map(|part| &part.ids[1..part.ids.len() - 1]).collect();
        let ids = [vec![0], parts.join(&space[..]), vec![0]].concat();
        assert_eq!(ids, said.ids, "{:?} is {:?} for Kokoro", said.text, said.phonemes);
    }
}

fn say(text: &str, voice: &str, speed: f32) -> TtsRequest {
    TtsRequest { text: text.into(), voice: voice.into(), speed }
}

async fn speak(engine: &KokoroTts, request: TtsRequest) -> (Vec<i16>, Vec<TimedWord>) {
    let text = request.text.clone();
    let events: Vec<TtsEvent> =
        engine.synthesize(request, CancelFlag::new()).try_collect().await.expect("it speaks");
    let (mut samples, mut words) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            TtsEvent::Audio(chunk) => {
                assert!(words.is_empty() && chunk.sample_rate == SAMPLE_RATE && !chunk.samples.is_empty());
                samples.extend(chunk.samples);
            }
            TtsEvent::Words(timed) => words = timed,
        }
    }
    let spoken: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(spoken, text.split_whitespace().collect::<Vec<_>>());
    assert!(words.windows(2).all(|pair| pair[0].end_ms <= pair[1].start_ms), "{words:?}");
    let audio_ms = samples.len() as u32 / 24;
    assert!(words.iter().all(|word| word.start_ms <= word.end_ms && word.end_ms <= audio_ms), "{words:?}");
    (samples, words)
}

#[tokio::test]
async fn it_speaks_languages_with_word_times() {
    let (_folder, config) = config();
    let engine = load(&config).expect("it loads");
    assert_eq!(engine.voices()[13..], NAMES[..4], "a voice without a language is left out");
    assert_eq!(engine.languages(), ["en", "es"]);
    for (text, voice) in [
        ("Hello there, the number is 120. Isn't it — “in the house”?", "marin"),
        ("Oh dear, the judge.", "bf_emma"),
        ("¿Qué tal? Muy bien, gracias.", "ef_dora"),
    ] {
        let (samples, words) = speak(&engine, say(text, voice, 1.0)).await;
        assert!(samples.len() > SAMPLE_RATE as usize / 2, "{text}: {} samples", samples.len());
        assert!(words.iter().filter(|word| word.start_ms == word.end_ms).count() <= 1, "{words:?}");
    }
    let (heart, _) = speak(&engine, say("the same", "af_heart", 1.0)).await;
    let (onyx, _) = speak(&engine, say("the same", "onyx", 1.0)).await;
    assert_ne!(heart, onyx, "a style of its own");
    assert!(speak(&engine, say("— ...", "alloy", 1.0)).await.0.is_empty());
}

#[tokio::test]
async fn speed_changes_the_length_and_long_texts_are_cut() {
    let (_folder, config) = config();
    let engine = load(&config).expect("it loads");
    let text = "one two three four five six seven eight";
    let (normal, _) = speak(&engine, say(text, "alloy", 1.0)).await;
    let (slow, _) = speak(&engine, say(text, "alloy", 0.5)).await;
    assert!(slow.len() * 4 > normal.len() * 5, "{} and {} samples", slow.len(), normal.len());
    let long = "word ".repeat(800);
    let utterance = engine.speaker.utterance(&long, Language::American).await.expect("phonemes");
    let lengths: Vec<usize> = utterance.parts.iter().map(|part| part.ids.len()).collect();
    assert!(lengths.len() > 5 && lengths.iter().all(|len| (100..=512).contains(len)), "{lengths:?}");
    let refused = engine.synthesize(say(&"a".repeat(4097), "alloy", 1.0), CancelFlag::new()).next().await;
    assert!(matches!(refused, Some(Err(EngineError::BadRequest { .. }))), "{refused:?}");
}

#[tokio::test]
async fn cancelling_ends_it_and_it_speaks_again() {
    let (_folder, config) = config();
    let engine = load(&config).expect("it loads");
    let flag = CancelFlag::new();
    let mut stream = engine.synthesize(say(&"a long story. ".repeat(200), "alloy", 1.0), flag.clone());
    assert!(matches!(stream.next().await, Some(Ok(TtsEvent::Audio(_)))));
    flag.cancel();
    assert_eq!(stream.next().await, Some(Err(EngineError::Cancelled)));
    assert!(stream.next().await.is_none());
    assert!(speak(&engine, say("again", "alloy", 1.0)).await.0.len() > 1000);
}

#[test]
fn what_is_wrong_is_told() {
    let (folder, config) = config();
    let told = |config: &KokoroConfig| load(config).expect_err("it is wrong").to_string();
    let none = KokoroConfig { model: "/nowhere/model.onnx".into(), ..config.clone() };
    assert!(told(&none).contains("/nowhere/model.onnx"));
    let none = KokoroConfig { voices: Some("/nowhere/voices".into()), ..config.clone() };
    assert!(told(&none).contains("/nowhere/voices"));
    let piper = PathBuf::from(TESTDATA).join("../../piper/testdata/one.onnx");
    let error = told(&KokoroConfig { model: piper, ..config.clone() });
    assert!(error.contains("no Kokoro") && error.contains("input_lengths"), "{error}");
    let error = told(&KokoroConfig { voice: Some("af_nobody".into()), ..config.clone() });
    assert!(error.contains("tts.kokoro.voice = af_nobody") && error.contains("bf_emma"), "{error}");
    let error = told(&KokoroConfig { program: "/nowhere/espeak-ng".into(), ..config.clone() });
    assert!(error.contains("apt-get install espeak-ng"), "{error}");
    std::fs::write(folder.path().join("af_bad.bin"), [0; 100]).expect("written");
    let error = told(&config);
    assert!(error.contains("af_bad") && error.contains("256"), "{error}");
}

#[test]
fn costs_come_from_the_files() {
    let (_folder, config) = config();
    let cost = config.cost(Device::Cpu).expect("the file is there");
    assert!(cost.ram.instance_bytes > 5 * 510 * 1024 && cost.ram.slot_bytes > 500_000);
    assert!(KokoroConfig::default().cost(Device::Cpu).expect_err("no file").contains("model.onnx"));
}
