//! Transcripts while the person still speaks, on scripted engines under paused time: what is told, when, and what
//! becomes of late, failed and unwanted ones.

use crate::support::{Client, Stage, features};
use antiphon::backend::scripted::{Hang, ScriptedLlm, ScriptedStt, Step};
use antiphon::pool::Degradation;
use antiphon::session::event::ResponseStatus;
use antiphon::session::id::ItemId;
use antiphon::session::settings::{PartialDelay, SettingsPatch, Transcription};
use antiphon::session::{Action, LiveSettings, SessionConfig, SessionEvent};

/// Hypotheses of one utterance as it grows, then its transcript for ever.
fn growing(stage: &Stage, took_ms: u64, texts: &[&str]) {
    stage.stt.set_calls(texts.iter().map(|text| vec![Step::text(took_ms, *text)]).collect());
}

fn stage() -> Stage {
    let stage = Stage::new(ScriptedStt::saying(20, ""), ScriptedLlm::saying(1, "Yes."));
    switch(&stage, true);
    stage
}

fn switch(stage: &Stage, partials: bool) {
    stage.router.reconfigure(LiveSettings::new(SessionConfig::default(), features(partials)));
}

fn deltas(client: &Client) -> Vec<(ItemId, String)> {
    let delta = |event: &SessionEvent| match event {
        SessionEvent::TranscriptionDelta { item, delta } => Some((item.clone(), delta.clone())),
        _ => None,
    };
    client.seen.iter().filter_map(delta).collect()
}

fn texts(client: &Client) -> Vec<String> {
    deltas(client).into_iter().map(|(_, text)| text).collect()
}

