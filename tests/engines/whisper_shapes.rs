//! Files in the shapes of real Whisper models load and run through the backend, and the guards against invented text
//! hold. The weights are random or made to do one thing, by `models/interface/whisper.py`, at the first run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use antiphon::backend::guards::GuardsConfig;
use antiphon::backend::whisper::{AudioCtx, WhisperConfig, WhisperEngine};
use antiphon::engine::stt::{Guarded, SttEngine, SttRequest, Transcript};
use antiphon::engine::{CancelFlag, Device, EngineError};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// A file of `shape` whose decoder does what `does` says; made where it is not there or older than the script.
fn model(shape: &str, kind: &str, does: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/interface/whisper.py");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("whisper-{shape}-{kind}-{does}.bin"));
    let written = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    if written(&file) > written(&script) {
        return file;
    }
    let mut python = Command::new("python3");
    python.arg(&script).args(["--shape", shape, "--type", kind, "--does", does]).arg("--output").arg(&file);
    let made = python.output().expect("python3 makes the files: apt-get install python3");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    file
}

/// One slot on a short window with all guards off: what the model wrote.
fn bare(model: PathBuf) -> WhisperConfig {
    let off =
        GuardsConfig { no_speech_probability: 0.0, repeats: 0, min_voice_ms: 0, ..GuardsConfig::default() };
    WhisperConfig {
        model,
        slots: 1,
        language: None,
        audio_ctx: AudioCtx::AtLeast(64),
        guards: off,
        ..WhisperConfig::default()
    }
}

fn load(config: &WhisperConfig) -> WhisperEngine {
    WhisperEngine::load(config).expect("it loads")
}

/// A sound that changes, so that a model hears something.
fn sound(seconds: usize) -> Vec<f32> {
    (0..16_000 * seconds).map(|n| (n as f32 * (0.02 + (n / 3_000 % 7) as f32 * 0.03)).sin() * 0.3).collect()
}

async fn hear(engine: &WhisperEngine, audio: Vec<f32>) -> Transcript {
    let request = SttRequest {
        audio: audio.into(),
        language: None,
        prompt: Some("Antiphon, ggml".into()),
        word_times: false,
    };
    engine.transcribe(request, CancelFlag::new()).await.expect("a transcript")
}

async fn runs(shape: &str, kind: &str, languages: usize) {
    let config = WhisperConfig { language: None, ..bare(model(shape, kind, "random")) };
    let engine = load(&config);
    assert_eq!(engine.languages().len(), languages, "{shape}");
    let heard = hear(&engine, sound(1)).await;
    let language = heard.language.clone().expect("one of its languages");
    assert!(engine.languages().contains(&language), "{shape}: {language}");
    // Whatever it writes, it is bounded by the length of the audio: 16 and 15 a second.
    assert!(heard.tokens.len() <= 16 + 15 + 1, "{shape}: {} tokens", heard.tokens.len());
    assert!(heard.tokens.iter().all(|token| token.logprob <= 0.0), "{shape}: {:?}", heard.tokens);
    let cost = config.cost(Device::Cpu).expect("its file tells");
    let bytes = std::fs::metadata(&config.model).expect("it is there").len();
    assert!(cost.ram.instance_bytes >= bytes && cost.work.call_cpu_s > 0.0, "{cost:?}");
}

#[tokio::test]
async fn the_shape_of_tiny_runs() {
    runs("tiny", "f16", 99).await;
}

#[tokio::test]
async fn the_shape_of_tiny_en_runs_quantised() {
    runs("tiny.en", "q8_0", 1).await;
}

#[tokio::test]
async fn the_shape_of_base_runs_quantised() {
    runs("base", "q5_0", 99).await;
}

#[tokio::test]
async fn the_shape_of_large_v3_turbo_runs_with_its_128_mel_bands() {
    runs("large-v3-turbo", "q5_0", 100).await;
}

/// whisper.cpp would end the process where an alignment does not fit.
async fn aligns(shape: &str, kind: &str) {
    let config = WhisperConfig { word_times: true, ..bare(model(shape, kind, "random")) };
    let engine = load(&config);
    for seconds in [1, 3] {
        let request =
            SttRequest { audio: sound(seconds).into(), language: None, prompt: None, word_times: true };
        let heard = engine.transcribe(request, CancelFlag::new()).await.expect("a transcript");
        let words: Vec<&str> = heard.words.iter().map(|word| word.text.as_str()).collect();
        assert!(!words.is_empty(), "{shape}: {heard:?}");
        assert_eq!(
            words.join(" "),
            heard.text.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
            "{shape}"
        );
        assert!(heard.words.iter().all(|word| word.end_ms as usize <= seconds * 1_000), "{heard:?}");
    }
    let without = WhisperConfig { word_times: false, ..config.clone() };
    let bytes =
        |config: &WhisperConfig| config.cost(Device::Cpu).expect("its file tells").ram.loaded_bytes(1);
    assert_eq!(bytes(&config), 2 * bytes(&without), "the model is there twice");
}

#[tokio::test]
async fn the_shapes_of_tiny_are_aligned_by_their_own_heads() {
    aligns("tiny", "f16").await;
    aligns("tiny.en", "q8_0").await;
}

#[tokio::test]
async fn a_loop_is_shortened_to_one_copy() {
    let config = bare(model("probe", "f16", "loop"));
    let whole = hear(&load(&config), sound(2)).await;
    assert!(whole.text.matches("w1000").count() > 20, "{whole:?}");
    assert_eq!(whole.guarded, None);
    let guards = GuardsConfig { repeats: 3, ..config.guards.clone() };
    let heard = hear(&load(&WhisperConfig { guards, ..config }), sound(2)).await;
    assert_eq!((heard.text.as_str(), heard.guarded), ("w1000", Some(Guarded::Repetition)));
    assert_eq!(heard.tokens.len(), 1);
}

