//! What of an answer was heard, and what the history keeps of it. Scripted engines, no socket, paused time.

use std::time::Duration;

use crate::support::{Stage, error, respond, spoken_text};
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt};
use antiphon::engine::llm::ChatRole;
use antiphon::session::conversation::ItemStatus;
use antiphon::session::event::{ResponseEvent, ResponseStatus};
use antiphon::session::{Action, SessionError, SessionEvent};

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
