//! Against ONNX Runtime and the starter model.

mod families;

use std::path::PathBuf;
use std::sync::Mutex;

use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::time::{Duration, Instant, timeout};

use super::*;
use crate::engine::compute::{ComputePermit, Unlimited, Urgency};
use crate::engine::llm::{ChatMessage, ChatRole, FinishReason, TokenUsage, ToolChoice, ToolSpec, Truncation};

/// A path below the repository's root, where tests of any directory find it.
fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn config() -> OnnxLlmConfig {
    let model = root("models/starter/llm");
    assert!(model.join("config.json").exists(), "{} is missing: run `make starter`", model.display());
    OnnxLlmConfig { model, ..OnnxLlmConfig::default() }
}

fn load(config: &OnnxLlmConfig) -> OnnxLlm {
    load_behind(config, Arc::new(Unlimited))
}

fn load_behind(config: &OnnxLlmConfig, gate: Arc<dyn ComputeGate>) -> OnnxLlm {
    let library = root(".cache/onnxruntime/libonnxruntime.so");
    assert!(library.exists(), "{} is missing: run `scripts/setup`", library.display());
    OnnxLlm::load(config, &library, gate).expect("the starter model loads")
}

fn talk(lines: &[&str]) -> LlmRequest {
    let roles = [ChatRole::User, ChatRole::Assistant];
    let message = |(at, text): (usize, &&str)| ChatMessage::text(roles[at % 2], *text);
    LlmRequest {
        messages: lines.iter().enumerate().map(message).collect(),
        tools: [].into(),
        tool_choice: ToolChoice::Auto,
        max_tokens: Some(60),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    }
}

