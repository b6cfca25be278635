//! Requests from received to over, and the health of the sessions that make them. Scripted engines, no socket.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Client, Stage, respond};
use antiphon::backend::scripted::{Hang, ScriptedLlm, ScriptedStt, Step};
use antiphon::engine::vad::{VadDetector, VadEngine};
use antiphon::session::error::EndError;
use antiphon::session::event::{CloseReason, ResponseEvent, ResponseStatus};
use antiphon::session::health::SessionHealth;
use antiphon::session::lifecycle::{Phase, RequestKind, RequestView, Stage as EngineStage};
use antiphon::session::{Action, SessionConfig, SessionError, SessionEvent};
use antiphon::telemetry::Metrics;
use tokio::time::timeout;

fn requests(stage: &Stage, kind: RequestKind) -> Vec<RequestView> {
    let mut views = stage.router.requests().views(|_| true);
    views.retain(|view| view.kind == kind);
    views
}

fn phases(view: &RequestView, stage: EngineStage) -> Vec<Phase> {
    view.phases.iter().filter(|mark| mark.stage == Some(stage)).map(|mark| mark.phase).collect()
}

const WHOLE: [Phase; 6] = [
    Phase::Queued,
    Phase::Dequeued,
    Phase::SessionAllocated,
    Phase::ProviderCallStart,
    Phase::ProviderCallEnd,
    Phase::SessionReleased,
];

#[tokio::test(start_paused = true)]
async fn a_spoken_turn_leaves_a_transcription_and_a_response() {
    let stage =
        Stage::new(ScriptedStt::saying(40, "My name is Anna."), ScriptedLlm::saying(30, "Hello, Anna."));
    let mut client = stage.open_as("anna");
    client.say(800).await;
    let done = client.response_done().await;
    let transcription = requests(&stage, RequestKind::Transcription).remove(0);
    assert_eq!((transcription.status, transcription.owner.as_deref()), (Phase::Completed, Some("anna")));
    assert_eq!(phases(&transcription, EngineStage::Stt), WHOLE);
    assert_eq!(transcription.stages[0].engine_ms, 40.0);
    let response = requests(&stage, RequestKind::Response).remove(0);
    assert_eq!(response.id, done.id.as_str(), "a response's request is named like it");
    assert_eq!(response.session.as_deref(), Some(client.session.id.as_str()));
    assert_eq!((response.status, response.error), (Phase::Completed, None));
    for engine in [EngineStage::Llm, EngineStage::Tts] {
        assert_eq!(phases(&response, engine), WHOLE, "{engine:?}");
    }
    let (first, last) = (&response.phases[0], &response.phases[response.phases.len() - 1]);
    assert_eq!((first.phase, last.phase), (Phase::Received, Phase::Completed));
    assert!(response.phases.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
    let text = serde_json::to_string(&(&transcription, &response)).expect("JSON");
    assert!(!text.contains("Hello") && !text.contains("My name"), "no word of a user: {text}");
    let report = stage.router.reports(|_| true).remove(0);
    assert!(report.turns == 1 && report.errors == 0 && report.engine_ms >= 70, "{report:?}");
    assert!(report.latency_ms.is_some_and(|latency| latency.samples == 1), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn each_outcome_has_its_phase_and_code() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let (fails, hangs) = (vec![Step::error(5, "out of order")], vec![Step::hang(Hang::UntilCancelled)]);
    // A call that fails is tried once more.
    stage.llm.set_calls(vec![
        fails.clone(),
        fails,
        hangs.clone(),
        hangs.clone(),
        hangs,
        vec![Step::text(5, "Well.")],
    ]);
    let mut client = stage.open();
    client.write("Hi").await;
    for expected in [
        (Phase::Error, Some("engine_failed")),
        (Phase::Timeout, Some("engine_timeout")),
        (Phase::Cancelled, None),
        (Phase::Completed, None),
    ] {
        client.send(respond()).await;
        let id = client
            .until(|event| match event {
                SessionEvent::Response(ResponseEvent::Created(view)) => Some(view.id.clone()),
                _ => None,
            })
            .await;
        if expected.0 == Phase::Cancelled {
            while stage.pools.llm.stats().in_use == 0 {
                tokio::task::yield_now().await;
            }
            client.send(Action::CancelResponse(None)).await;
        }
        client.response_done().await;
        let view = requests(&stage, RequestKind::Response).into_iter().find(|view| view.id == id.as_str());
        let view = view.expect("it is remembered");
        assert_eq!((view.status, view.error), expected, "{view:?}");
        let called = view.phases.iter().any(|mark| mark.phase == Phase::ProviderCallEnd);
        assert!(called || expected.0 == Phase::Cancelled, "{view:?}");
    }
    let totals = stage.router.requests().totals();
    assert_eq!((totals.succeeded, totals.failed, totals.timed_out, totals.cancelled), (1, 2, 1, 1));
    assert!(totals.success_rate.is_some_and(|rate| (rate - 1.0 / 3.0).abs() < 1e-9));
    assert_eq!((totals.active, totals.peak, totals.total), (0, 1, 4));
    assert_eq!(stage.router.reports(|_| true)[0].errors, 2);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_an_engine_that_is_too_long_is_a_timeout() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    stage.llm.set_calls(vec![vec![Step::hang(Hang::UntilCancelled)]]);
    let mut clients: Vec<Client> = (0..5).map(|_| stage.open()).collect(); // the pool has 4 slots
    for client in &clients {
        client.write("Hi").await;
        client.send(respond()).await;
    }
    let status = clients.remove(4).response_done().await.status;
    assert!(matches!(status, ResponseStatus::Failed(SessionError::Overloaded(_))), "{status:?}");
    let views = requests(&stage, RequestKind::Response);
    let view = views.iter().find(|view| view.status == Phase::Timeout).expect("one timed out");
    assert_eq!((view.error, phases(view, EngineStage::Llm)), (Some("overloaded"), vec![Phase::Queued]));
    assert_eq!(view.stages[0].queued_ms, 5_000.0);
}

#[tokio::test(start_paused = true)]
async fn a_response_is_cancelled_from_outside_and_the_session_goes_on() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::saying(1_000, "Late."));
    let mut client = stage.open();
    client.write("Hi").await;
    client.send(respond()).await;
    client.until(|event| matches!(event, SessionEvent::Response(_)).then_some(())).await;
    let running = requests(&stage, RequestKind::Response).remove(0);
    assert!(!running.status.is_last());
    client.send(Action::CancelRequest(running.id.as_str().into())).await;
    let done = client.response_done().await;
    assert_eq!((done.status, done.id.as_str()), (ResponseStatus::Cancelled, running.id.as_str()));
    client.send(Action::CancelRequest(running.id.as_str().into())).await; // again: nothing happens
    client.send(respond()).await;
    assert_eq!(client.response_done().await.status, ResponseStatus::Completed);
    assert!(!client.names().contains(&"error"), "{:?}", client.names());
}

