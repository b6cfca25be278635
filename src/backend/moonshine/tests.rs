//! Against a very small model with random weights, and what transformers writes with the same weights; both made by
//! `models/interface/moonshine.py`.

use std::path::PathBuf;

use serde_json::Value;
use tokio::time::{Duration, timeout};

use super::model::window_len;
use super::*;
use crate::backend::cuts::windows;
use crate::backend::guards::GuardsConfig;
use crate::engine::stt::Guarded;

/// A path below the repository's root, where tests of any directory find it.
fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn library() -> PathBuf {
    let library = root(".cache/onnxruntime/libonnxruntime.so");
    assert!(library.exists(), "{} is missing: run `scripts/setup`", library.display());
    library
}

/// The fixture with all guards off: what the model wrote.
fn bare() -> MoonshineConfig {
    let off = GuardsConfig { repeats: 0, min_voice_ms: 0, ..GuardsConfig::default() };
    MoonshineConfig {
        model: root("tests/fixtures/moonshine"),
        slots: 1,
        guards: off,
        ..MoonshineConfig::default()
    }
}

fn load(config: &MoonshineConfig) -> MoonshineEngine {
    MoonshineEngine::load(config, &library()).expect("the fixture loads")
}

fn json(name: &str) -> Value {
    let text = std::fs::read_to_string(root("tests/fixtures/moonshine").join(name)).expect("a fixture");
    serde_json::from_str(&text).expect("JSON")
}

/// The sound of the script.
fn sound(samples: usize) -> Vec<f32> {
    let tone = |n: usize| (n as f64 * (0.02 + (n / 3_000 % 7) as f64 * 0.03)).sin() * 0.3;
    (0..samples).map(|n| tone(n) as f32).collect()
}

fn request(audio: Vec<f32>) -> SttRequest {
    SttRequest { audio: audio.into(), language: None, prompt: None, word_times: false }
}

async fn hear(engine: &MoonshineEngine, audio: Vec<f32>) -> Transcript {
    engine.transcribe(request(audio), CancelFlag::new()).await.expect("a transcript")
}

#[tokio::test]
async fn it_writes_the_tokens_and_the_text_of_transformers() {
    let (reference, tokenizer) = (json("reference.json"), json("tokenizer.json"));
    let vocabulary = tokenizer["model"]["vocab"].as_object().expect("tokens");
    let engine = load(&bare());
    for case in reference["cases"].as_array().expect("cases") {
        let samples = case["samples"].as_u64().expect("a length") as usize;
        let heard = hear(&engine, sound(samples)).await;
        let ids = case["greedy"].as_array().expect("tokens").iter().filter(|id| id.as_u64() > Some(2));
        let words =
            ids.map(|id| vocabulary.iter().find(|(_, at)| *at == id).expect("known").0.replace('▁', " "));
        let tokens = heard.tokens.iter().map(|token| String::from_utf8_lossy(&token.bytes).into_owned());
        assert_eq!(tokens.collect::<Vec<_>>(), words.collect::<Vec<_>>(), "{case}");
        assert_eq!((heard.text.as_str(), heard.guarded), (case["text"].as_str().expect("a text"), None));
        assert!(heard.tokens.iter().all(|token| (-20.0..=0.0).contains(&token.logprob)), "{heard:?}");
        assert_eq!(heard.language.as_deref(), Some("en"));
    }
}

#[tokio::test]
async fn audio_that_is_too_long_is_cut_at_pauses_and_nothing_is_lost() {
    let engine = load(&bare());
    let mut audio = Vec::new();
    for samples in [32_000, 24_000, 40_000] {
        audio.extend(sound(samples));
        audio.extend([0.0; 6_400]);
    }
    let pieces = windows(&audio, window_len(26, 6.5));
    assert!(pieces.len() >= 3, "{pieces:?}");
    let (mut texts, mut tokens) = (Vec::new(), Vec::new());
    for piece in pieces {
        let heard = hear(&engine, audio[piece].to_vec()).await;
        texts.push(heard.text);
        tokens.extend(heard.tokens);
    }
    texts.retain(|text| !text.is_empty());
    let heard = hear(&engine, audio).await;
    assert_eq!((heard.text, heard.tokens), (texts.join(" "), tokens));
}

