//! The features against transformers' WhisperFeatureExtractor (`reference.py`), and the engine on a graph of the
//! model's contract whose probability is sigmoid(1 - 3 · mean of the last 200 ms).

use super::*;
use crate::engine::compute::Unlimited;

const GRAPH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/smart_turn/tests.onnx");
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/onnxruntime/libonnxruntime.so");

/// As `reference.py` makes it.
fn signal(samples: usize) -> Vec<f32> {
    let at = |n: usize| {
        let n = n as f64;
        let tone = 0.4 * (n * 0.03).sin() + 0.2 * (n * n * 1e-6).sin() + 0.05 * (n * 1.1).sin();
        (tone * (0.5 + 0.5 * (n * 0.0007).sin())) as f32
    };
    (0..samples).map(at).collect()
}

#[test]
fn features_are_those_of_whisper() {
    let places =
        [(0, 0), (0, 799), (5, 700), (20, 750), (40, 790), (60, 795), (79, 799), (79, 650), (10, 400)];
    let short = [0.58220, 1.27632, 0.27943, -0.01054, -0.01054, -0.01054, -0.01054, 0.10765, -0.01054];
    let long = [0.72171, 1.51664, 0.42719, 0.97041, -0.18278, -0.18278, -0.18278, -0.18278, 1.27784];
    let features = LogMel::new();
    for (seconds, mean, expected) in [(1.5, 0.025_805, short), (9.0, 0.035_713, long)] {
        let found = features.of(&signal((seconds * 16_000.0) as usize));
        assert_eq!(found.len(), BANDS * FRAMES);
        let found_mean = found.iter().sum::<f32>() / found.len() as f32;
        assert!((found_mean - mean).abs() < 1e-3, "{seconds} s: mean {found_mean}, not {mean}");
        for ((band, frame), expected) in places.into_iter().zip(expected) {
            let value: f32 = found[band * FRAMES + frame];
            assert!((value - expected).abs() < 2e-3, "{seconds} s, {band}, {frame}: {value}, not {expected}");
        }
    }
}

fn load(model: &str) -> Result<Option<SmartTurn>, LoadError> {
    SmartTurn::load(
        &SmartTurnConfig { model: model.into(), ..SmartTurnConfig::default() },
        Path::new(LIBRARY),
        Arc::new(Unlimited),
    )
}

#[tokio::test]
async fn it_judges_by_the_end_of_the_audio() {
    let detector = load(GRAPH).expect("it loads").expect("the file is there");
    let mut loud_end = vec![0.0; 32_000];
    loud_end.extend(signal(16_000));
    let mut quiet_end = signal(32_000);
    quiet_end.extend(vec![0.0; 16_000]);
    let goes_on = detector.judge(loud_end.into(), CancelFlag::new()).await.expect("a verdict");
    let is_over = detector.judge(quiet_end.into(), CancelFlag::new()).await.expect("a verdict");
    assert!(goes_on < 0.68 && is_over > 0.72, "{goes_on} {is_over}");
    let cancelled = CancelFlag::new();
    cancelled.cancel();
    assert_eq!(detector.judge(vec![0.0; 160].into(), cancelled).await, Err(EngineError::Cancelled));
}

#[test]
fn an_absent_file_is_no_error_and_a_wrong_one_says_what_to_do() {
    assert!(load("/nowhere/turn.onnx").expect("it is an option").is_none());
    let wrong = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let error = load(wrong).expect_err("no graph").to_string();
    assert!(error.contains("Cargo.toml") && error.contains("engines.turn.model"), "{error}");
}
