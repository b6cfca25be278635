//! Calls of endpoints that fail as they are told to: how often they are tried, where, and what is made of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::compute::Urgency;
use crate::engine::endpoint::{Endpoint, EndpointLimits};
use crate::engine::llm::{ChatMessage, ChatRole, FinishReason, LlmEngine, LlmEvent, LlmRequest, ToolChoice};
use crate::engine::llm::{TokenUsage, Truncation};
use crate::engine::{CancelFlag, EngineStream};
use crate::pool::endpoint::Mode;
use crate::pool::{HolderId, Instance, InstanceStats, PoolsConfig, Scheduler, WorkClass};

/// Fails its calls in this way, one after the other, and answers those after them.
#[derive(Debug)]
struct Failing {
    name: &'static str,
    errors: Mutex<VecDeque<EngineError>>,
    called: Mutex<Vec<Instant>>,
}

impl LlmEngine for Failing {
    fn generate(&self, _request: LlmRequest, _cancel: CancelFlag) -> EngineStream<LlmEvent> {
        self.called.lock().expect("sound").push(Instant::now());
        if let Some(error) = self.errors.lock().expect("sound").pop_front() {
            return Box::pin(futures::stream::iter([Err(error)]));
        }
        let usage = TokenUsage { input: 30, cached: 0, output: 12 };
        let events =
            [LlmEvent::Text(self.name.to_owned()), LlmEvent::Done { finish: FinishReason::Stop, usage }];
        Box::pin(futures::stream::iter(events.map(Ok)))
    }
}

struct Quiet;

impl CallObserver for Quiet {
    fn queued(&self) {}
    fn called(&self, _instance: &str) {}
    fn ended(&self) {}
}

fn failed() -> EngineError {
    EngineError::Failed { engine: "test".to_owned(), reason: "HTTP 500".to_owned() }
}

fn busy(retry_after_ms: Option<u64>) -> EngineError {
    EngineError::RateLimited { engine: "test".to_owned(), reason: "HTTP 429".to_owned(), retry_after_ms }
}

fn gone() -> EngineError {
    EngineError::Unavailable { engine: "test".to_owned(), reason: "connection refused".to_owned() }
}

/// A pool of endpoints that fail so, and where asked for, a fallback of this machine that never does.
struct Set {
    pool: ResourcePool<dyn LlmEngine>,
    engines: Vec<Arc<Failing>>,
    _clock: tokio::task::JoinHandle<()>,
}

impl Set {
    fn new(endpoints: Vec<Vec<EngineError>>, fallback: bool) -> Self {
        let config = PoolsConfig { max_share: 1.0, ..PoolsConfig::default() };
        let limits = EndpointLimits { tokens_per_minute: 100_000, ..EndpointLimits::default() };
        let endpoint = Some(Endpoint { limits, timeouts: EndpointTimeouts::default() });
        let names = ["first", "second"];
        let mut engines = Vec::new();
        let mut instances = Vec::new();
        for (name, errors) in names.into_iter().zip(endpoints) {
            let engine =
                Arc::new(Failing { name, errors: Mutex::new(errors.into()), called: Mutex::default() });
            engines.push(Arc::clone(&engine));
            instances.push(Instance::new(name, engine as Arc<dyn LlmEngine>, 4).behind(endpoint));
        }
        if fallback {
            let engine =
                Arc::new(Failing { name: "local", errors: Mutex::default(), called: Mutex::default() });
            instances.push(Instance::new("local", engine as Arc<dyn LlmEngine>, 1).as_fallback(true));
        }
        let scheduler = Scheduler::new(&config);
        let pool = ResourcePool::new("llm", instances, &scheduler, &config);
        #[expect(clippy::disallowed_methods, reason = "a test has no runtime of its own")]
        let clock = tokio::spawn(scheduler.keep_time(CancellationToken::new()));
        Self { pool, engines, _clock: clock }
    }

