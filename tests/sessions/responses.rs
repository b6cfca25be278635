//! Several responses of one session: one in the conversation, others beside it; turns that wait for their answer.
//! Scripted engines, no socket, paused time.

use crate::support::{Client, Stage, spoken_text};
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt, Step};
use antiphon::engine::llm::Truncation;
use antiphon::session::event::{ResponseEvent, ResponseStatus, ResponseView};
use antiphon::session::id::ResponseId;
use antiphon::session::settings::{Modality, ResponseInput, ResponseRequest, SettingsPatch, TurnDetection};
use antiphon::session::{Action, SessionError, SessionEvent};

fn ask(request: ResponseRequest) -> Action {
    Action::CreateResponse(Box::new(request))
}

fn aside() -> ResponseRequest {
    ResponseRequest {
        out_of_band: true,
        input: Some(Vec::new()),
        modality: Some(Modality::Text),
        ..ResponseRequest::default()
    }
}

async fn created(client: &mut Client) -> ResponseView {
    client
        .until(|event| match event {
            SessionEvent::Response(ResponseEvent::Created(view)) => Some((**view).clone()),
            _ => None,
        })
        .await
}

async fn audio(client: &mut Client) {
    let heard = |event: &SessionEvent| {
        matches!(event, SessionEvent::Response(ResponseEvent::AudioDelta(..))).then_some(())
    };
    client.until(heard).await;
}

async fn error(client: &mut Client) -> SessionError {
    client
        .until(|event| match event {
            SessionEvent::Error { error, .. } => Some(error.clone()),
            _ => None,
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_response_may_have_input_of_its_own() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let mut client = stage.open();
    client.write("In the history").await;
    client.send(ask(aside())).await;
    let view = client.response_done().await;
    assert_eq!(view.conversation, None);
    assert!(stage.llm.calls()[0].messages.is_empty());
    client.send(ask(ResponseRequest::default())).await;
    client.response_done().await;
    let messages = stage.llm.calls()[1].messages.len();
    assert_eq!(messages, 1, "the answer out of band is not in the history");
}

#[tokio::test(start_paused = true)]
async fn responses_out_of_band_run_beside_the_answer() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::saying(1, ""));
    stage.llm.set_calls(vec![
        vec![Step::text(5_000, "The long answer.")],
        vec![Step::text(100, "The first aside.")],
        vec![Step::text(100, "The second aside.")],
    ]);
    let mut client = stage.open();
    client.write("Hi").await;
    client.send(ask(ResponseRequest::default())).await;
    client.send(ask(aside())).await;
    client.send(ask(aside())).await;
    let mut ended = Vec::new();
    for _ in 0..3 {
        let view = client.response_done().await;
        assert_eq!(view.status, ResponseStatus::Completed);
        ended.push((spoken_text(&view), view.conversation.is_some()));
    }
    let expected = [("The first aside.", false), ("The second aside.", false), ("The long answer.", true)]
        .map(|(text, in_conversation)| (text.to_owned(), in_conversation));
    assert_eq!(ended, expected);
    client.send(ask(ResponseRequest::default())).await;
    client.response_done().await;
    let said: Vec<_> = stage.llm.calls()[3].messages.iter().map(|line| line.content.clone()).collect();
    assert_eq!(said, ["Hi", "The long answer."], "the asides left no trace");
}

#[tokio::test(start_paused = true)]
async fn speech_interrupts_the_answer_and_leaves_what_runs_beside_it() {
    let stage = Stage::new(ScriptedStt::saying(1, "Stop."), ScriptedLlm::saying(1, ""));
    stage.llm.set_calls(vec![
        vec![Step::text(1, "one two three four five six seven eight nine ten eleven twelve")],
        vec![Step::text(2_000, "An aside.")],
        vec![Step::text(1, "Stopped.")],
    ]);
    let mut client = stage.open();
    client.write("Count").await;
    client.send(ask(ResponseRequest::default())).await;
    audio(&mut client).await;
    client.send(ask(aside())).await;
    let beside = created(&mut client).await.id;
    client.say(600).await;
    let mut ended = Vec::new();
    for _ in 0..3 {
        let view = client.response_done().await;
        ended.push((view.id == beside, view.status));
    }
    assert_eq!(ended[0], (false, ResponseStatus::Interrupted));
    assert!(ended.contains(&(true, ResponseStatus::Completed)), "{ended:?}");
    assert!(ended.contains(&(false, ResponseStatus::Completed)), "the new turn is answered: {ended:?}");
}

