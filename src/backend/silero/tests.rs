//! The engine on a graph of the model's contract (`contract.py`) whose output can be worked out by hand.

use super::*;
use crate::engine::compute::Unlimited;

const GRAPH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/silero/tests.onnx");
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/onnxruntime/libonnxruntime.so");

fn load(model: &str) -> Result<SileroVad, LoadError> {
    SileroVad::load(
        &SileroConfig { model: model.into(), ..SileroConfig::default() },
        Path::new(LIBRARY),
        Arc::new(Unlimited),
    )
}

/// Frames of these loudnesses.
fn frames(levels: &[f32]) -> Vec<f32> {
    levels.iter().flat_map(|level| [*level; FRAME]).collect()
}

/// What the graph says of them: it is given the end of the frame before, and carries half of its level.
fn expected(levels: &[f32]) -> Vec<f32> {
    let (mut before, mut carried) = (0.0_f32, 0.0_f32);
    let mut judged = Vec::new();
    for level in levels {
        let mean = (64.0 * before.abs() + 512.0 * level.abs()) / 576.0;
        let heard = mean + carried / 2.0;
        judged.push(1.0 / (1.0 + (4.0 - 40.0 * heard).exp()));
        (before, carried) = (*level, heard);
    }
    judged
}

fn assert_close(found: &[f32], levels: &[f32]) {
    let expected = expected(levels);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found}, not {expected}, of {levels:?}");
    }
}

#[tokio::test]
async fn each_session_is_judged_by_what_it_said_alone() {
    let vad = load(GRAPH).expect("it loads");
    let talks: Vec<Vec<f32>> = (0..40)
        .map(|talk| (0..1 + talk % 9).map(|frame| ((talk * 7 + frame * 3) % 10) as f32 / 40.0).collect())
        .collect();
    let mut detectors: Vec<_> = talks.iter().map(|_| vad.detector()).collect();
    // All at once, so that they share runs; twice, so that each goes on where it was.
    let mut judged = vec![Vec::new(); talks.len()];
    for half in 0..2 {
        let pieces = talks
            .iter()
            .map(|talk| if half == 0 { &talk[..talk.len() / 2] } else { &talk[talk.len() / 2..] });
        let asked = detectors.iter_mut().zip(pieces).map(|(detector, piece)| detector.submit(&frames(piece)));
        for (told, all) in futures::future::join_all(asked).await.into_iter().zip(&mut judged) {
            all.extend(told.expect("judged"));
        }
    }
    for (found, levels) in judged.iter().zip(&talks) {
        assert_close(found, levels);
    }
    assert!(
        expected(&[0.25, 0.25])[1] > 0.9 && expected(&[0.0])[0] < 0.1,
        "the graph tells speech from none"
    );
}

#[test]
fn a_reset_forgets_and_what_is_no_number_stays_out() {
    let mut detector = load(GRAPH).expect("it loads").detector();
    detector.predict(&frames(&[0.25]));
    detector.reset();
    assert_close(&[detector.predict(&frames(&[0.1]))], &[0.1]);
    detector.reset();
    detector.predict(&[f32::NAN; FRAME]);
    assert_close(&[detector.predict(&frames(&[0.1]))], &[0.1]);
}

#[tokio::test]
async fn frames_that_were_given_up_hold_up_nobody() {
    let mut detector = load(GRAPH).expect("it loads").detector();
    for _ in 0..20 {
        drop(detector.submit(&frames(&[0.2; 4])));
    }
    let judged = detector.submit(&frames(&[0.2])).await.expect("judged");
    assert_eq!(judged.len(), 1);
}

#[test]
fn an_absent_file_and_a_wrong_graph_say_what_to_do() {
    for (model, part) in [
        ("/nowhere/silero.onnx", "no such file"),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "is not usable"),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/smart_turn/tests.onnx"), "input, sr, state"),
    ] {
        let error = load(model).expect_err("no model").to_string();
        assert!(error.contains(part) && error.contains("engines.vad"), "{error}");
    }
}
