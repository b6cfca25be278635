//! Sessions as their clients see them: turns, answers, interruptions, faults, the end. Scripted engines, no
//! socket, paused time.

mod support;

use std::time::Duration;

use antiphon::backend::scripted::{Hang, ScriptedLlm, ScriptedStt, Step};
use antiphon::engine::llm::ChatRole;
use antiphon::session::conversation::ItemStatus;
use antiphon::session::event::{CloseReason, ResponseEvent, ResponseStatus};
use antiphon::session::settings::{Modality, SettingsPatch};
use antiphon::session::{Action, SessionConfig, SessionError, SessionEvent};
use support::{Client, Stage, spoken_text};

fn respond() -> Action {
    Action::CreateResponse(Box::default())
}

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
async fn speaking_over_an_answer_stops_it_and_cuts_the_history_to_what_was_heard() {
    let answer = "One two three four five six seven eight nine ten. Eleven twelve thirteen fourteen fifteen.";
    let stage = Stage::new(ScriptedStt::saying(1, "Count."), ScriptedLlm::saying(1, answer));
    let mut client = stage.open();
    client.say(600).await;
    client.until(audio).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.sound(true, 200).await;
    let interrupted = client.response_done().await;
    assert_eq!(interrupted.status, ResponseStatus::Interrupted);
    let heard = spoken_text(&interrupted);
    assert!(answer.starts_with(&heard) && !heard.is_empty() && heard.len() < answer.len() / 2, "{heard:?}");
    assert_eq!(interrupted.output[0].status, ItemStatus::Incomplete);
    let names = client.names();
    let started = names.iter().rposition(|name| *name == "speech_started").expect("it was heard");
    assert!(started < names.len() - 1, "speech_started comes first, so that clients stop at once: {names:?}");
    client.sound(false, 1_400).await;
    client.response_done().await;
    let calls = stage.llm.calls();
    let history: Vec<_> = calls.last().expect("a call").messages.iter().collect();
    assert_eq!(history[1].role, ChatRole::Assistant);
    assert_eq!(history[1].content, heard, "the model sees what was heard, no more");
}

fn audio(event: &SessionEvent) -> Option<()> {
    matches!(event, SessionEvent::Response(ResponseEvent::AudioDelta(..))).then_some(())
}

#[tokio::test(start_paused = true)]
async fn audio_leaves_at_the_pace_of_playback() {
    let words = "word ".repeat(60);
    let stage = Stage::new(ScriptedStt::saying(1, "Speak."), ScriptedLlm::saying(1, &words));
    let mut client = stage.open();
    client.write("Speak.").await;
    client.send(respond()).await;
    client.until(audio).await;
    let begun = tokio::time::Instant::now();
    client.response_done().await;
    let sent: usize = client.seen.iter().map(audio_bytes).sum();
    let duration = Duration::from_secs_f64(sent as f64 / 48_000.0);
    let took = begun.elapsed();
    assert!(duration > Duration::from_secs(10), "a long answer: {duration:?}");
    let ahead = duration.saturating_sub(took);
    assert!((1_300..=1_700).contains(&ahead.as_millis()), "{ahead:?} ahead of playback");
}

fn audio_bytes(event: &SessionEvent) -> usize {
    match event {
        SessionEvent::Response(ResponseEvent::AudioDelta(_, bytes)) => bytes.len(),
        _ => 0,
    }
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

fn error(event: &SessionEvent) -> Option<SessionError> {
    match event {
        SessionEvent::Error { error, client_event_id } => {
            assert_eq!(client_event_id.as_deref(), Some("from-test"));
            Some(error.clone())
        }
        _ => None,
    }
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
async fn a_clients_truncation_corrects_the_history() {
    let answer = "One two three four five.";
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::saying(0, answer));
    let mut client = stage.open();
    client.write("Count.").await;
    client.send(respond()).await;
    let item = client.response_done().await.output[0].id.clone();
    client.send(Action::TruncateItem { item: item.clone(), audio_end_ms: 60_000 }).await;
    assert!(matches!(client.until(error).await, SessionError::TruncatePastEnd { .. }));
    client.send(Action::TruncateItem { item: item.clone(), audio_end_ms: 500 }).await;
    client.send(Action::RetrieveItem(item)).await;
    let retrieved = client
        .until(|event| match event {
            SessionEvent::ItemRetrieved(item) => Some(item.clone()),
            _ => None,
        })
        .await;
    let text = format!("{:?}", retrieved.body);
    assert!(text.contains("One") && !text.contains("five"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn truncating_the_answer_that_plays_stops_it() {
    let answer = "One two three four five six seven eight nine ten. Eleven twelve thirteen fourteen fifteen.";
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::saying(0, answer));
    let mut client = stage.open();
    client.write("Count.").await;
    client.send(respond()).await;
    let speaking = |event: &SessionEvent| match event {
        SessionEvent::Response(ResponseEvent::AudioDelta(place, _)) => Some(place.item.clone()),
        _ => None,
    };
    let item = client.until(speaking).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.send(Action::TruncateItem { item: item.clone(), audio_end_ms: 60_000 }).await;
    assert!(matches!(client.until(error).await, SessionError::TruncatePastEnd { .. }), "it plays on");
    client.send(Action::TruncateItem { item: item.clone(), audio_end_ms: 500 }).await;
    assert_eq!(client.response_done().await.status, ResponseStatus::Cancelled);
    let truncated = |event: &SessionEvent| match event {
        SessionEvent::ItemTruncated { item, audio_end_ms } => Some((item.clone(), *audio_end_ms)),
        _ => None,
    };
    assert_eq!(client.until(truncated).await, (item, 500));
    client.send(respond()).await;
    assert_eq!(client.response_done().await.status, ResponseStatus::Completed);
    let history = stage.llm.calls().pop().expect("a second call").messages;
    let heard =
        &history.iter().find(|message| message.role == ChatRole::Assistant).expect("the answer").content;
    assert!(answer.starts_with(heard.as_str()) && heard.len() < answer.len() / 2, "{heard}");
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

fn bad_command() -> antiphon::session::SessionCommand {
    let action = Action::CancelResponse(None);
    antiphon::session::SessionCommand { client_event_id: Some("from-test".to_owned()), action }
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
