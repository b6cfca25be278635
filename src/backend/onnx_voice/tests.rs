//! The call from phonemes to words, with a graph that is none: a hundred samples for each id.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::TryStreamExt;

use super::utterance::{Part, Stretch};
use super::*;
use crate::engine::compute::Unlimited;
use crate::engine::tts::TimedWord;

const RATE: u32 = 1_000;
/// An id at which the graph fails, and one at which it works until it is stopped.
const FAILS: i64 = 13;
const HANGS: i64 = 99;

#[derive(Clone, Debug, Default)]
struct Fake {
    calls: Arc<AtomicUsize>,
}

impl VoiceGraph for Fake {
    fn speak(&mut self, ids: &[i64], _: Manner, _: &RunOptions) -> Result<Sound, String> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(!ids.contains(&66), "on purpose");
        if ids.contains(&FAILS) {
            return Err("the graph broke".into());
        }
        if ids.contains(&HANGS) {
            crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(200)).ok();
        }
        Ok(Sound { samples: vec![0.5; ids.len() * 100], lengths: vec![1.0; ids.len()] })
    }
}

/// A word for each id, a part for each list.
fn utterance(parts: &[&[i64]]) -> Utterance {
    let ids: Vec<i64> = parts.concat();
    let mut group = 0;
    let part = |ids: &&[i64]| {
        let ids: Vec<_> = ids
            .iter()
            .map(|id| {
                group += 1;
                (*id, Some(group - 1), 100)
            })
            .collect();
        Part::of(&ids, 0)
    };
    Utterance {
        words: ids.iter().map(|id| format!("word{id}")).collect(),
        parts: parts.iter().map(part).collect(),
        stretches: vec![Stretch { words: 0..ids.len(), groups: 0..ids.len() }],
    }
}

fn voice(graph: &Fake) -> OnnxVoice {
    // ONNX Runtime's options need its library.
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/onnxruntime/libonnxruntime.so");
    super::super::onnx::environment(library.as_ref()).expect("scripts/setup");
    let steps = Steps { device: Device::Cpu, gate: Arc::new(Unlimited) };
    OnnxVoice::start("fake", RATE, vec![graph.clone()], &steps).expect("a thread")
}

/// Writes down who entered, and where.
#[derive(Debug, Default)]
struct Entries(std::sync::Mutex<Vec<Device>>);

impl ComputeGate for Entries {
    fn enter(&self, device: Device, _urgent: bool) -> ComputePermit {
        self.0.lock().expect("nobody panics").push(device);
        ComputePermit::holding(())
    }
}

fn speak(voice: &OnnxVoice, utterance: Utterance, cancel: CancelFlag) -> EngineStream<TtsEvent> {
    voice.speak(Box::pin(async { Ok(utterance) }), Manner { voice: 0, speed: 1.0 }, cancel)
}

async fn whole(stream: EngineStream<TtsEvent>) -> Result<(usize, Vec<TimedWord>), EngineError> {
    let events: Vec<TtsEvent> = stream.try_collect().await?;
    let (mut samples, mut words) = (0, None);
    for event in events {
        match event {
            TtsEvent::Audio(chunk) => {
                assert!(words.is_none() && chunk.sample_rate == RATE && chunk.samples.len() <= 200);
                samples += chunk.samples.len();
            }
            TtsEvent::Words(timed) => words = Some(timed),
        }
    }
    Ok((samples, words.expect("words come last")))
}

#[tokio::test]
async fn parts_come_one_after_the_other_and_words_last() {
    let voice = voice(&Fake::default());
    let utterance = utterance(&[&[1, 2, 3], &[4, 5]]);
    let (samples, words) = whole(speak(&voice, utterance, CancelFlag::new())).await.expect("it speaks");
    assert_eq!(samples, 500);
    let times: Vec<_> = words.iter().map(|word| (word.text.as_str(), word.start_ms, word.end_ms)).collect();
    let expected = [
        ("word1", 0, 100),
        ("word2", 100, 200),
        ("word3", 200, 300),
        ("word4", 300, 400),
        ("word5", 400, 500),
    ];
    assert_eq!(times, expected);
    let nothing = whole(speak(&voice, Utterance::default(), CancelFlag::new())).await;
    assert_eq!(nothing, Ok((0, vec![])));
}