#[tokio::test(start_paused = true)]
async fn a_transcription_is_cancelled_from_outside_and_its_turn_is_kept() {
    let stage = Stage::new(ScriptedStt::saying(2_000, "Hello."), ScriptedLlm::echoing());
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    client.sound(true, 300).await;
    client.send(Action::CommitAudio).await;
    client.until(|event| matches!(event, SessionEvent::ItemDone { .. }).then_some(())).await;
    let running = requests(&stage, RequestKind::Transcription).remove(0);
    client.send(Action::CancelRequest(running.id.as_str().into())).await;
    let (item, error) = client
        .until(|event| match event {
            SessionEvent::TranscriptionFailed { item, error } => Some((item.clone(), error.clone())),
            _ => None,
        })
        .await;
    assert_eq!(error, SessionError::RequestCancelled);
    client.send(Action::RetrieveItem(item)).await;
    client.until(|event| matches!(event, SessionEvent::ItemRetrieved(_)).then_some(())).await;
    while stage.pools.stt.stats().in_use > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(requests(&stage, RequestKind::Transcription)[0].status, Phase::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn rings_stay_bounded_and_outlive_their_session() {
    let mut config = SessionConfig::default();
    config.records.per_session = 4;
    config.records.of_ended_sessions = 6;
    config.per_user.max_responses_per_minute = 1_000;
    let stage = Stage::with_config(ScriptedStt::saying(1, ""), ScriptedLlm::echoing(), config);
    for _ in 0..3 {
        let mut client = stage.open();
        client.write("Hi").await;
        for _ in 0..7 {
            client.send(respond()).await;
            client.response_done().await;
        }
        let id = client.session.id.clone();
        let own = requests(&stage, RequestKind::Response);
        assert_eq!(own.iter().filter(|view| view.session.as_deref() == Some(id.as_str())).count(), 4);
        drop(client.session.commands);
        client.session.task.await.expect("it ends");
    }
    assert_eq!(stage.router.requests().views(|_| true).len(), 6);
    assert_eq!(stage.router.requests().totals().total, 21);
}

#[tokio::test(start_paused = true)]
async fn a_silent_socket_ends_its_session_alone() {
    let metrics = Metrics::install().expect("one recorder a process");
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let (mut silent, mut alive) = (stage.open(), stage.open());
    let health = SessionHealth::new(stage.router.clone());
    let watch = stage.runtime.spawn("health", health.run(stage.runtime.shutdown_token().clone()));
    for _ in 0..14 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        alive.session.gauge.heard(tokio::time::Instant::now()); // it answers a ping
    }
    let told = silent
        .until(|event| match event {
            SessionEvent::Error { error, .. } => Some(error.clone()),
            _ => None,
        })
        .await;
    assert_eq!(told, SessionError::Ended(EndError::Silent));
    assert_eq!(silent.next().await, SessionEvent::Closing(CloseReason::Silent));
    assert_eq!(stage.router.len(), 1);
    alive.write("Hi").await;
    alive.send(respond()).await;
    assert_eq!(alive.response_done().await.status, ResponseStatus::Completed);
    let text = metrics.render();
    for line in [
        r#"antiphon_sessions_unhealthy_total{reason="silent"} 1"#,
        r#"antiphon_requests_total{kind="response",outcome="completed"}"#,
        r#"antiphon_session_memory_bytes{of="largest"}"#,
        r#"antiphon_request_seconds_count{kind="response",stage="queue_llm"}"#,
    ] {
        assert!(text.contains(line), "{line} is missing from:\n{text}");
    }
    stage.runtime.shutdown_token().cancel();
    watch.await.expect("it ends with the server");
}

/// Voice activity that does not come back from its first loud frame until it is let go.
#[derive(Clone, Debug)]
struct Stuck {
    released: Arc<std::sync::atomic::AtomicBool>,
}

/// Lets it go even if the test fails: its thread would keep the runtime from ending.
struct Release(Stuck);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.released.store(true, std::sync::atomic::Ordering::Release);
    }
}

