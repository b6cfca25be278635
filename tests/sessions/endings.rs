//! How sessions end, and slow clients. Scripted engines, no socket, paused time.

use std::time::Duration;

use crate::support::{Client, Stage, error, respond, spoken_text};
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt};
use antiphon::session::event::{CloseReason, ResponseStatus};
use antiphon::session::{Action, SessionCommand, SessionConfig, SessionEvent};

async fn closing(client: &mut Client) -> CloseReason {
    client
        .until(|event| match event {
            SessionEvent::Closing(reason) => Some(*reason),
            _ => None,
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_idle_and_when_its_time_is_over() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let mut silent = stage.open();
    let mut config = SessionConfig::default();
    config.limits.max_session_s = 30;
    let short = Stage::with_config(ScriptedStt::saying(1, ""), ScriptedLlm::echoing(), config);
    let mut expiring = short.open();
    assert_eq!(closing(&mut expiring).await, CloseReason::Expired);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(closing(&mut silent).await, CloseReason::Idle);
    assert!(stage.router.is_empty() && short.router.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_let_go() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let mut client = stage.open();
    for _ in 0..400 {
        if client.session.commands.send(bad_command()).await.is_err() {
            break;
        }
    }
    assert_eq!(closing(&mut client).await, CloseReason::SlowClient);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_faster_than_it_reads_is_held_up_and_loses_nothing() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let mut client = stage.open();
    let commands = client.session.commands.clone();
    let burst = async {
        for _ in 0..1_000 {
            commands.send(bad_command()).await.expect("the session runs");
        }
    };
    let reading = async {
        tokio::time::sleep(Duration::from_secs(5)).await; // it reads nothing for a while
        for _ in 0..1_000 {
            client.until(error).await;
        }
    };
    futures::join!(burst, reading);
}

fn bad_command() -> SessionCommand {
    let action = Action::CancelResponse(None);
    SessionCommand { client_event_id: Some("from-test".to_owned()), action }
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_the_answer_that_runs_is_finished() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::saying(200, "One last thing."));
    let mut client = stage.open();
    client.write("Hi").await;
    client.send(respond()).await;
    client.until(|event| matches!(event, SessionEvent::Response(_)).then_some(())).await;
    let runtime = stage.runtime.clone();
    let drained = tokio::join!(runtime.drain(Duration::from_secs(20)), async {
        let view = client.response_done().await;
        assert_eq!(
            (view.status.clone(), spoken_text(&view).as_str()),
            (ResponseStatus::Completed, "One last thing.")
        );
        assert_eq!(closing(&mut client).await, CloseReason::Shutdown);
    });
    drained.0.expect("every task ended");
}
