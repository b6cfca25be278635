//! Translations as their sessions are told them, on scripted engines under paused time: what is translated, in
//! which order, how often, and what several sessions share. The language model answers with what it was told and
//! with the text, so that every answer says what it is the translation of.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Client, Stage, features};
use antiphon::backend::scripted::{Hang, ScriptedLlm, ScriptedStt, Step};
use antiphon::engine::llm::LlmEngine;
use antiphon::pool::{
    CallObserver, HolderId, Instance, PoolsConfig, ResourcePool, ResourcePoolManager, WorkClass,
};
use antiphon::session::lifecycle::RequestKind;
use antiphon::session::settings::{SessionSettings, SettingsPatch};
use antiphon::session::translation::{
    Language, Source, Terms, Translation, TranslationConfig, TranslationDesk, TranslationNotice,
};
use antiphon::session::{Action, LiveSettings, SessionConfig, SessionError, SessionEvent};
use tokio::time::Instant;

fn config(change: impl FnOnce(&mut TranslationConfig)) -> SessionConfig {
    let instructions = "{code}".to_owned();
    let mut config = SessionConfig {
        translation: TranslationConfig { instructions, ..TranslationConfig::default() },
        ..SessionConfig::default()
    };
    change(&mut config.translation);
    config
}

/// A stage whose language model says `es: text` after `took_ms`.
fn stage(took_ms: u64, config: SessionConfig) -> Stage {
    let llm = ScriptedLlm::saying(took_ms, "{system}: {user}");
    let stage = Stage::with_config(ScriptedStt::saying(20, "Good morning."), llm, config.clone());
    stage.router.reconfigure(LiveSettings::new(config, features(true)));
    stage
}

fn languages(codes: &[&str]) -> Arc<[Language]> {
    codes.iter().map(|code| Language::from_code(code).expect("ISO 639-1")).collect()
}

fn into(codes: &'static [&'static str]) -> impl FnOnce(&mut SessionSettings) {
    move |settings| {
        *settings = settings.clone().for_transcription();
        settings.translate_to = languages(codes);
    }
}

fn notice(event: &SessionEvent) -> Option<TranslationNotice> {
    match event {
        SessionEvent::Translation(notice) => Some((**notice).clone()),
        _ => None,
    }
}

