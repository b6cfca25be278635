//! Each limit of a session and of a user: what is refused says which limit, its value and when to retry; the
//! session and its neighbours go on. Scripted engines, no socket, paused time.

use std::time::Duration;

use crate::support::{Client, Stage, open_gate, respond, settings, spoken_text};
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt};
use antiphon::session::admission::Entry;
use antiphon::session::error::EndError;
use antiphon::session::event::{CloseReason, ResponseStatus};
use antiphon::session::quota::QuotaError;
use antiphon::session::router::{OpenError, Owner};
use antiphon::session::settings::Modality;
use antiphon::session::{Action, FeaturesConfig, LiveSettings, SessionConfig, SessionError, SessionEvent};
use antiphon::telemetry::Metrics;

fn stage(change: impl FnOnce(&mut SessionConfig)) -> Stage {
    let mut config = SessionConfig::default();
    change(&mut config);
    Stage::with_config(ScriptedStt::saying(1, "Good morning."), ScriptedLlm::echoing(), config)
}

async fn quota_error(client: &mut Client) -> QuotaError {
    match client.until(error).await {
        SessionError::Quota(error) => error,
        other => panic!("not a quota: {other:?}"),
    }
}

async fn answers(client: &mut Client, text: &str) {
    client.write(text).await;
    client.send(respond()).await;
    let view = client.response_done().await;
    assert_eq!((&view.status, spoken_text(&view)), (&ResponseStatus::Completed, format!("You said: {text}")));
}