#[tokio::test]
async fn any_audio_is_survived() {
    let engine = load(&bare());
    let noise = |len: usize| (0..len).map(|n| ((n * 7919) % 211) as f32 / 1055.0 - 0.1).collect::<Vec<_>>();
    for audio in [vec![0.0], vec![0.1; 894], vec![f32::NAN; 5000], noise(1_599), noise(16_000 * 20)] {
        let len = audio.len();
        let heard = engine.transcribe(request(audio), CancelFlag::new()).await;
        assert!(heard.is_ok(), "{len} samples: {heard:?}");
    }
    assert_eq!(hear(&engine, Vec::new()).await, Transcript::default());
    // Shorter than the convolutions can hear, it is what it is with silence behind it.
    let mut filled = sound(500);
    filled.resize(1_600, 0.0);
    assert_eq!(hear(&engine, sound(500)).await, hear(&engine, filled).await);
}

#[tokio::test]
async fn what_is_invented_is_dropped() {
    let config = MoonshineConfig { guards: GuardsConfig::default(), ..bare() };
    let heard = hear(&load(&config), vec![0.0; 16_000]).await;
    let whole = hear(&load(&bare()), vec![0.0; 16_000]).await;
    assert!(!whole.text.is_empty(), "it writes something into silence");
    assert_eq!((heard.text.as_str(), heard.guarded), ("", Some(Guarded::NothingSaid)));
    assert!(heard.tokens.is_empty());
}

#[tokio::test]
async fn slots_run_side_by_side_without_mixing() {
    let engine = load(&MoonshineConfig { slots: 2, ..bare() });
    let audio = [sound(16_000), sound(52_800)];
    let alone = [hear(&engine, audio[0].clone()).await, hear(&engine, audio[1].clone()).await];
    assert_ne!(alone[0], alone[1]);
    let calls = (0..12).map(|n| engine.transcribe(request(audio[n % 2].clone()), CancelFlag::new()));
    for (n, heard) in futures::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(heard.as_ref(), Ok(&alone[n % 2]), "call {n}");
    }
}

/// What a step reads lies with its hearing: two that take turns on the same graphs write what each does alone.
#[test]
fn hearings_that_take_turns_do_not_mix() {
    let config = bare();
    let files = Files { config: &config };
    let (encoder, decoder) = files.graphs(Device::Cpu).expect("both");
    let open = |path: &Path| {
        let opened =
            onnx::open(Room::on(Device::Cpu), "moonshine", path, &library(), |reason| panic!("{reason}"));
        opened.expect("a graph")
    };
    let model = Model::read(&config).expect("settings");
    let graphs = Graphs::new((open(&encoder), open(&decoder)), Device::Cpu, model.cache_sizes);
    let (mut graphs, stop) = (graphs.expect("the contract"), RunOptions::new().expect("options"));
    let tokens = [model.start, 300, 17, 42];
    let alone = [16_000, 33_000].map(|samples| {
        let mut hearing = graphs.hear(&sound(samples), &stop).expect("heard");
        tokens.map(|token| graphs.step(&mut hearing, token, &stop).expect("a step"))
    });
    assert_ne!(alone[0], alone[1]);
    let mut both = [16_000, 33_000].map(|samples| graphs.hear(&sound(samples), &stop).expect("heard"));
    for (at, token) in tokens.into_iter().enumerate() {
        for (hearing, alone) in both.iter_mut().zip(&alone) {
            assert_eq!(graphs.step(hearing, token, &stop).as_ref(), Ok(&alone[at]), "step {at}");
        }
    }
    stop.terminate().expect("told");
    assert!(graphs.step(&mut both[0], model.start, &stop).is_err(), "a step ends where its call does");
    let next = RunOptions::new().expect("options");
    assert_eq!(graphs.step(&mut both[1], 5, &next).map(|logits| logits.len()), Ok(alone[0][0].len()));
}

#[tokio::test]
async fn cancelling_and_dropping_free_the_thread() {
    let engine = load(&bare());
    // Ten minutes of it take seconds of the one thread, if they are not given up.
    let long = sound(16_000 * 600);
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
    let next = engine.transcribe(request(sound(16_000)), CancelFlag::new());
    assert!(timeout(Duration::from_secs(20), next).await.is_ok_and(|heard| heard.is_ok()));
}