#[tokio::test(start_paused = true)]
async fn cancel_means_the_answer_unless_an_id_says_otherwise() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::saying(60_000, "Late."));
    let mut client = stage.open();
    client.send(ask(aside())).await;
    let beside = created(&mut client).await.id;
    client.send(Action::CancelResponse(None)).await;
    assert_eq!(error(&mut client).await, SessionError::NoActiveResponse, "no answer runs");
    client.send(ask(ResponseRequest::default())).await;
    let answer = created(&mut client).await.id;
    client.send(Action::CancelResponse(Some(ResponseId::from("resp_unknown")))).await;
    assert_eq!(error(&mut client).await, SessionError::NoActiveResponse);
    for (named, expected) in [(None, answer), (Some(beside.clone()), beside)] {
        client.send(Action::CancelResponse(named)).await;
        let view = client.response_done().await;
        assert_eq!((view.id, view.status), (expected, ResponseStatus::Cancelled));
    }
}

#[tokio::test(start_paused = true)]
async fn input_of_its_own_does_not_wait_for_transcripts_but_references_do() {
    let stage = Stage::new(ScriptedStt::saying(3_000, "At last."), ScriptedLlm::echoing());
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    client.sound(true, 400).await;
    client.send(Action::CommitAudio).await;
    let spoken = client
        .until(|event| match event {
            SessionEvent::ItemAdded { item, .. } => Some(item.id.clone()),
            _ => None,
        })
        .await;
    let input = Some(vec![ResponseInput::Reference(spoken)]);
    client.send(ask(ResponseRequest { input, ..aside() })).await;
    let waiting = created(&mut client).await.id;
    client.send(ask(aside())).await;
    let first = client.response_done().await;
    assert_ne!(first.id, waiting);
    let second = client.response_done().await;
    assert_eq!((second.id.clone(), spoken_text(&second).as_str()), (waiting, "You said: At last."));
}

#[tokio::test(start_paused = true)]
async fn without_interruption_the_answer_goes_on_and_the_turn_is_answered_after_it() {
    let stage = Stage::new(ScriptedStt::saying(1, "Go."), ScriptedLlm::saying(1, ""));
    stage.llm.set_calls(vec![vec![Step::text(0, "word ".repeat(30))], vec![Step::text(1, "And now you.")]]);
    stage.stt.set_calls(vec![
        vec![Step::text(1, "Go.")],
        vec![Step::text(1, "And me?")],
        vec![Step::text(1, "Me too?")],
    ]);
    let mut client = stage.open_with(|settings| {
        let detection = TurnDetection { interrupt_response: false, ..TurnDetection::default() };
        settings.turn_detection = Some(detection);
    });
    client.say(600).await;
    audio(&mut client).await;
    client.say(600).await;
    client.say(600).await;
    assert_eq!(client.response_done().await.status, ResponseStatus::Completed);
    let next = client.response_done().await;
    assert_eq!(
        (next.status.clone(), spoken_text(&next).as_str()),
        (ResponseStatus::Completed, "And now you.")
    );
    let calls = stage.llm.calls();
    let heard: Vec<_> = calls[1].messages.iter().map(|line| line.content.as_str()).collect();
    assert_eq!(calls.len(), 2, "both turns are answered with one: {heard:?}");
    assert!(heard.ends_with(&["And me?", "Me too?"]) || heard.ends_with(&["And me?\nMe too?"]), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_the_quota_allows() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::saying(60_000, "Late."));
    let mut client = stage.open();
    for _ in 0..4 {
        client.send(ask(aside())).await;
    }
    let refused = error(&mut client).await;
    assert!(refused.to_string().contains("max_concurrent_requests"), "{refused}");
    drop(client.session.commands);
}

#[tokio::test(start_paused = true)]
async fn the_clients_rule_for_long_conversations_reaches_the_engine_and_comes_back() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let mut client = stage.open();
    let rule = Truncation::Retain { ratio: 0.7, max_tokens: Some(2_000) };
    let patch = SettingsPatch { truncation: Some(rule), ..SettingsPatch::default() };
    client.send(Action::Update(Box::new(patch))).await;
    let updated = |event: &SessionEvent| match event {
        SessionEvent::Updated(view) => Some(view.settings.truncation),
        _ => None,
    };
    assert_eq!(client.until(updated).await, rule);
    client.write("Hi").await;
    client.send(ask(ResponseRequest::default())).await;
    client.response_done().await;
    assert_eq!(stage.llm.calls()[0].truncation, rule);
}

#[tokio::test(start_paused = true)]
async fn answers_wait_for_a_client_that_reads_late_and_nothing_of_them_is_lost() {
    let story = "word ".repeat(600);
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::saying(1, story.trim()));
    let mut client = stage.open_with(|settings| settings.modality = Modality::Text);
    client.write("Tell me a story").await;
    client.send(ask(ResponseRequest::default())).await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await; // far more is made than waits for the client
    let view = client.response_done().await;
    assert_eq!((&view.status, spoken_text(&view)), (&ResponseStatus::Completed, story.trim().to_owned()));
}