/// Told to whomever: limits also speak up by themselves.
fn error(event: &SessionEvent) -> Option<SessionError> {
    match event {
        SessionEvent::Error { error, .. } => Some(error.clone()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn responses_a_minute_are_counted_over_all_sessions_of_a_user() {
    let metrics = Metrics::install().expect("one recorder a process");
    let stage = stage(|config| config.per_user.max_responses_per_minute = 2);
    let (mut one, mut two, mut other) = (stage.open_as("anna"), stage.open_as("anna"), stage.open_as("ben"));
    answers(&mut one, "a").await;
    answers(&mut two, "bb").await;
    two.send(respond()).await;
    let refused = quota_error(&mut two).await;
    let QuotaError::UserResponsesPerMinute { limit: 2, retry_after_s } = refused else {
        panic!("{refused:?}")
    };
    assert!((1..=60).contains(&retry_after_s));
    let message = refused.to_string();
    assert!(message.contains("session.per_user.max_responses_per_minute"), "{message}");
    assert!(message.contains(&format!("{retry_after_s} s")), "{message}");
    let counted = r#"antiphon_quota_refusals_total{limit="session.per_user.max_responses_per_minute"}"#;
    assert!(metrics.render().contains(counted), "the refusal is counted");
    answers(&mut other, "ccc").await;
    tokio::time::sleep(Duration::from_secs(retry_after_s)).await;
    answers(&mut two, "dddd").await; // the promise holds
}

#[tokio::test(start_paused = true)]
async fn without_keys_every_session_is_its_own_user() {
    let stage = stage(|config| {
        config.per_user.max_responses_per_minute = 1;
        config.per_user.max_sessions = 1;
    });
    let mut sessions: Vec<Client> = (0..5).map(|_| stage.open()).collect();
    for client in &mut sessions {
        answers(client, "a").await;
        client.send(respond()).await;
        assert!(matches!(quota_error(client).await, QuotaError::UserResponsesPerMinute { limit: 1, .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_answer_loses_nothing_of_what_was_said() {
    let stage = stage(|config| config.per_user.max_responses_per_minute = 1);
    let mut client = stage.open();
    client.say(600).await;
    client.response_done().await;
    client.say(600).await;
    let item = client
        .until(|event| match event {
            SessionEvent::TranscriptionCompleted { item, transcript, .. } => {
                assert_eq!(transcript, "Good morning.");
                Some(item.clone())
            }
            _ => None,
        })
        .await;
    assert!(matches!(quota_error(&mut client).await, QuotaError::UserResponsesPerMinute { .. }));
    client.send(Action::RetrieveItem(item)).await;
    let kept =
        client.until(|event| matches!(event, SessionEvent::ItemRetrieved(_)).then(|| event.clone())).await;
    assert!(format!("{kept:?}").contains("Good morning."), "{kept:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.send(respond()).await;
    client.response_done().await;
    let calls = stage.llm.calls();
    let said = calls.last().expect("a call").messages.iter().filter(|m| m.content == "Good morning.").count();
    assert_eq!(said, 2, "the turn that was not answered is in the history");
}

#[tokio::test(start_paused = true)]
async fn requests_a_minute_are_a_sessions_own_and_a_refused_commit_keeps_its_audio() {
    let stage = stage(|config| config.limits.max_requests_per_minute = 2);
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    for _ in 0..2 {
        client.sound(true, 200).await;
        client.send(Action::CommitAudio).await;
        client
            .until(|event| matches!(event, SessionEvent::TranscriptionCompleted { .. }).then_some(()))
            .await;
    }
    client.sound(true, 500).await;
    client.send(Action::CommitAudio).await;
    let refused = quota_error(&mut client).await;
    assert!(matches!(refused, QuotaError::SessionRequestsPerMinute { limit: 2, .. }), "{refused:?}");
    assert!(refused.to_string().contains("session.limits.max_requests_per_minute"), "{refused}");
    client.send(respond()).await;
    assert!(matches!(quota_error(&mut client).await, QuotaError::SessionRequestsPerMinute { .. }));
    answers(&mut stage.open(), "the neighbour").await;
    tokio::time::sleep(Duration::from_secs(refused.retry_after_s())).await;
    client.send(Action::CommitAudio).await;
    client.until(|event| matches!(event, SessionEvent::TranscriptionCompleted { .. }).then_some(())).await;
    let heard = stage.stt.calls().last().map(|call| call.audio_ms);
    assert!(heard.is_some_and(|ms| (490..=500).contains(&ms)), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_has_so_many_requests_at_once() {
    let mut config = SessionConfig::default();
    config.limits.max_concurrent_requests = 1;
    let stage = Stage::with_config(ScriptedStt::saying(500, "Hello."), ScriptedLlm::echoing(), config);
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    client.sound(true, 300).await;
    client.send(Action::CommitAudio).await;
    client.send(respond()).await;
    let refused = quota_error(&mut client).await;
    assert_eq!(refused, QuotaError::SessionConcurrentRequests { limit: 1, retry_after_s: 1 });
    answers(&mut stage.open(), "the neighbour").await;
    client.until(|event| matches!(event, SessionEvent::TranscriptionCompleted { .. }).then_some(())).await;
    client.send(respond()).await;
    assert_eq!(spoken_text(&client.response_done().await), "You said: Hello.");
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_requests_at_once() {
    let mut config = SessionConfig::default();
    config.per_user.max_concurrent_requests = 1;
    let stage = Stage::with_config(ScriptedStt::saying(1, ""), ScriptedLlm::saying(400, "Late."), config);
    let (mut one, mut two, mut other) = (stage.open_as("anna"), stage.open_as("anna"), stage.open_as("ben"));
    for client in [&mut one, &mut two, &mut other] {
        client.write("Hi").await;
        client.send(respond()).await;
    }
    let refused = quota_error(&mut two).await;
    assert_eq!(refused, QuotaError::UserConcurrentRequests { limit: 1, retry_after_s: 1 });
    assert!(refused.to_string().contains("session.per_user.max_concurrent_requests"), "{refused}");
    assert_eq!(one.response_done().await.status, ResponseStatus::Completed);
    assert_eq!(other.response_done().await.status, ResponseStatus::Completed);
    two.send(respond()).await;
    assert_eq!(two.response_done().await.status, ResponseStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_sessions_and_gets_the_place_back() {
    let stage = stage(|config| config.per_user.max_sessions = 2);
    let anna = Owner("anna".into());
    let (mut first, second) = (stage.open_as("anna"), stage.open_as("anna"));
    let Entry::Admitted(permit) = open_gate().enter() else { panic!("there is room") };
    let refused = stage.router.open(&anna, settings(), permit).expect_err("two are open");
    assert_eq!(refused, OpenError::Quota(QuotaError::UserSessions { limit: 2, retry_after_s: 10 }));
    drop(stage.open_as("ben"));
    answers(&mut first, "still here").await;
    drop(second.session.commands);
    second.session.task.await.expect("it ends");
    drop(stage.open_as("anna"));
}

#[tokio::test(start_paused = true)]
async fn limits_change_at_run_time_for_open_sessions() {
    let stage = stage(|config| config.per_user.max_responses_per_minute = 1);
    let mut client = stage.open();
    answers(&mut client, "a").await;
    client.send(respond()).await;
    assert!(matches!(quota_error(&mut client).await, QuotaError::UserResponsesPerMinute { limit: 1, .. }));
    stage.router.reconfigure(LiveSettings::new(SessionConfig::default(), FeaturesConfig::default()));
    answers(&mut client, "bb").await;
}

fn tight(limit: u64) -> SessionConfig {
    let mut config = SessionConfig::default();
    config.limits.max_memory_bytes = limit;
    config
}

#[tokio::test(start_paused = true)]
async fn memory_is_trimmed_first() {
    let stage = Stage::with_config(ScriptedStt::saying(1, ""), ScriptedLlm::echoing(), tight(300_000));
    let mut client = stage.open();
    let mut items = Vec::new();
    for _ in 0..20 {
        client.write(&"x".repeat(40_000)).await;
        let added = client.until(|event| match event {
            SessionEvent::ItemDone { item, .. } => Some(item.id.clone()),
            _ => None,
        });
        items.push(added.await);
    }
    let report = stage.router.reports(|_| true).remove(0);
    assert!((100_000..=300_000).contains(&report.bytes), "{report:?}");
    client.send(Action::RetrieveItem(items[0].clone())).await;
    assert!(matches!(client.until(error).await, SessionError::UnknownItem { .. }), "the oldest is gone");
    client.send(Action::RetrieveItem(items[19].clone())).await;
    client.until(|event| matches!(event, SessionEvent::ItemRetrieved(_)).then_some(())).await;
    assert!(client.seen.iter().filter_map(error).all(|error| !matches!(error, SessionError::Quota(_))));
}

#[tokio::test(start_paused = true)]
async fn then_new_input_is_refused_and_what_was_there_is_kept() {
    let stage = Stage::with_config(ScriptedStt::saying(1, "Long."), ScriptedLlm::echoing(), tight(300_000));
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    client.write("A question").await;
    client.sound(true, 12_000).await; // 384,000 bytes at 16 kHz
    let refused = quota_error(&mut client).await;
    let QuotaError::Memory { limit: 300_000, used, incoming, retry_after_s: 5 } = refused else {
        panic!("{refused:?}")
    };
    assert!(used <= 300_000 && used + incoming > 300_000, "{refused:?}");
    assert!(refused.to_string().contains("session.limits.max_memory_bytes"), "{refused}");
    answers(&mut stage.open(), "the neighbour").await;
    client.send(Action::CommitAudio).await;
    client.send(respond()).await;
    assert_eq!(spoken_text(&client.response_done().await), "You said: Long.");
    let heard = stage.stt.calls().first().map(|call| call.audio_ms);
    assert!(heard.is_some_and(|ms| (8_500..9_400).contains(&ms)), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_stays_over_its_memory_is_ended_and_told_why() {
    let stage = Stage::with_config(ScriptedStt::saying(1, ""), ScriptedLlm::echoing(), tight(300_000));
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    let mut neighbour = stage.open();
    client.sound(true, 5_000).await;
    let begun = tokio::time::Instant::now();
    stage.router.reconfigure(LiveSettings::new(tight(70_000), FeaturesConfig::default()));
    client.sound(true, 20).await;
    assert!(matches!(quota_error(&mut client).await, QuotaError::Memory { limit: 70_000, .. }));
    let SessionError::Ended(EndError::OutOfMemory { limit: 70_000, used }) = client.until(error).await else {
        panic!("{:?}", client.seen.last())
    };
    assert!(used > 70_000 && begun.elapsed() >= Duration::from_secs(5), "there was time to make room");
    assert_eq!(client.next().await, SessionEvent::Closing(CloseReason::OutOfMemory));
    answers(&mut neighbour, "still here").await;
    assert_eq!(stage.router.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn endings_are_told_before_the_close() {
    let stage = stage(|config| (config.limits.idle_s, config.limits.max_session_s) = (20, 30));
    let mut idle = stage.open();
    let SessionError::Ended(end) = idle.until(error).await else { panic!("{:?}", idle.seen) };
    assert_eq!(end, EndError::Idle { limit_s: 20 });
    assert_eq!(idle.next().await, SessionEvent::Closing(CloseReason::Idle));
    let mut busy = stage.open_with(|settings| settings.modality = Modality::Text);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(14)).await;
        busy.send(Action::ClearAudio).await;
    }
    let SessionError::Ended(end) = busy.until(error).await else { panic!("{:?}", busy.seen) };
    assert_eq!(end, EndError::Expired { limit_s: 30 });
    assert_eq!(busy.next().await, SessionEvent::Closing(CloseReason::Expired));
}