#[tokio::test]
async fn on_a_gpu_each_part_asks_and_on_the_cpu_none_does() {
    voice(&Fake::default()); // loads the library
    for (device, asked) in [(Device::Cuda(1), vec![Device::Cuda(1); 2]), (Device::Cpu, vec![])] {
        let entries = Arc::new(Entries::default());
        let steps = Steps { device, gate: Arc::clone(&entries) as Arc<dyn ComputeGate> };
        let voice = OnnxVoice::start("fake", RATE, vec![Fake::default()], &steps).expect("a thread");
        let (samples, _) =
            whole(speak(&voice, utterance(&[&[1, 2], &[3]]), CancelFlag::new())).await.expect("it speaks");
        assert_eq!((samples, voice.device()), (300, device));
        assert_eq!(*entries.0.lock().expect("nobody panics"), asked, "{device}");
    }
}

#[tokio::test]
async fn a_call_that_fails_or_panics_ends_alone() {
    let voice = voice(&Fake::default());
    let failed = whole(speak(&voice, utterance(&[&[1], &[FAILS], &[2]]), CancelFlag::new())).await;
    assert!(matches!(failed, Err(EngineError::Failed { reason, .. }) if reason == "the graph broke"));
    let panicked = whole(speak(&voice, utterance(&[&[66]]), CancelFlag::new())).await;
    assert!(panicked.expect_err("it panicked").is_retryable());
    let unheard =
        Box::pin(async { Err(EngineError::Unavailable { engine: "fake".into(), reason: "gone".into() }) });
    let unheard = whole(voice.speak(unheard, Manner { voice: 0, speed: 1.0 }, CancelFlag::new())).await;
    assert!(matches!(unheard, Err(EngineError::Unavailable { .. })));
    assert_eq!(whole(speak(&voice, utterance(&[&[1]]), CancelFlag::new())).await.expect("it goes on").0, 100);
}

#[tokio::test]
async fn what_is_given_up_is_not_spoken_to_its_end() {
    let graph = Fake::default();
    let voice = voice(&graph);
    let long: Vec<&[i64]> = vec![&[HANGS]; 50];
    let cancel = CancelFlag::new();
    let mut cancelled = speak(&voice, utterance(&long), cancel.clone());
    assert!(matches!(cancelled.next().await, Some(Ok(TtsEvent::Audio(_)))));
    cancel.cancel();
    assert_eq!(cancelled.next().await, Some(Err(EngineError::Cancelled)));
    assert!(cancelled.next().await.is_none());
    let mut dropped = speak(&voice, utterance(&long), CancelFlag::new());
    assert!(matches!(dropped.next().await, Some(Ok(TtsEvent::Audio(_)))));
    drop(dropped);
    // The thread is free again after the part at hand.
    assert_eq!(whole(speak(&voice, utterance(&[&[1]]), CancelFlag::new())).await.expect("it goes on").0, 100);
    let calls = graph.calls.load(Ordering::SeqCst);
    assert!(calls < 10, "{calls} parts were spoken");
}

#[tokio::test]
async fn a_slow_reader_holds_its_call_and_loses_nothing() {
    let graph = Fake::default();
    let voice = voice(&graph);
    let parts: Vec<&[i64]> = vec![&[1]; 4 * PARTS_CAPACITY];
    let mut slow = speak(&voice, utterance(&parts), CancelFlag::new());
    assert!(slow.next().await.is_some());
    while graph.calls.load(Ordering::SeqCst) < PARTS_CAPACITY + 1 {
        tokio::task::yield_now().await;
    }
    let calls = graph.calls.load(Ordering::SeqCst);
    assert!(calls <= PARTS_CAPACITY + 2, "{calls} parts wait for their reader");
    let (samples, words) = whole(slow).await.expect("it speaks on");
    assert_eq!((samples, words.len()), (parts.len() * 100 - 100, parts.len()));
}

#[test]
fn long_texts_are_refused_and_odd_speeds_borne() {
    assert!(matches!(words("fake", &"a".repeat(MAX_TEXT_CHARS + 1)), Err(EngineError::BadRequest { .. })));
    assert_eq!(words("fake", " a  b ").expect("short"), ["a", "b"]);
    assert_eq!([f32::NAN, 0.0, 1.5, 99.0].map(bearable), [1.0, 0.25, 1.5, 4.0]);
}