fn weather() -> ToolSpec {
    let parameters = serde_json::json!({
        "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    ToolSpec { name: "get_weather".into(), description: "Get the weather of a city.".into(), parameters }
}

/// Text, calls as name and arguments, and how it ended.
async fn answer(
    llm: &OnnxLlm,
    request: LlmRequest,
) -> (String, Vec<(String, String)>, FinishReason, TokenUsage) {
    let events: Vec<LlmEvent> =
        llm.generate(request, CancelFlag::new()).try_collect().await.expect("an answer");
    let (mut text, mut calls) = (String::new(), Vec::new());
    for event in &events {
        match event {
            LlmEvent::Text(piece) => text.push_str(piece),
            LlmEvent::ToolCallStart { name, .. } => calls.push((name.clone(), String::new())),
            LlmEvent::ToolCallArguments { index, delta } => calls[*index].1.push_str(delta),
            LlmEvent::Done { finish, usage } => return (text, calls, *finish, *usage),
        }
    }
    panic!("the last event is Done: {events:?}");
}

#[tokio::test]
async fn it_answers_and_remembers() {
    let llm = load(&config());
    let (text, calls, finish, usage) = answer(&llm, talk(&["Hello."])).await;
    assert!(text.len() > 3 && calls.is_empty() && !text.contains("<|"), "{text}");
    assert_eq!(text.trim(), text);
    assert_eq!(finish, FinishReason::Stop);
    assert!(usage.input > 3 && usage.output > 2, "{usage:?}");
    // What it knows is the model's business; that it reads the whole talk is ours.
    let lines = ["My name is Clara.", "Nice to meet you, Clara.", "What is my name?"];
    let (told, ..) = answer(&llm, talk(&lines)).await;
    let (untold, ..) = answer(&llm, talk(&lines[2..])).await;
    assert_ne!(told, untold);
}

/// In turn, and together.
#[tokio::test]
async fn answers_at_once_are_the_answers_alone() {
    for batching in [false, true] {
        let llm = load(&OnnxLlmConfig { batching: Some(batching), ..config() });
        let names = ["Clara", "Peter", "Anna", "David", "Maria", "Tom"];
        let request = |name: &str| {
            talk(&[&format!("My name is {name}."), &format!("Nice to meet you, {name}."), "What is my name?"])
        };
        let mut alone = Vec::new();
        for name in names {
            alone.push(answer(&llm, request(name)).await.0);
        }
        // More calls than slots, all at once.
        let calls = (0..18).map(|n| answer(&llm, request(names[n % names.len()])));
        for (n, (text, ..)) in futures::future::join_all(calls).await.into_iter().enumerate() {
            assert_eq!(text, alone[n % names.len()], "call {n}, batching {batching}");
        }
    }
}

/// A step of all is one on the device; who is given up leaves the others as they were.
#[tokio::test]
async fn answers_that_step_together_enter_once() {
    let gate = Arc::new(Recorder::default());
    let together = OnnxLlmConfig { batching: Some(true), ..config() };
    let llm = load_behind(&together, Arc::clone(&gate) as Arc<dyn ComputeGate>);
    let story = || LlmRequest { max_tokens: Some(24), ..talk(&["Tell me a story."]) };
    let (alone, _, _, usage) = answer(&llm, story()).await;
    assert_eq!(usage.output, 24);
    gate.entered.lock().expect("no panic").clear();
    let flag = CancelFlag::new();
    let mut given_up = llm.generate(story(), flag.clone());
    let others = futures::future::join_all((0..3).map(|_| answer(&llm, story())));
    let giving_up = async {
        assert!(matches!(given_up.next().await, Some(Ok(LlmEvent::Text(_)))));
        flag.cancel();
    };
    let (others, ()) = futures::future::join(others, giving_up).await;
    assert!(others.iter().all(|(text, ..)| *text == alone), "{others:?}");
    let steps = gate.entered.lock().expect("no panic").len();
    assert!(steps < 2 * 24, "three answers of 24 tokens and a part of a fourth made {steps} steps");
}

#[tokio::test]
async fn a_model_for_a_gpu_that_is_not_there_answers_on_the_cpu() {
    let asked = OnnxLlmConfig { device: Device::Cuda(0), ..config() };
    let (llm, on_cpu) =
        (load_behind(&asked, Arc::new(Unlimited)), load_behind(&config(), Arc::new(Unlimited)));
    assert_eq!((llm.device(), on_cpu.device()), (Device::Cpu, Device::Cpu));
    let (told, expected) = (answer(&llm, talk(&["Hello."])).await, answer(&on_cpu, talk(&["Hello."])).await);
    assert!(!told.0.is_empty() && told.0 == expected.0, "{told:?}");
}

/// Writes down who entered, and lets nobody in before it is opened.
#[derive(Debug, Default)]
struct Recorder {
    entered: Mutex<Vec<bool>>,
    closed: Mutex<()>,
}

impl ComputeGate for Recorder {
    fn enter(&self, _device: Device, urgent: bool) -> ComputePermit {
        drop(self.closed.lock().expect("no panic"));
        self.entered.lock().expect("no panic").push(urgent);
        ComputePermit::holding(())
    }
}

#[tokio::test]
async fn an_answer_that_is_waited_for_goes_before_those_that_play() {
    let gate = Arc::new(Recorder::default());
    let llm = load_behind(&config(), Arc::clone(&gate) as Arc<dyn ComputeGate>);
    let playing = LlmRequest { urgency: Urgency::default(), ..talk(&["Tell me a story."]) };
    playing.urgency.relax();
    let closed = gate.closed.lock().expect("no panic");
    // Both are there before the first step is made.
    let (first, second) = (answer(&llm, playing), answer(&llm, talk(&["Hello."])));
    let both = futures::future::join(first, second);
    futures::pin_mut!(both);
    assert!((&mut both).now_or_never().is_none());
    drop(closed);
    both.await;
    let entered = gate.entered.lock().expect("no panic").clone();
    let after_the_first_urgent: Vec<bool> = entered.iter().copied().skip_while(|urgent| !urgent).collect();
    let urgent = after_the_first_urgent.iter().take_while(|urgent| **urgent).count();
    assert_eq!(
        urgent,
        entered.iter().filter(|urgent| **urgent).count(),
        "nobody stepped between: {entered:?}"
    );
    assert!(urgent > 2 && entered.len() > urgent, "both were answered: {entered:?}");
}

#[tokio::test]
async fn a_call_that_must_be_made_is_whole_or_refused() {
    let llm = load(&config());
    let ask = |choice: ToolChoice| LlmRequest {
        tools: [weather()].into(),
        tool_choice: choice,
        ..talk(&["What is the weather in Oslo?"])
    };
    // Whether the model fills in the arguments well is scored by llm_eval.py; here a call is whole or refused.
    for choice in [ToolChoice::Required, ToolChoice::Function("get_weather".into())] {
        let events = llm.generate(ask(choice.clone()), CancelFlag::new()).collect::<Vec<_>>().await;
        match events.last() {
            Some(Ok(LlmEvent::Done { finish, .. })) => {
                assert_eq!(*finish, FinishReason::ToolCalls, "{choice:?}: {events:?}");
            }
            Some(Err(EngineError::Failed { reason, .. })) => {
                assert!(reason.contains("tool call"), "{choice:?}: {reason}");
            }
            other => panic!("{choice:?}: {other:?}"),
        }
    }
    let (text, calls, ..) = answer(&llm, ask(ToolChoice::None)).await;
    assert!(calls.is_empty() && !text.is_empty());
    let unknown = llm.generate(ask(ToolChoice::Function("other".into())), CancelFlag::new()).next().await;
    assert!(matches!(unknown, Some(Err(EngineError::BadRequest { .. }))), "{unknown:?}");
}

/// A talk of some turns, each asked with what was answered before: what is kept changes what is read, not what is
/// said. The second talk parts from the first in the middle, as after an interruption.
#[tokio::test]
async fn what_is_kept_of_a_talk_changes_no_answer() {
    let (keeping, forgetting) = (load(&config()), load(&OnnxLlmConfig { prefix_cache_mib: 0, ..config() }));
    let says = [
        "My name is Clara.",
        "I live in Oslo.",
        "My dog is called Max.",
        "What is my name?",
        "Where do I live?",
    ];
    for cut in [false, true] {
        let mut lines: Vec<String> = Vec::new();
        for (turn, line) in says.into_iter().enumerate() {
            lines.push(line.to_owned());
            let request = || talk(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let (kept, _, _, usage) = answer(&keeping, request()).await;
            let (fresh, _, _, all) = answer(&forgetting, request()).await;
            assert_eq!(kept, fresh, "turn {turn}, cut {cut}");
            assert_eq!((all.cached, all.input), (0, usage.input));
            assert!(turn == 0 || usage.cached * 2 > usage.input, "turn {turn}, cut {cut}: {usage:?}");
            let heard = if cut && turn == 1 { &kept[..kept.len() / 2] } else { &kept[..] };
            lines.push(heard.to_owned());
        }
    }
}

#[tokio::test]
async fn limits_hold() {
    let llm = load(&config());
    let (_, _, finish, usage) =
        answer(&llm, LlmRequest { max_tokens: Some(2), ..talk(&["Tell me a story."]) }).await;
    assert_eq!((finish, usage.output), (FinishReason::Length, 2));
    // Far more than the context holds: the oldest turns go.
    let mut lines = vec!["My name is Peter.", "Nice to meet you, Peter."];
    lines.extend(["How are you today?", "I am fine, thank you."].repeat(200));
    lines.extend(["My name is Clara.", "Nice to meet you, Clara.", "What is my name?"]);
    let (_, _, _, usage) = answer(&llm, talk(&lines)).await;
    assert!((1500..=2048).contains(&usage.input), "{usage:?}");
    let endless = "word ".repeat(5000);
    let refused = |request: LlmRequest| async { llm.generate(request, CancelFlag::new()).next().await };
    let too_long = refused(talk(&[&endless])).await;
    assert!(matches!(too_long, Some(Err(EngineError::ContextExceeded { .. }))), "{too_long:?}");
    let strict = LlmRequest { truncation: Truncation::Disabled, ..talk(&lines) };
    let told = refused(strict).await.and_then(Result::err).expect("nothing may go").to_string();
    assert!(told.contains("'truncation'") && told.contains("the limit is"), "{told}");
    let short = Truncation::Retain { ratio: 0.5, max_tokens: Some(100) };
    let (_, _, _, usage) = answer(&llm, LlmRequest { truncation: short, ..talk(&lines) }).await;
    assert!(usage.input < 250, "{usage:?}");
}

#[tokio::test]
async fn a_reader_that_stalls_or_goes_holds_nobody_up() {
    let llm = load(&OnnxLlmConfig { slots: 2, ..config() });
    let stalled = llm.generate(talk(&["Tell me a story."]), CancelFlag::new());
    let gone = llm.generate(talk(&["Tell me a story."]), CancelFlag::new());
    drop(gone);
    for _ in 0..3 {
        let next = answer(&llm, talk(&["Hello."]));
        assert!(timeout(Duration::from_secs(20), next).await.is_ok());
    }
    let events: Vec<LlmEvent> = stalled.try_collect().await.expect("it was only waiting");
    assert!(matches!(events.last(), Some(LlmEvent::Done { .. })));
}

#[tokio::test]
async fn cancelling_ends_it_and_frees_its_slot() {
    let llm = load(&OnnxLlmConfig { slots: 1, ..config() });
    let flag = CancelFlag::new();
    let mut stream = llm.generate(talk(&["Tell me a story."]), flag.clone());
    assert!(matches!(stream.next().await, Some(Ok(LlmEvent::Text(_)))));
    let begin = Instant::now();
    flag.cancel();
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    assert_eq!(last, Some(Err(EngineError::Cancelled)));
    assert!(begin.elapsed() < Duration::from_millis(500));
    assert!(timeout(Duration::from_secs(20), answer(&llm, talk(&["Hello."]))).await.is_ok());
}

#[test]
fn missing_and_broken_parts_say_what_to_do() {
    let library = root(".cache/onnxruntime/libonnxruntime.so");
    let told = |config: &OnnxLlmConfig, library: &Path| {
        OnnxLlm::load(config, library, Arc::new(Unlimited)).expect_err("broken").to_string()
    };
    let error = told(&config(), Path::new("/nowhere/libonnxruntime.so"));
    assert!(error.contains("/nowhere/libonnxruntime.so") && error.contains("scripts/setup"), "{error}");
    let missing = OnnxLlmConfig { model: "/nowhere/llm".into(), ..OnnxLlmConfig::default() };
    let error = told(&missing, &library);
    assert!(error.contains("/nowhere/llm/config.json") && error.contains("make starter"), "{error}");
    let hot = SamplingConfig { temperature: Some(-1.0), ..SamplingConfig::default() };
    let error = told(&OnnxLlmConfig { sampling: hot, ..config() }, &library);
    assert!(error.contains("temperature = -1"), "{error}");

    let directory = tempfile::tempdir().expect("a directory");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(config().model.join(name), directory.path().join(name)).expect("copied");
    }
    let model = OnnxLlmConfig { model: directory.path().to_owned(), ..OnnxLlmConfig::default() };
    assert!(told(&model, &library).contains("onnx/model.onnx"));
    std::fs::write(directory.path().join("model.onnx"), b"not a graph").expect("written");
    let error = told(&model, &library);
    assert!(error.contains("model.onnx") && error.contains("make starter"), "{error}");
    std::fs::write(directory.path().join("tokenizer.json"), b"{}").expect("written");
    assert!(told(&model, &library).contains("tokenizer.json"));
}