async fn completed(client: &mut Client) -> (ItemId, String) {
    client
        .until(|event| match event {
            SessionEvent::TranscriptionCompleted { item, transcript, .. } => {
                Some((item.clone(), transcript.clone()))
            }
            _ => None,
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn words_come_while_the_person_speaks_under_the_item_that_the_turn_becomes() {
    let stage = stage();
    growing(
        &stage,
        20,
        &["My", "My name is", "My name is Anna", "My name is Anna and I", "My name is Anna."],
    );
    let mut client = stage.open();
    client.sound(true, 4_400).await;
    client.sound(false, 1_400).await;
    let (item, transcript) = completed(&mut client).await;
    assert_eq!(transcript, "My name is Anna.");
    assert_eq!(texts(&client), ["My", " name is", " Anna", "."]);
    assert!(deltas(&client).iter().all(|(of, _)| *of == item));
    let names = client.names();
    let first = names.iter().position(|name| *name == "transcription.delta").expect("a delta");
    let stopped = names.iter().position(|name| *name == "speech_stopped").expect("an end");
    assert!(first < stopped, "words come before the turn's end: {names:?}");
    assert_eq!(stage.stt.stats().started, 5, "four while speaking and one at the end");
    client.response_done().await;
    let asked = &stage.llm.calls()[0].messages;
    assert_eq!(asked.last().expect("a message").content, "My name is Anna.");
}

#[tokio::test(start_paused = true)]
async fn what_was_told_stands_and_the_model_reads_what_was_heard_in_the_end() {
    let stage = stage();
    growing(&stage, 20, &["I am fifteen now", "I am fifteen now and", "I am fifty now and happy."]);
    let mut client = stage.open();
    client.sound(true, 2_400).await;
    client.sound(false, 1_400).await;
    let (item, transcript) = completed(&mut client).await;
    assert_eq!(transcript, "I am fifteen now and happy.", "it begins with what was told");
    assert_eq!(texts(&client).concat(), transcript);
    client.response_done().await;
    let asked = stage.llm.calls()[0].messages.last().expect("a message").content.clone();
    assert_eq!(asked, "I am fifty now and happy.", "the best that is known is answered");
    client.send(Action::RetrieveItem(item)).await;
    let kept = client
        .until(|event| match event {
            SessionEvent::ItemRetrieved(item) => Some(format!("{:?}", item.body)),
            _ => None,
        })
        .await;
    assert!(kept.contains("I am fifty now"), "and the item holds what the model reads: {kept}");
}

#[tokio::test(start_paused = true)]
async fn one_partial_at_a_time_and_none_of_another_utterance() {
    let stage = stage();
    // The first partial is answered long after the utterance, and says what nobody may hear then.
    stage.stt.set_calls(vec![
        vec![Step::text(60_000, "late late late")],
        vec![Step::text(20, "One.")],
        vec![Step::text(20, "Two.")],
    ]);
    let mut client = stage.open();
    client.sound(true, 3_000).await;
    assert_eq!(stage.stt.stats().started, 1, "the next one waits for the first");
    client.sound(false, 1_400).await;
    assert_eq!(completed(&mut client).await.1, "One.");
    assert_eq!(stage.stt.stats().in_flight, 0, "the pause gave it up");
    client.sound(true, 600).await;
    client.sound(false, 1_400).await;
    assert_eq!(completed(&mut client).await.1, "Two.");
    assert_eq!(texts(&client), ["One.", "Two."]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_in_mid_utterance_goes_on_with_what_was_agreed() {
    let stage = stage();
    growing(
        &stage,
        20,
        &["I want", "I want a coffee and", "I want a coffee and a tea", "I want a coffee and a tea."],
    );
    let mut client = stage.open();
    client.sound(true, 1_200).await; // one partial
    client.sound(false, 300).await; // a soft pause: a transcript of all so far, which the person talks over
    client.sound(true, 1_200).await; // another partial
    client.sound(false, 1_400).await;
    assert_eq!(completed(&mut client).await.1, "I want a coffee and a tea.");
    assert_eq!(texts(&client), ["I want", " a coffee and", " a", " tea."]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_partial_is_no_failure_of_the_turn() {
    let stage = stage();
    let fails = || vec![Step::error(5, "broken")];
    let hangs = || vec![Step::hang(Hang::UntilCancelled)];
    stage.stt.set_calls(vec![fails(), fails(), hangs(), vec![Step::text(5, "Good morning.")]]);
    let mut client = stage.open();
    client.sound(true, 3_400).await;
    client.sound(false, 1_400).await;
    assert_eq!(completed(&mut client).await.1, "Good morning.");
    assert_eq!(client.response_done().await.status, ResponseStatus::Completed);
    assert!(!client.names().contains(&"transcription.failed"));
}

#[tokio::test(start_paused = true)]
async fn a_transcript_that_fails_in_the_end_fails_behind_its_deltas() {
    let stage = stage();
    let fails = || vec![Step::error(5, "broken")];
    let mut calls = vec![vec![Step::text(20, "So I said")], vec![Step::text(20, "So I said that")]];
    calls.extend([fails(), fails(), fails(), fails()]);
    stage.stt.set_calls(calls);
    let mut client = stage.open();
    client.sound(true, 2_400).await;
    client.sound(false, 1_400).await;
    let failed = client
        .until(|event| match event {
            SessionEvent::TranscriptionFailed { item, .. } => Some(item.clone()),
            _ => None,
        })
        .await;
    assert_eq!(deltas(&client), [(failed, "So I said".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn push_to_talk_has_partials_while_audio_is_appended() {
    let stage = stage();
    growing(&stage, 20, &["Turn", "Turn left", "Turn left here", "Turn left here."]);
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    client.sound(true, 3_200).await;
    client.send(Action::CommitAudio).await;
    let (item, transcript) = completed(&mut client).await;
    assert_eq!(transcript, "Turn left here.");
    assert_eq!(texts(&client), ["Turn", " left", " here."]);
    assert!(deltas(&client).iter().all(|(of, _)| *of == item));
    // What was cleared is forgotten, and so is what was told of it.
    growing(&stage, 20, &["Wrong", "Wrong way", "Right."]);
    client.sound(true, 2_400).await;
    client.send(Action::ClearAudio).await;
    client.sound(true, 600).await;
    client.send(Action::CommitAudio).await;
    let (second, transcript) = completed(&mut client).await;
    assert_eq!(transcript, "Right.");
    let told: Vec<_> = deltas(&client).into_iter().filter(|(of, _)| *of == second).collect();
    assert_eq!(told, [(second, "Right.".to_owned())]);
}

/// How many transcripts are asked for in 4.4 s of speech, the last one at its end.
async fn calls(stage: &Stage, client: Client) -> u64 {
    growing(stage, 20, &["So"]);
    let before = stage.stt.stats().started;
    client.sound(true, 4_400).await;
    client.sound(false, 300).await;
    stage.stt.stats().started - before
}

#[tokio::test(start_paused = true)]
async fn how_often_follows_the_wish_the_load_and_the_switch() {
    let stage = stage();
    let delayed = |delay| {
        move |settings: &mut antiphon::session::settings::SessionSettings| {
            settings.transcription = Some(Transcription { delay, ..Transcription::default() });
        }
    };
    assert_eq!(calls(&stage, stage.open()).await, 5);
    assert_eq!(calls(&stage, stage.open_with(delayed(PartialDelay::Minimal))).await, 10);
    assert_eq!(calls(&stage, stage.open_with(delayed(PartialDelay::High))).await, 3);
    let unread = stage.open_with(|settings| settings.transcription = None);
    assert_eq!(calls(&stage, unread).await, 1, "nobody reads along");
    stage.pools.degradation.set(Degradation::FewerPartials);
    assert_eq!(calls(&stage, stage.open()).await, 3);
    stage.pools.degradation.set(Degradation::NoPartials);
    assert_eq!(calls(&stage, stage.open()).await, 1);
    stage.pools.degradation.set(Degradation::None);
    let open = stage.open();
    switch(&stage, false);
    assert_eq!(calls(&stage, open).await, 1, "sessions that run follow the switch");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_along_hears_no_more() {
    let stage = stage();
    growing(&stage, 20, &["One two", "One two three", "One two three four", "One two three four."]);
    let mut client = stage.open();
    client.sound(true, 2_400).await;
    let patch = SettingsPatch { transcription: Some(None), ..SettingsPatch::default() };
    client.send(Action::Update(Box::new(patch))).await;
    client.sound(true, 1_200).await;
    client.sound(false, 1_400).await;
    client.response_done().await;
    assert_eq!(texts(&client), ["One two"]);
    assert!(!client.names().contains(&"transcription.completed"));
}