/// The language and the text of the next translation of a whole utterance, or why there is none.
async fn whole(client: &mut Client) -> (&'static str, Result<String, SessionError>) {
    client
        .until(|event| {
            let TranslationNotice { language, translation, .. } = notice(event)?;
            match translation {
                Translation::Partial { .. } => None,
                Translation::Completed { text, .. } => Some((language.code(), Ok(text))),
                Translation::Failed(error) => Some((language.code(), Err(error))),
            }
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_translated_into_each_language_and_answered_in_none() {
    let stage = stage(30, config(|_| {}));
    let mut client = stage.open_with(into(&["es", "de"]));
    client.say(600).await;
    let mut told = [whole(&mut client).await, whole(&mut client).await];
    told.sort_by_key(|(code, _)| *code);
    assert_eq!(
        told,
        [("de", Ok("de: Good morning.".to_owned())), ("es", Ok("es: Good morning.".to_owned()))]
    );
    let completed = client.seen.iter().find_map(notice).expect("a translation");
    let committed = client.seen.iter().find_map(|event| match event {
        SessionEvent::InputCommitted { item, .. } => Some(item.clone()),
        _ => None,
    });
    assert_eq!(Some(completed.item), committed);
    assert!(
        matches!(completed.translation, Translation::Completed { source, .. } if source == "Good morning.")
    );
    client.send(Action::CreateResponse(Box::default())).await;
    let refused = client
        .until(|event| match event {
            SessionEvent::Error { error, .. } => Some(error.clone()),
            _ => None,
        })
        .await;
    assert_eq!(refused, SessionError::TranscribesOnly);
    assert_eq!((stage.llm.stats().started, stage.tts.stats().started), (2, 0));
    assert!(!client.names().contains(&"response.created"));
}

#[tokio::test(start_paused = true)]
async fn what_is_sure_is_translated_while_the_person_speaks_and_newer_replaces_older() {
    let stage = stage(2_200, config(|_| {}));
    let words: Vec<_> = "Good morning to you all in here".split(' ').collect();
    let texts = (1..=words.len()).map(|count| words[..count].join(" "));
    stage.stt.set_calls(texts.map(|text| vec![Step::text(20, text)]).collect());
    let mut client = stage.open_with(into(&["es"]));
    client.sound(true, 6_800).await;
    client.sound(false, 1_400).await;
    assert_eq!(whole(&mut client).await, ("es", Ok("es: Good morning to you all in here".to_owned())));
    let partials: Vec<_> = client
        .seen
        .iter()
        .filter_map(notice)
        .filter_map(|notice| match notice.translation {
            Translation::Partial { revision, source, text } => Some((revision, source, text)),
            _ => None,
        })
        .collect();
    // Sure at 2, 3, 4, 5 and 6 s: the second was replaced while the first was made, and the end came before the
    // last.
    assert_eq!(
        partials,
        [
            (1, "Good".to_owned(), "es: Good".to_owned()),
            (3, "Good morning to".to_owned(), "es: Good morning to".to_owned()),
        ]
    );
    let names = client.names();
    let last = names.iter().rposition(|name| *name == "translation.partial").expect("some");
    let stopped = names.iter().position(|name| *name == "speech_stopped").expect("an end");
    assert!(last < stopped, "nothing partial is told behind the end: {names:?}");
}

#[tokio::test(start_paused = true)]
async fn turns_stay_in_order_whatever_their_translations_take() {
    let stage = stage(0, config(|_| {}));
    stage.stt.set_calls(["One.", "Two.", "Three."].map(|text| vec![Step::text(20, text)]).into());
    stage.llm.set_calls(vec![
        vec![Step::text(9_000, "{user}")],
        vec![Step::error(1, "broken")],
        vec![Step::error(1, "broken")],
        vec![Step::text(1, "{user}")],
    ]);
    let mut client = stage.open_with(into(&["es"]));
    for _ in 0..3 {
        client.say(600).await;
    }
    assert_eq!(whole(&mut client).await.1, Ok("One.".to_owned()));
    assert!(matches!(whole(&mut client).await.1, Err(SessionError::Engine(_))), "the second one failed");
    assert_eq!(whole(&mut client).await.1, Ok("Three.".to_owned()), "which holds up nothing");
}

#[tokio::test(start_paused = true)]
async fn what_several_ask_for_is_translated_once_and_remembered() {
    let stage = stage(2_000, config(|_| {}));
    let mut clients: Vec<_> = (0..4).map(|_| stage.open_with(into(&["es"]))).collect();
    futures::future::join_all(clients.iter().map(|client| client.say(600))).await;
    for client in &mut clients {
        assert_eq!(whole(client).await, ("es", Ok("es: Good morning.".to_owned())));
    }
    assert_eq!(stage.llm.stats().started, 1, "asked for at once");
    clients[0].say(400).await;
    assert_eq!(whole(&mut clients[0]).await, ("es", Ok("es: Good morning.".to_owned())));
    assert_eq!(stage.llm.stats().started, 1, "remembered: {:?}", stage.llm.calls());
    let mut other = stage.open_with(into(&["de"]));
    other.say(600).await;
    assert_eq!(whole(&mut other).await, ("de", Ok("de: Good morning.".to_owned())));
    assert_eq!(stage.llm.stats().started, 2, "another language is another text");
}

#[tokio::test(start_paused = true)]
async fn the_first_who_asked_may_leave() {
    let stage = stage(3_000, config(|_| {}));
    let first = stage.open_with(into(&["es"]));
    first.say(600).await;
    let mut second = stage.open_with(into(&["es"]));
    second.say(600).await;
    drop(first);
    assert_eq!(whole(&mut second).await, ("es", Ok("es: Good morning.".to_owned())));
    assert_eq!(stage.llm.stats().started, 1);
}

struct Nobody;

impl CallObserver for Nobody {
    fn queued(&self) {}
    fn called(&self, _instance: &str) {}
    fn ended(&self) {}
}

fn terms() -> Terms {
    let class = WorkClass::Continuation;
    Terms { holder: HolderId(7), class, observer: Box::new(Nobody), cache_bytes: 10_000 }
}

fn source(text: &str) -> Source {
    Source { instructions: "es".into(), text: text.into() }
}

#[tokio::test(start_paused = true)]
async fn a_translation_that_nobody_waits_for_stops_and_failures_are_not_remembered() {
    let stage = stage(0, config(|_| {}));
    let desk = TranslationDesk::new(stage.pools.clone(), stage.runtime.clone());
    stage.llm.set_calls(vec![
        vec![Step::hang(Hang::UntilCancelled)],
        vec![Step::error(1, "broken")],
        vec![Step::error(1, "broken")],
        vec![Step::text(1, "fine")],
    ]);
    let given_up = tokio::time::timeout(Duration::from_secs(1), desk.translate(source("a"), terms())).await;
    assert!(given_up.is_err());
    let end = Instant::now() + Duration::from_secs(10);
    while stage.llm.stats().in_flight > 0 {
        assert!(Instant::now() < end, "the call goes on for nobody");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let both = futures::join!(desk.translate(source("a"), terms()), desk.translate(source("a"), terms()));
    assert!(both.0.is_err() && both.0 == both.1, "{both:?}");
    assert_eq!(desk.cached_bytes(), 0);
    assert_eq!(desk.translate(source("a"), terms()).await.as_deref(), Ok("fine"));
    assert!(desk.cached_bytes() > 0);
    assert_eq!(stage.llm.stats().started, 4);
}

#[tokio::test(start_paused = true)]
async fn what_a_fallback_made_is_not_remembered() {
    let stage = stage(0, config(|_| {}));
    let fallback: Arc<dyn LlmEngine> = Arc::new(ScriptedLlm::saying(1, "by the fallback"));
    stage.llm.set_calls(vec![vec![Step::error(1, "broken")], vec![Step::text(1, "by the model")]]);
    let instances = vec![
        Instance::new("model", Arc::clone(&stage.llm) as Arc<dyn LlmEngine>, 2),
        Instance::new("fallback", fallback, 2).as_fallback(true),
    ];
    let llm = ResourcePool::new("llm", instances, &stage.pools.scheduler, &PoolsConfig::default());
    let pools = ResourcePoolManager { llm, ..stage.pools.clone() };
    let desk = TranslationDesk::new(pools, stage.runtime.clone());
    assert_eq!(desk.translate(source("a"), terms()).await.as_deref(), Ok("by the fallback"));
    assert_eq!(desk.cached_bytes(), 0);
    assert_eq!(desk.translate(source("a"), terms()).await.as_deref(), Ok("by the model"));
    assert!(desk.cached_bytes() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_says_nothing_or_does_not_end_is_a_failure() {
    let stage = stage(0, config(|_| {}));
    let desk = TranslationDesk::new(stage.pools.clone(), stage.runtime.clone());
    stage.llm.set_calls(vec![vec![Step::text(1, " ")], vec![Step::text(1, "word ".repeat(500))]]);
    let silent = desk.translate(source("a"), terms()).await.expect_err("no text");
    assert!(silent.to_string().contains("gave no translation"), "{silent}");
    let endless = desk.translate(source("a"), terms()).await.expect_err("too long");
    assert!(endless.to_string().contains("within 65 tokens"), "{endless}");
}

/// The texts of a finished and of an unfinished utterance in the order in which they are translated, where both
/// have to wait for a slot.
async fn made(partials_first: bool) -> Vec<String> {
    let stage = stage(0, config(|config| config.partials_first = partials_first));
    let busy = vec![Step::text(4_500, "busy")];
    stage.llm.set_calls([vec![busy; 4], vec![vec![Step::text(1, "{user}")]]].concat());
    let texts = ["Over.", "So far", "So far so good", "So far so good and on"];
    stage.stt.set_calls(texts.map(|text| vec![Step::text(1, text)]).into());
    let desk = TranslationDesk::new(stage.pools.clone(), stage.runtime.clone());
    let four = (1_000..1_004).map(|holder| (format!("{holder}"), HolderId(holder)));
    let occupied = four.map(|(text, holder)| desk.translate(source(&text), Terms { holder, ..terms() }));
    let talk = async {
        let mut client = stage.open_with(into(&["es"]));
        client.sound(true, 600).await;
        client.sound(false, 1_000).await;
        client.sound(true, 5_000).await;
        whole(&mut client).await.1.expect("a translation");
    };
    futures::join!(futures::future::join_all(occupied), talk);
    let asked = stage.llm.calls().into_iter().skip(4).take(2);
    asked.map(|call| call.messages[1].content.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_goes_first_is_a_setting() {
    assert_eq!(made(false).await, ["Over.", "So far"]);
    assert_eq!(made(true).await, ["So far", "Over."]);
}

#[tokio::test(start_paused = true)]
async fn languages_are_limited_and_may_change() {
    let stage = stage(20, config(|config| config.max_targets = 2));
    let mut client = stage.open_with(into(&["es"]));
    let change = |codes: &[&str]| {
        let patch = SettingsPatch { translate_to: Some(languages(codes)), ..SettingsPatch::default() };
        Action::Update(Box::new(patch))
    };
    client.send(change(&["es", "de", "fr"])).await;
    let error = client
        .until(|event| match event {
            SessionEvent::Error { error, .. } => Some(error.clone()),
            _ => None,
        })
        .await;
    assert_eq!(error, SessionError::TooManyLanguages { limit: 2, wanted: 3 });
    client.send(change(&["fr", "fr"])).await;
    client.say(600).await;
    assert_eq!(whole(&mut client).await, ("fr", Ok("fr: Good morning.".to_owned())));
    client.send(change(&[])).await;
    client.say(600).await;
    let transcript =
        |event: &SessionEvent| matches!(event, SessionEvent::TranscriptionCompleted { .. }).then_some(());
    client.until(transcript).await;
    assert_eq!(client.seen.iter().filter_map(notice).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_noise_is_translated_to_nothing_without_a_call() {
    let stage = stage(20, config(|_| {}));
    stage.stt.set_calls(vec![vec![Step::text(1, "")]]);
    let mut client = stage.open_with(into(&["es"]));
    client.say(600).await;
    assert_eq!(whole(&mut client).await, ("es", Ok(String::new())));
    assert_eq!(stage.llm.stats().started, 0);
}

#[tokio::test(start_paused = true)]
async fn a_translation_cancelled_from_outside_is_told_and_the_others_go_on() {
    let stage = stage(60_000, config(|_| {}));
    let mut client = stage.open_with(into(&["es", "de"]));
    client.say(600).await;
    let views = stage.router.requests().views(|_| true);
    let running: Vec<_> =
        views.iter().filter(|view| view.kind == RequestKind::Translation && !view.status.is_last()).collect();
    assert_eq!(running.len(), 2, "{views:?}");
    client.send(Action::CancelRequest(running[0].id.as_str().into())).await;
    let (_, told) = whole(&mut client).await;
    assert_eq!(told, Err(SessionError::RequestCancelled));
    assert!(
        whole(&mut client).await.1.is_err_and(|error| error != SessionError::RequestCancelled),
        "it took too long"
    );
}