#[tokio::test]
async fn the_language_is_the_one_that_is_configured() {
    let asked = |language: &str| SttRequest { language: Some(language.into()), ..request(sound(1_600)) };
    let engine = load(&bare());
    assert_eq!(engine.languages(), ["en"]);
    for (language, is_right) in [("en-US", true), ("EN", true), ("de", false), ("", false)] {
        let heard = engine.transcribe(asked(language), CancelFlag::new()).await;
        assert_eq!(heard.is_ok(), is_right, "{language:?}: {heard:?}");
    }
    let any = load(&MoonshineConfig { language: None, ..bare() });
    let heard = any.transcribe(asked("de"), CancelFlag::new()).await.expect("any language");
    assert_eq!((heard.language, any.languages().len()), (None, 0));
}

/// The fixture's files in a folder of their own, changed by `change`; the error that loading it gives.
fn broken(change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("onnx")).expect("made");
    for name in ["config.json", "tokenizer.json", "onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"]
    {
        std::fs::copy(bare().model.join(name), folder.path().join(name)).expect("copied");
    }
    let config = MoonshineConfig { model: folder.path().to_owned(), ..bare() };
    MoonshineEngine::load(&config, &library()).expect("whole without the files that may be missing");
    change(folder.path());
    MoonshineEngine::load(&config, &library()).expect_err("broken").to_string()
}

#[test]
fn missing_and_wrong_files_say_what_to_do() {
    type Change = fn(&Path);
    let table: [(Change, [&str; 2]); 8] = [
        (|at| std::fs::remove_file(at.join("config.json")).expect("gone"), ["config.json", "models pull"]),
        (
            |at| std::fs::remove_file(at.join("tokenizer.json")).expect("gone"),
            ["tokenizer.json", "models pull"],
        ),
        (
            |at| std::fs::remove_file(at.join("onnx/encoder_model.onnx")).expect("gone"),
            ["onnx/encoder_model.onnx", "models pull"],
        ),
        (
            |at| std::fs::write(at.join("config.json"), r#"{"model_type": "whisper"}"#).expect("written"),
            ["whisper", "not \"moonshine\""],
        ),
        (
            |at| std::fs::write(at.join("tokenizer.json"), "{}").expect("written"),
            ["tokenizer.json is not usable", "Download the model again"],
        ),
        (
            |at| std::fs::write(at.join("onnx/encoder_model.onnx"), "PK zip").expect("written"),
            ["encoder_model.onnx is not usable", "Download the model again"],
        ),
        (
            |at| {
                drop(std::fs::copy(
                    at.join("onnx/encoder_model.onnx"),
                    at.join("onnx/decoder_model_merged.onnx"),
                ))
            },
            ["decoder_model_merged.onnx is not usable", "`input_values` is not known"],
        ),
        (
            |at| {
                drop(std::fs::copy(
                    at.join("onnx/decoder_model_merged.onnx"),
                    at.join("onnx/encoder_model.onnx"),
                ))
            },
            ["encoder_model.onnx is not usable", "is not known"],
        ),
    ];
    for (change, parts) in table {
        let error = broken(change);
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} in {error}");
    }
    let fast = MoonshineConfig { max_tokens_per_second: 0.0, ..bare() };
    let error = MoonshineEngine::load(&fast, &library()).expect_err("no text at all").to_string();
    assert!(error.contains("max_tokens_per_second = 0") && error.contains("from 1 to 100"), "{error}");
}

#[test]
fn it_costs_what_its_files_say() {
    let cost = bare().cost(Device::Cpu).expect("its files tell");
    let len = |name: &str| std::fs::metadata(bare().model.join("onnx").join(name)).expect("there").len();
    let weights = len("encoder_model.onnx") + len("decoder_model_merged.onnx");
    assert_eq!(cost.ram.slot_bytes, weights + weights / 4, "a quarter is packed anew");
    assert!(cost.ram.call_bytes > 0 && cost.work.unit_cpu_s > 0.0 && cost.threads == 1, "{cost:?}");
    let gpu = bare().cost(Device::Cuda(0)).expect("its files tell");
    assert_eq!((gpu.vram.slot_bytes, gpu.ram.slot_bytes), (weights, 0), "weights are where it computes");
}

#[tokio::test]
async fn without_a_gpu_it_hears_on_the_cpu() {
    let config = MoonshineConfig { device: Device::Cuda(0), ..bare() };
    let engine = MoonshineEngine::load(&config, &library()).expect("it loads");
    assert_eq!(engine.device(), Device::Cpu);
}
