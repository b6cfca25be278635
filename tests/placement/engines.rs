//! Engines in processes without a server: they say what they say at home, and hear what is said to them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use antiphon::audio::resample::resample;
use antiphon::backend::catalog::{EnginesConfig, LlmConfig, SttConfig, load};
use antiphon::backend::scripted::{Hang, ScriptedLlmConfig, ScriptedSttConfig, Step};
use antiphon::backend::whisper::WhisperConfig;
use antiphon::backend::{EngineSet, LoadError, Placement};
use antiphon::engine::compute::{ComputeGate, ComputePermit, Unlimited, Urgency};
use antiphon::engine::llm::{ChatMessage, ChatRole, LlmEvent, LlmRequest, ToolChoice, Truncation};
use antiphon::engine::stt::{STT_SAMPLE_RATE, SttRequest};
use antiphon::engine::tts::{SpeechChunk, TtsEvent, TtsRequest};
use antiphon::engine::{CancelFlag, Device, EngineError};
use futures::{StreamExt, TryStreamExt};
use tokio::time::timeout;

use super::socket::DEADLINE;
use super::{program, runs, signal, starter, until};

fn loaded(config: &EnginesConfig) -> EngineSet {
    load(config, Arc::new(Unlimited)).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn talk(text: &str) -> LlmRequest {
    LlmRequest {
        messages: [ChatMessage::text(ChatRole::User, text)].into(),
        tools: [].into(),
        tool_choice: ToolChoice::Auto,
        max_tokens: Some(40),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    }
}

/// A language model in a process that does this, call by call.
fn scripted(calls: Vec<Vec<Step>>) -> EngineSet {
    let placement = Placement::Process;
    let llm = ScriptedLlmConfig { calls, word_ms: 0, placement, ..ScriptedLlmConfig::default() };
    let stt = vec![SttConfig::Scripted(ScriptedSttConfig::default())];
    let llm = vec![LlmConfig::Scripted(llm)];
    let tts = vec![antiphon::backend::catalog::TtsConfig::Scripted(Default::default())];
    loaded(&EnginesConfig { program: program(), stt, llm, tts, ..EnginesConfig::default() })
}

fn text(events: &[LlmEvent]) -> String {
    let piece =
        |event: &LlmEvent| if let LlmEvent::Text(text) = event { text.clone() } else { String::new() };
    events.iter().map(piece).collect()
}

/// Everything that the three engines say of one sentence.
async fn everything(engines: &EngineSet) -> (Vec<TtsEvent>, String, Vec<LlmEvent>, EngineError) {
    let request =
        TtsRequest { text: "My favourite colour is green.".into(), voice: "alloy".into(), speed: 1.0 };
    let speech: Vec<_> =
        engines.tts[0].engine.synthesize(request, CancelFlag::new()).try_collect().await.expect("it speaks");
    let mut audio = Vec::new();
    for event in &speech {
        if let TtsEvent::Audio(SpeechChunk { samples, .. }) = event {
            audio.extend(samples);
        }
    }
    let audio = resample(&audio, 22_050, STT_SAMPLE_RATE).expect("rates that it knows");
    let audio: Vec<f32> = audio.into_iter().map(|sample| f32::from(sample) / 32_768.0).collect();
    let request =
        SttRequest { audio: audio.into(), language: Some("en".into()), prompt: None, word_times: false };
    let heard = engines.stt[0].engine.transcribe(request, CancelFlag::new()).await.expect("it hears");
    let answer = engines.llm[0].engine.generate(talk("What is the capital of France?"), CancelFlag::new());
    let answer: Vec<_> = answer.try_collect().await.expect("it answers");
    let long = LlmRequest { truncation: Truncation::Disabled, ..talk(&"word ".repeat(9_000)) };
    let mut refused = engines.llm[0].engine.generate(long, CancelFlag::new());
    let refused = refused.next().await.expect("an answer").expect_err("too long");
    (speech, format!("{heard:?}"), answer, refused)
}

/// Audio and the times of its words, a transcript with every token's probability, text and usage, and an error with
/// its figures: all come through the pipe as they are.
#[tokio::test]
async fn in_a_process_the_engines_say_what_they_say_at_home() {
    let home = everything(&loaded(&starter(Placement::Server))).await;
    let away = loaded(&starter(Placement::Process));
    for (process, at_home) in [
        (away.stt[0].engine.process(), away.stt[0].model.languages.is_empty()),
        (away.llm[0].engine.process(), false),
        (away.tts[0].engine.process(), away.tts[0].model.voices.is_empty()),
    ] {
        assert!(process.is_some_and(|process| process.is_running && runs(process.pid.into())) && !at_home);
    }
    assert!(away.llm[0].measured.ram_bytes.is_some_and(|bytes| bytes > 5 << 20), "its process is counted");
    let away = everything(&away).await;
    assert!(home.0.len() > 1 && home.1.contains("green"), "{}", home.1);
    assert_eq!((home.0, home.1), (away.0, away.1));
    // One of the answers may have come from a cache of what was read; it says so.
    assert_eq!(text(&home.2), text(&away.2));
    assert!(matches!(home.3, EngineError::ContextExceeded { .. }), "{:?}", home.3);
    assert_eq!(home.3, away.3);
}

#[test]
fn a_model_that_is_missing_is_told_as_in_the_server() {
    let error = |placement| {
        let whisper =
            WhisperConfig { model: "/nowhere/ggml.bin".into(), placement, ..WhisperConfig::default() };
        let config = EnginesConfig { stt: vec![SttConfig::Whisper(whisper)], ..starter(Placement::Server) };
        load(&config, Arc::new(Unlimited)).expect_err("there is none")
    };
    let told = error(Placement::Process);
    assert!(matches!(told.as_slice(), [LoadError::FileMissing { .. }]), "{told:?}");
    assert_eq!(told, error(Placement::Server));
}

#[test]
fn a_program_that_is_no_antiphon_is_told() {
    let error = |program: &str| {
        let config = EnginesConfig { program: program.into(), ..starter(Placement::Process) };
        let errors = load(&config, Arc::new(Unlimited)).expect_err("it is no antiphon");
        assert_eq!(errors.len(), 3, "{errors:?}");
        errors[0].to_string()
    };
    assert!(error("/nowhere/antiphon").contains("Set engines.program"), "{}", error("/nowhere/antiphon"));
    let silent = error("/bin/true");
    assert!(
        silent.contains("whisper did not start: its process") && silent.contains("exit status: 0"),
        "{silent}"
    );
    assert!(error("/bin/echo").contains("a message of"), "{}", error("/bin/echo"));
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_in_the_process_and_gives_its_slot_back() {
    let engines = scripted(vec![
        vec![Step::text(0, "one"), Step::hang(Hang::UntilCancelled)],
        vec![Step::text(0, "two"), Step::hang(Hang::IgnoringCancel)],
        vec![Step::text(0, "three"), Step::hang(Hang::Stuck)],
    ]);
    let llm = &engines.llm[0].engine;
    for (raised, ends) in [(true, true), (false, true), (true, false)] {
        let slot = Arc::new(());
        let cancel = CancelFlag::holding(Arc::clone(&slot));
        let mut answer = llm.generate(talk("hi"), cancel.clone());
        assert!(matches!(answer.next().await, Some(Ok(LlmEvent::Text(_)))));
        if raised {
            cancel.cancel();
            let rest: Vec<_> = timeout(DEADLINE, answer.collect()).await.expect("at once");
            assert!(matches!(rest.as_slice(), [Err(EngineError::Cancelled)]), "{rest:?}");
        } else {
            drop(answer);
        }
        drop(cancel);
        if ends {
            until("let go", || Arc::strong_count(&slot) == 1).await;
        } else {
            // The process goes on to serve, and says nothing of this one call.
            let again = llm.generate(talk("hi"), CancelFlag::new()).next().await;
            assert!(matches!(again, Some(Ok(_))), "{again:?}");
            assert_eq!(Arc::strong_count(&slot), 2, "what is stuck keeps its slot");
            signal(llm.process().expect("a process").pid.into(), "-KILL");
            until("free at its death", || Arc::strong_count(&slot) == 1).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_waits_and_loses_nothing() {
    let words: Vec<String> = (0..600).map(|word| format!("w{word}")).collect();
    let (long, short) = (words.join(" "), "Short.");
    let engines = scripted(vec![vec![Step::text(0, long.as_str())], vec![Step::text(0, short)]]);
    let llm = &engines.llm[0].engine;
    let mut unread = llm.generate(LlmRequest { max_tokens: None, ..talk("much") }, CancelFlag::new());
    let first = unread.next().await.expect("a word").expect("no error");
    let other: Vec<_> =
        llm.generate(talk("little"), CancelFlag::new()).try_collect().await.expect("an answer");
    assert_eq!(text(&other), short, "others are not held up");
    let mut rest: Vec<_> = unread.try_collect().await.expect("the rest");
    rest.insert(0, first);
    assert_eq!(text(&rest), long);
}

#[tokio::test]
async fn a_panic_and_an_error_are_of_their_call_alone() {
    let engines = scripted(vec![
        vec![Step::panic(0)],
        vec![Step::error(0, "out of order")],
        vec![Step::text(0, "Well.")],
    ]);
    let llm = &engines.llm[0].engine;
    let call = async || llm.generate(talk("x"), CancelFlag::new()).try_collect::<Vec<_>>().await;
    let told = [call().await, call().await].map(|failed| failed.expect_err("scripted").to_string());
    assert_eq!(
        told,
        ["scripted-llm failed: it panicked; the log says where", "scripted-llm failed: out of order"]
    );
    assert_eq!(call().await.map(|events| text(&events)), Ok("Well.".to_owned()));
}

/// Counts steps, and can be shut.
#[derive(Debug, Default)]
struct Turnstile {
    is_shut: Mutex<bool>,
    opened: Condvar,
    inside: Arc<AtomicUsize>,
    passed: AtomicUsize,
    relaxed: AtomicUsize,
}

struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Turnstile {
    fn shut(&self, is_shut: bool) {
        *self.is_shut.lock().expect("nobody panics") = is_shut;
        self.opened.notify_all();
    }
}

impl ComputeGate for Turnstile {
    fn enter(&self, device: Device, urgent: bool) -> ComputePermit {
        assert_eq!(device, Device::Cpu, "it is told over the pipe");
        let is_shut = self.is_shut.lock().expect("nobody panics");
        drop(self.opened.wait_while(is_shut, |is_shut| *is_shut).expect("nobody panics"));
        self.passed.fetch_add(1, Ordering::AcqRel);
        self.relaxed.fetch_add(usize::from(!urgent), Ordering::AcqRel);
        self.inside.fetch_add(1, Ordering::AcqRel);
        ComputePermit::holding(Inside(Arc::clone(&self.inside)))
    }
}

#[tokio::test]
async fn a_language_model_in_a_process_asks_for_each_step() {
    let gate = Arc::new(Turnstile::default());
    let engines =
        load(&starter(Placement::Process), Arc::clone(&gate) as Arc<dyn ComputeGate>).expect("all there");
    let llm = &engines.llm[0].engine;
    until("out again after loading", || gate.inside.load(Ordering::Acquire) == 0).await;
    let before = gate.passed.load(Ordering::Acquire);
    let urgency = Urgency::default();
    let story = LlmRequest { urgency: urgency.clone(), ..talk("Tell me a story.") };
    let mut answer = llm.generate(story, CancelFlag::new());
    assert!(matches!(answer.next().await, Some(Ok(_))));
    urgency.relax();
    let rest: Vec<_> = answer.try_collect().await.expect("an answer");
    let Some(LlmEvent::Done { usage, .. }) = rest.last() else { panic!("{rest:?}") };
    let steps = gate.passed.load(Ordering::Acquire) - before;
    assert!(steps >= usage.output as usize, "{steps} steps for {usage:?}");
    assert!(gate.relaxed.load(Ordering::Acquire) > 0, "the process hears that nobody waits any more");
    // Shut, nothing is computed; and a process that dies at the gate leaves nobody inside.
    gate.shut(true);
    let waiting = llm.generate(talk("Hello."), CancelFlag::new());
    signal(llm.process().expect("a process").pid.into(), "-KILL");
    let outcome = waiting.try_collect::<Vec<_>>().await;
    let EngineError::Unavailable { reason, .. } = outcome.expect_err("it died") else {
        panic!("another error")
    };
    assert!(reason.contains("signal: 9 (SIGKILL)"), "{reason}");
    gate.shut(false);
    let process = llm.process().expect("a process");
    assert!(!process.is_running && !super::exists(process.pid.into()), "it is dead and buried");
    until("nobody inside", || gate.inside.load(Ordering::Acquire) == 0).await;
    let mut late = llm.generate(talk("Hello?"), CancelFlag::new());
    assert!(matches!(late.next().await, Some(Err(EngineError::Unavailable { .. }))));
}