    /// Which engine answered.
    async fn call(&self) -> Result<String, CallError> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let lease = LeaseRequest { holder: HolderId(1), class: WorkClass::FirstClause, deadline };
        let request = LlmRequest {
            messages: Arc::from([ChatMessage::text(ChatRole::User, "x".repeat(400))]),
            tools: Arc::from([]),
            tool_choice: ToolChoice::None,
            max_tokens: Some(50),
            truncation: Truncation::default(),
            urgency: Urgency::default(),
        };
        let mut stream = self.pool.generate(lease, request, Box::new(Quiet)).await?;
        let mut said = String::new();
        while let Some(event) = stream.next().await {
            if let LlmEvent::Text(text) = event? {
                said = text;
            }
        }
        Ok(said)
    }

    fn calls(&self, engine: usize) -> usize {
        self.engines[engine].called.lock().expect("sound").len()
    }

    fn pause_before(&self, call: usize) -> Duration {
        let called = self.engines[0].called.lock().expect("sound");
        called[call] - called[call - 1]
    }

    fn stats(&self) -> InstanceStats {
        self.pool.stats().instances[0].clone()
    }

    fn mode(&self) -> Mode {
        self.stats().endpoint.expect("an endpoint").mode
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_tried_as_often_as_it_says_with_longer_and_longer_pauses() {
    let set = Set::new(vec![vec![failed(), failed()]], false);
    assert_eq!(set.call().await, Ok("first".to_owned()));
    let pauses = [set.pause_before(1), set.pause_before(2)];
    assert!(pauses[0] >= FIRST_PAUSE && pauses[1] >= FIRST_PAUSE * 2, "{pauses:?}");
    assert!(pauses[1] <= LONGEST_PAUSE * 2, "{pauses:?}");

    let set = Set::new(vec![vec![failed(); 3]], false);
    assert_eq!(set.call().await, Err(CallError::Engine(failed())));
    assert_eq!(set.calls(0), 3);
}

#[tokio::test(start_paused = true)]
async fn what_no_try_helps_with_is_not_tried_again() {
    let refused = EngineError::BadRequest { engine: "test".to_owned(), reason: "no such model".to_owned() };
    let set = Set::new(vec![vec![refused.clone()]], true);
    assert_eq!(set.call().await, Err(CallError::Engine(refused)));
    assert_eq!(set.stats().calls.failed, 0, "it is not the endpoint's fault");
}

#[tokio::test(start_paused = true)]
async fn another_endpoint_is_tried_at_once_and_the_fallback_last() {
    let set = Set::new(vec![vec![failed(); 8], vec![]], true);
    let began = Instant::now();
    assert_eq!(set.call().await, Ok("second".to_owned()));
    assert!(began.elapsed() < FIRST_PAUSE, "without a pause");

    let set = Set::new(vec![vec![failed(); 8], vec![failed(); 8]], true);
    assert_eq!(set.call().await, Ok("local".to_owned()));
    assert_eq!((set.calls(0), set.calls(1)), (1, 1), "each once");
}

#[tokio::test(start_paused = true)]
async fn the_pause_that_an_endpoint_asks_for_is_kept() {
    let set = Set::new(vec![vec![busy(Some(3_000))]], false);
    assert_eq!(set.call().await, Ok("first".to_owned()));
    assert!(set.pause_before(1) >= Duration::from_secs(3));

    let set = Set::new(vec![vec![busy(Some(60_000))]], false);
    let told = set.call().await;
    assert!(
        matches!(told, Err(CallError::Lease(LeaseError::Limited { pool: "llm", retry_after_ms })) if
        (50_000..=60_000).contains(&retry_after_ms)),
        "{told:?}"
    );

    let set = Set::new(vec![vec![busy(Some(60_000))]], true);
    assert_eq!(set.call().await, Ok("local".to_owned()), "nobody waits for a minute where another can serve");
    assert!(set.stats().endpoint.is_some_and(|endpoint| endpoint.held_ms > Some(50_000)));
}

#[tokio::test(start_paused = true)]
async fn several_calls_then_one_then_none_and_back() {
    let set = Set::new(vec![vec![failed(); 5]], true);
    assert_eq!((set.mode(), set.pool.stats().slots), (Mode::Concurrent, 5));
    assert_eq!(set.call().await, Ok("local".to_owned()));
    assert_eq!(
        (set.mode(), set.stats().breaker),
        (Mode::Sequential, crate::pool::breaker::BreakerState::Closed)
    );
    assert_eq!(set.pool.stats().slots, 2, "one of the endpoint, one of the fallback");
    assert_eq!(set.call().await, Ok("local".to_owned()));
    assert!(set.stats().breaker == crate::pool::breaker::BreakerState::Closed, "two in a row");
    assert_eq!(set.call().await, Ok("local".to_owned()));
    assert_eq!(
        set.stats().breaker,
        crate::pool::breaker::BreakerState::Open,
        "three in a row, one at a time"
    );
    assert_eq!(set.call().await, Ok("local".to_owned()));
    assert_eq!(set.calls(0), 5, "the last call went to the fallback at once");

    let set = Set::new(vec![vec![failed(); 2]], false);
    for _ in 0..4 {
        set.call().await.expect("it answers");
        assert_eq!(set.mode(), Mode::Sequential);
    }
    set.call().await.expect("it answers");
    assert_eq!(set.mode(), Mode::Concurrent, "five successes in a row");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_not_there_is_left_alone_soon() {
    let set = Set::new(vec![vec![gone(); 9]], true);
    while set.stats().breaker == crate::pool::breaker::BreakerState::Closed {
        assert_eq!(set.call().await, Ok("local".to_owned()));
    }
    assert_eq!(set.calls(0), 3, "failures in a row, whether one at a time or not");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_counted_as_they_were() {
    let set = Set::new(vec![vec![]], false);
    set.call().await.expect("it answers");
    let endpoint = set.stats().endpoint.expect("an endpoint");
    assert_eq!(endpoint.tokens.map(|tokens| tokens.used), Some(42), "not the 150 that were thought of");
    assert_eq!(endpoint.shares.len(), 1);
    set.pool.shared.scheduler.forget(HolderId(1));
    assert!(set.stats().endpoint.is_some_and(|endpoint| endpoint.shares.is_empty()));
}
