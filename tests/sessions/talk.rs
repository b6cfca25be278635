//! Sessions as their clients see them: turns, answers, settings, isolation. Scripted engines, no socket, paused
//! time.

use std::time::Duration;

use crate::support::{Stage, error, respond, spoken_text};
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt, Step};
use antiphon::session::event::ResponseStatus;
use antiphon::session::settings::{Modality, SettingsPatch};
use antiphon::session::{Action, SessionError, SessionEvent};

#[tokio::test(start_paused = true)]
async fn a_spoken_turn_has_the_chain_of_the_protocol() {
    let stage =
        Stage::new(ScriptedStt::saying(40, "My name is Anna."), ScriptedLlm::saying(30, "Hello, Anna."));
    let mut client = stage.open();
    client.say(800).await;
    let view = client.response_done().await;
    assert_eq!(
        (view.status.clone(), spoken_text(&view).as_str()),
        (ResponseStatus::Completed, "Hello, Anna.")
    );
    let chain = [
        "session.created",
        "speech_started",
        "speech_stopped",
        "committed",
        "item.added",
        "item.done",
        "transcription.delta",
        "transcription.completed",
        "response.created",
        "output_item.added",
        "item.added",
        "content_part.added",
        "transcript.delta",
        "audio.delta",
        "audio.done",
        "transcript.done",
        "content_part.done",
        "item.done",
        "output_item.done",
        "response.done",
    ];
    assert_eq!(client.names(), chain);
    let timings = view.timings.expect("a response that is over has timings");
    assert!(timings.stt.is_some_and(|ms| ms >= 40.0) && timings.llm_first_token.is_some_and(|ms| ms >= 30.0));
}