#[tokio::test]
async fn what_the_model_holds_for_no_speech_is_dropped() {
    let config = bare(model("probe", "f16", "silence"));
    let whole = hear(&load(&config), sound(2)).await;
    assert!(!whole.text.is_empty() && whole.guarded.is_none(), "{whole:?}");
    assert_eq!(whole.no_speech_probability, None, "it is not asked where it decides nothing");
    let guards = GuardsConfig { no_speech_probability: 0.6, ..config.guards.clone() };
    let engine = load(&WhisperConfig { guards, ..config.clone() });
    for _ in 0..2 {
        let heard = hear(&engine, sound(2)).await;
        assert_eq!((heard.text.as_str(), heard.guarded), ("", Some(Guarded::NoSpeech)));
        assert!(heard.no_speech_probability.is_some_and(|probability| probability > 0.99), "{heard:?}");
    }
    // A model that is sure of its text is believed.
    let sure = WhisperConfig { model: model("probe", "f16", "loop"), ..config };
    let guards = GuardsConfig { no_speech_probability: 0.6, ..sure.guards.clone() };
    let heard = hear(&load(&WhisperConfig { guards, ..sure }), sound(2)).await;
    assert_eq!((heard.guarded, heard.no_speech_probability), (None, None));
}

#[tokio::test]
async fn text_out_of_silence_is_dropped() {
    let config = bare(model("probe", "f16", "loop"));
    let guards = GuardsConfig { min_voice_ms: 64, ..config.guards.clone() };
    let heard = hear(&load(&WhisperConfig { guards, ..config.clone() }), vec![0.0; 32_000]).await;
    assert_eq!((heard.text.as_str(), heard.guarded), ("", Some(Guarded::NothingSaid)));
    assert!(heard.tokens.is_empty());
    let quiet = bare(model("probe", "f16", "ends"));
    let heard = hear(&load(&quiet), sound(2)).await;
    assert_eq!((heard.text.as_str(), heard.guarded), ("", None), "it wrote nothing itself");
}

#[tokio::test]
async fn the_language_is_heard_unless_it_is_told() {
    let engine = load(&bare(model("probe", "f16", "german")));
    assert_eq!(hear(&engine, sound(1)).await.language.as_deref(), Some("de"));
    let asked = |language: &str| SttRequest {
        audio: sound(1).into(),
        language: Some(language.into()),
        prompt: None,
        word_times: false,
    };
    let french = engine.transcribe(asked("fr"), CancelFlag::new()).await.expect("a transcript");
    assert_eq!(french.language.as_deref(), Some("fr"));
    let cantonese = engine.transcribe(asked("yue"), CancelFlag::new()).await;
    let Err(EngineError::BadRequest { reason, .. }) = cantonese else { panic!("{cantonese:?}") };
    assert!(reason.contains("before Whisper knew"), "{reason}");
}

/// whisper.cpp encodes for its detection with the audio context of the call before.
#[tokio::test]
async fn no_call_decides_over_the_next() {
    let config = bare(model("tiny", "f16", "random"));
    let engine = load(&config);
    let first = hear(&engine, sound(2)).await;
    hear(&engine, sound(2)[..4_000].to_vec()).await;
    assert_eq!(hear(&engine, sound(2)).await, first);
}

fn metrics() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("the first of this process"))
}

#[tokio::test]
async fn doubtful_text_is_heard_again_with_the_whole_window_and_all_is_counted() {
    metrics();
    let config = bare(model("probe", "f16", "loop"));
    let guards = GuardsConfig { repeats: 3, ..config.guards.clone() };
    let auto =
        WhisperConfig { name: "auto".into(), audio_ctx: AudioCtx::Auto, guards: guards.clone(), ..config };
    let full = WhisperConfig { name: "full".into(), audio_ctx: AudioCtx::Full, ..auto.clone() };
    for config in [&auto, &full] {
        assert_eq!(hear(&load(config), sound(2)).await.guarded, Some(Guarded::Repetition));
    }
    let told = metrics().render();
    assert!(told.contains("antiphon_stt_heard_again_total{engine=\"auto\"} 1"), "{told}");
    assert!(!told.contains("antiphon_stt_heard_again_total{engine=\"full\"}"), "{told}");
    for engine in ["auto", "full"] {
        let row = format!("antiphon_stt_transcripts_total{{engine=\"{engine}\",outcome=\"repetition\"}} 1");
        assert!(told.contains(&row), "{row} is missing in\n{told}");
    }
}

#[tokio::test]
async fn temperature_is_raised_where_it_is_asked_for() {
    let config = bare(model("probe", "f16", "silence"));
    let hotter = WhisperConfig { temperature_step: 0.5, ..config.clone() };
    let (cold, hot) = (hear(&load(&config), sound(1)).await, hear(&load(&hotter), sound(1)).await);
    assert!(!hot.text.is_empty());
    assert_ne!(cold.text, hot.text, "its last try drew from all tokens");
}

#[test]
fn wrong_languages_are_told_before_anything_is_loaded() {
    for (shape, language) in [("probe.en", "de"), ("probe", "yue"), ("probe", "klingon")] {
        let config = WhisperConfig { language: Some(language.into()), ..bare(model(shape, "f16", "ends")) };
        let error = WhisperEngine::load(&config).expect_err(language).to_string();
        assert!(error.contains(".language") && error.contains(language), "{error}");
    }
}
