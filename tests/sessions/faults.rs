//! Engines that fail, panic and hang, as a session's client sees them. Scripted engines, no socket, paused time.

use crate::support::{Stage, respond, spoken_text};
use antiphon::backend::scripted::{Hang, ScriptedLlm, ScriptedStt, Step};
use antiphon::pool::PoolsConfig;
use antiphon::session::event::ResponseStatus;
use antiphon::session::{SessionError, SessionEvent};

#[tokio::test(start_paused = true)]
async fn a_failing_engine_fails_one_response_and_the_session_goes_on() {
    let stage = Stage::new(ScriptedStt::saying(1, "Hello."), ScriptedLlm::echoing());
    stage.llm.set_calls(vec![
        vec![Step::error(1, "out of order")],
        vec![Step::error(1, "out of order")], // the one retry
        vec![Step::text(0, "Half a"), Step::panic(5)],
        vec![Step::text(0, "Well again.")],
    ]);
    let mut client = stage.open();
    client.write("One").await;
    for _ in 0..2 {
        client.send(respond()).await;
        let failed = client.response_done().await;
        assert!(matches!(failed.status, ResponseStatus::Failed(_)), "{:?}", failed.status);
    }
    client.send(respond()).await;
    assert_eq!(spoken_text(&client.response_done().await), "Well again.");
    assert!(stage.pools.stats().iter().all(|pool| pool.in_use == 0), "{:?}", stage.pools.stats());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_before_it_says_anything_is_tried_once_more() {
    let stage = Stage::new(ScriptedStt::saying(1, "Hello."), ScriptedLlm::echoing());
    let faults = [Step::error(1, "out of order"), Step::panic(1), Step::hang(Hang::IgnoringCancel)];
    let mut client = stage.open();
    client.write("One").await;
    for fault in faults {
        stage.llm.set_calls(vec![vec![fault], vec![Step::text(0, "Well again.")]]);
        client.send(respond()).await;
        assert_eq!(spoken_text(&client.response_done().await), "Well again.");
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_cannot_be_transcribed_is_told() {
    let stage = Stage::new(ScriptedStt::saying(1, "Hello."), ScriptedLlm::echoing());
    stage.stt.set_calls(vec![
        // Ahead of time and at the turn's end, each with one retry.
        vec![Step::error(1, "deaf")],
        vec![Step::error(1, "deaf")],
        vec![Step::error(1, "still deaf")],
        vec![Step::error(1, "still deaf")],
        vec![Step::text(1, "Better.")],
    ]);
    let mut client = stage.open();
    client.say(600).await;
    client.until(|event| matches!(event, SessionEvent::TranscriptionFailed { .. }).then_some(())).await;
    assert!(matches!(client.response_done().await.status, ResponseStatus::Failed(_)));
    client.say(600).await;
    assert_eq!(spoken_text(&client.response_done().await), "You said: Better.");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_given_up_and_its_slot_comes_back() {
    let stage = Stage::new(ScriptedStt::saying(1, "Hello."), ScriptedLlm::echoing());
    let hang = || vec![Step::hang(Hang::UntilCancelled)];
    stage.llm.set_calls(vec![hang(), hang(), vec![Step::text(0, "Hi.")]]);
    let mut client = stage.open();
    client.write("One").await;
    client.send(respond()).await;
    let failed = client.response_done().await;
    assert!(matches!(failed.status, ResponseStatus::Failed(SessionError::Engine(_))), "{:?}", failed.status);
    client.send(respond()).await;
    assert_eq!(client.response_done().await.status, ResponseStatus::Completed);
    assert_eq!(stage.pools.llm.stats().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn sessions_open_while_an_engine_is_not_well_and_are_told() {
    let stage = Stage::new(ScriptedStt::saying(1, "Hello."), ScriptedLlm::echoing());
    stage.pools.reconfigure(&PoolsConfig { breaker_failures: 1, ..PoolsConfig::default() });
    stage.llm.set_calls(vec![vec![Step::error(1, "out of order")]]);
    let mut first = stage.open();
    first.write("One").await;
    first.send(respond()).await;
    first.response_done().await;
    assert_eq!(stage.pools.stats()[1].slots, 0, "its engine gets no more calls for now");
    let mut second = stage.open();
    second.write("Two").await;
    second.send(respond()).await;
    let ResponseStatus::Failed(error) = second.response_done().await.status else {
        panic!("no engine is well")
    };
    assert!(error.to_string().contains("no llm engine is healthy at the moment"), "{error}");
}