#[tokio::test(start_paused = true)]
async fn ids_are_the_same_in_every_event_of_a_turn_and_previous_ids_chain() {
    let stage = Stage::new(ScriptedStt::saying(10, "Yes."), ScriptedLlm::echoing());
    let mut client = stage.open();
    for _ in 0..2 {
        client.say(600).await;
        client.response_done().await;
    }
    let mut last = None;
    let mut turn = None;
    for event in &client.seen {
        match event {
            SessionEvent::SpeechStarted { item, .. } => turn = Some(item.clone()),
            SessionEvent::SpeechStopped { item, .. }
            | SessionEvent::TranscriptionCompleted { item, .. }
            | SessionEvent::InputCommitted { item, .. } => assert_eq!(Some(item), turn.as_ref()),
            SessionEvent::ItemAdded { previous, item } => {
                assert_eq!(*previous, last);
                last = Some(item.id.clone());
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_begun_too_early_is_never_heard() {
    let stage = Stage::new(ScriptedStt::saying(1, "I want a coffee and."), ScriptedLlm::echoing());
    stage.stt.set_calls(vec![
        vec![Step::text(1, "I want a coffee and")],
        vec![Step::text(1, "I want a coffee and a tea.")],
    ]);
    let mut client = stage.open();
    client.sound(true, 600).await;
    client.sound(false, 200).await; // a soft pause: an answer is begun
    while stage.llm.stats().started == 0 {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.say(600).await;
    let view = client.response_done().await;
    assert_eq!(spoken_text(&view), "You said: I want a coffee and a tea.");
    assert_eq!(stage.llm.stats().started, 2);
    let created = client.names().iter().filter(|name| **name == "response.created").count();
    assert_eq!(created, 1);
}

#[tokio::test(start_paused = true)]
async fn a_small_sound_behind_the_words_does_not_cost_the_answer_begun() {
    for (second, answers) in [("Good morning", 1), ("Good morning to you", 2)] {
        let stage = Stage::new(ScriptedStt::saying(1, "Good morning"), ScriptedLlm::echoing());
        stage.stt.set_calls(vec![vec![Step::text(1, "Good morning")], vec![Step::text(1, second)]]);
        let mut client = stage.open();
        client.sound(true, 600).await;
        client.sound(false, 260).await;
        client.say(120).await;
        assert_eq!(spoken_text(&client.response_done().await), format!("You said: {second}"));
        assert_eq!(stage.llm.stats().started, answers, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_speculative_answer_is_the_one_that_is_heard() {
    let stage = Stage::new(ScriptedStt::saying(1, "Good morning."), ScriptedLlm::echoing());
    let mut client = stage.open();
    client.say(600).await;
    client.response_done().await;
    assert_eq!((stage.stt.stats().started, stage.llm.stats().started), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn text_turns_are_answered_in_text() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let mut client = stage.open_with(|settings| settings.modality = Modality::Text);
    client.write("Hi there").await;
    client.send(respond()).await;
    let view = client.response_done().await;
    assert_eq!(spoken_text(&view), "You said: Hi there");
    let names = client.names();
    assert!(names.contains(&"text.delta") && !names.contains(&"audio.delta"), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn push_to_talk_waits_for_the_transcript() {
    let stage = Stage::new(ScriptedStt::saying(500, "What time is it?"), ScriptedLlm::echoing());
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    client.sound(true, 700).await;
    client.send(Action::CommitAudio).await;
    client.send(respond()).await;
    let view = client.response_done().await;
    assert_eq!(spoken_text(&view), "You said: What time is it?");
    assert!(!client.names().contains(&"speech_started"));
}

#[tokio::test(start_paused = true)]
async fn one_response_at_a_time_and_cancel_needs_one() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::saying(1_000, "Late."));
    let mut client = stage.open();
    client.send(Action::CancelResponse(None)).await;
    assert_eq!(client.until(error).await, SessionError::NoActiveResponse);
    client.write("Hi").await;
    client.send(respond()).await;
    client.send(respond()).await;
    assert!(matches!(client.until(error).await, SessionError::ResponseActive { .. }));
    client.send(Action::CancelResponse(None)).await;
    assert_eq!(client.response_done().await.status, ResponseStatus::Cancelled);
    client.send(respond()).await;
    assert_eq!(client.response_done().await.status, ResponseStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn noise_is_committed_but_not_answered() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let mut client = stage.open();
    client.say(400).await;
    client.until(|event| matches!(event, SessionEvent::TranscriptionCompleted { .. }).then_some(())).await;
    client.write("Are you there?").await;
    client.send(respond()).await;
    client.response_done().await;
    assert_eq!(stage.llm.stats().started, 1, "only the written turn was answered");
}

#[tokio::test(start_paused = true)]
async fn bad_input_loses_nothing() {
    let stage = Stage::new(ScriptedStt::saying(1, "Hello."), ScriptedLlm::echoing());
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    client.sound(true, 300).await;
    client.send(Action::AppendAudio(vec![1, 2, 3])).await;
    assert!(matches!(client.until(error).await, SessionError::BadAudio { .. }));
    for item in [
        Action::RetrieveItem("item_x".into()),
        Action::DeleteItem("item_x".into()),
        Action::TruncateItem { item: "item_x".into(), audio_end_ms: 0 },
    ] {
        client.send(item).await;
        assert!(matches!(client.until(error).await, SessionError::UnknownItem { .. }));
    }
    client.send(Action::CommitAudio).await;
    client.send(Action::CommitAudio).await;
    assert!(matches!(client.until(error).await, SessionError::InputBufferTooSmall { .. }));
    client.send(respond()).await;
    assert_eq!(spoken_text(&client.response_done().await), "You said: Hello.");
    let heard = stage.stt.calls().first().map(|call| call.audio_ms);
    assert!(heard.is_some_and(|ms| (290..=300).contains(&ms)), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_is_told_and_kept() {
    let stage = Stage::new(ScriptedStt::saying(1, "Long."), ScriptedLlm::echoing());
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    client.sound(true, 60_000).await;
    client.sound(true, 100).await;
    assert_eq!(client.until(error).await, SessionError::InputBufferFull { limit_ms: 60_000 });
    client.send(Action::CommitAudio).await;
    client.send(respond()).await;
    client.response_done().await;
    let heard = stage.stt.calls().first().map(|call| call.audio_ms);
    assert!(heard.is_some_and(|ms| ms > 59_900), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn the_voice_is_fixed_once_it_was_heard_and_updates_apply_whole_or_not_at_all() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let mut client = stage.open();
    client.write("Hi").await;
    client.send(respond()).await;
    client.response_done().await;
    let patch = SettingsPatch {
        voice: Some("other".to_owned()),
        instructions: Some("Changed.".to_owned()),
        ..SettingsPatch::default()
    };
    client.send(Action::Update(Box::new(patch.clone()))).await;
    assert!(matches!(client.until(error).await, SessionError::VoiceLocked { .. }));
    client.send(Action::Update(Box::new(SettingsPatch { voice: None, ..patch }))).await;
    let view = client
        .until(|event| match event {
            SessionEvent::Updated(view) => Some(view.clone()),
            _ => None,
        })
        .await;
    assert_eq!((view.settings.voice.as_str(), view.settings.instructions.as_str()), ("alloy", "Changed."));
}

#[tokio::test(start_paused = true)]
async fn sessions_hear_their_own_words_alone() {
    let stage = Stage::new(ScriptedStt::saying(20, ""), ScriptedLlm::saying(20, "You said: {user}"));
    let sessions = (0..12).map(|number| {
        let mut client = stage.open();
        async move {
            for turn in 0..5 {
                let secret = format!("secret {number} of turn {turn}");
                client.write(&secret).await;
                client.send(respond()).await;
                let answer = spoken_text(&client.response_done().await);
                assert_eq!(answer, format!("You said: {secret}"));
                let body = client.seen.iter().map(|event| format!("{event:?}")).collect::<String>();
                let mut others = (0..12).filter(|other| *other != number);
                let heard = others.find(|other| body.contains(&format!("secret {other} of")));
                assert_eq!(heard, None, "{number} heard another session");
                client.send(Action::DeleteItem(format!("item_{}", secret.len()).into())).await;
            }
        }
    });
    futures::future::join_all(sessions).await;
    for call in stage.llm.calls() {
        let owners: std::collections::BTreeSet<_> = call
            .messages
            .iter()
            .filter_map(|message| message.content.split("secret ").nth(1)?.split(' ').next())
            .collect();
        assert_eq!(owners.len(), 1, "one model call saw the words of several sessions");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_are_routed_to_their_owner_alone() {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    let client = stage.open_as("test");
    let id = client.session.id.clone();
    let owner = antiphon::session::Owner("test".into());
    assert!(stage.router.route(&id, &owner).is_ok());
    assert!(stage.router.route(&id, &antiphon::session::Owner("other".into())).is_err());
    assert!(stage.router.route(&"sess_x".into(), &owner).is_err());
}