impl VadEngine for Stuck {
    fn detector(&self) -> Box<dyn VadDetector> {
        Box::new(self.clone())
    }
}

impl VadDetector for Stuck {
    fn frame_len(&self) -> usize {
        256
    }

    fn predict(&mut self, frame: &[f32]) -> f32 {
        while frame.iter().any(|sample| *sample > 0.2)
            && !self.released.load(std::sync::atomic::Ordering::Acquire)
        {
            std::thread::yield_now();
        }
        0.0
    }

    fn reset(&mut self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stuck_session_is_taken_down_and_leaves_nothing_behind() {
    let mut config = SessionConfig::default();
    config.health.stuck_s = 2;
    config.per_user.max_sessions = 2;
    let vad = Stuck { released: Arc::default() };
    let stage = Stage::with_vad(Arc::new(vad.clone()), config);
    let release = Release(vad);
    let (mut stuck, alive) = (stage.open_as("anna"), stage.open_as("anna"));
    stuck.sound(true, 40).await;
    let health = SessionHealth::new(stage.router.clone());
    timeout(Duration::from_secs(60), async {
        while stage.router.len() > 1 {
            alive.sound(false, 20).await;
            health.look();
        }
    })
    .await
    .expect("its place is given back although its task does not end");
    drop(stage.open_as("anna")); // and so is its quota
    let told = stuck.until(|event| matches!(event, SessionEvent::Error { .. }).then(|| event.clone())).await;
    assert!(format!("{told:?}").contains("Unhealthy"), "{told:?}");
    assert_eq!(stuck.next().await, SessionEvent::Closing(CloseReason::Unhealthy));
    drop(release);
    let ended = stuck.session.task.await.expect_err("it was aborted");
    assert!(ended.is_cancelled());
    drop(alive);
    stage.runtime.drain(Duration::from_secs(30)).await.expect("no task is left");
    assert!(stage.router.is_empty() && stage.pools.stats().iter().all(|pool| pool.in_use == 0));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_panics_gives_everything_back() {
    let mut config = SessionConfig::default();
    config.per_user.max_sessions = 1;
    let stage = Stage::with_vad(Arc::new(Panics), config);
    let client = stage.open_as("anna");
    client.send(Action::AppendAudio(vec![0; 4_800])).await;
    assert!(client.session.task.await.expect_err("on purpose").is_panic());
    assert!(stage.router.is_empty() && stage.router.reports(|_| true).is_empty());
    drop(stage.open_as("anna"));
}

#[derive(Clone, Copy, Debug)]
struct Panics;

impl VadEngine for Panics {
    fn detector(&self) -> Box<dyn VadDetector> {
        Box::new(*self)
    }
}

impl VadDetector for Panics {
    fn frame_len(&self) -> usize {
        256
    }

    fn predict(&mut self, _frame: &[f32]) -> f32 {
        panic!("on purpose");
    }

    fn reset(&mut self) {}
}
