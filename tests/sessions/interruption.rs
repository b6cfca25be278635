//! Interruptions as clients see them: those that are meant, and those that are taken back. Scripted engines, no
//! socket, paused time.

use std::time::Duration;

use crate::support::{Client, Stage, spoken_text};
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt, Step};
use antiphon::engine::llm::ChatRole;
use antiphon::session::event::{ResponseEvent, ResponseStatus, ResponseView};
use antiphon::session::interruption::InterruptionConfig;
use antiphon::session::settings::ResponseRequest;
use antiphon::session::{Action, SessionConfig, SessionEvent};

const ANSWER: &str = "One two three four five six seven eight nine ten. Eleven twelve thirteen fourteen fifteen. \
                      Sixteen seventeen eighteen nineteen twenty.";

/// Somebody asks for [`ANSWER`], and afterwards says `then`, one after the other.
fn stage(then: &[&str], config: InterruptionConfig) -> Stage {
    let config = SessionConfig { interruption: config, ..SessionConfig::default() };
    let stage = Stage::with_config(ScriptedStt::saying(1, "Count."), ScriptedLlm::saying(1, ANSWER), config);
    let texts = std::iter::once(&"Count.").chain(then);
    stage.stt.set_calls(texts.map(|text| vec![Step::text(1, *text)]).collect());
    stage.llm.set_calls(vec![vec![Step::text(1, ANSWER)], vec![Step::text(1, "You said: {user}")]]);
    stage
}

fn default_stage(then: &[&str]) -> Stage {
    stage(then, InterruptionConfig::default())
}

fn audio(event: &SessionEvent) -> Option<()> {
    matches!(event, SessionEvent::Response(ResponseEvent::AudioDelta(..))).then_some(())
}

/// Asks, and waits until `after_ms` of the answer were heard.
async fn listen(stage: &Stage, after_ms: u64) -> Client {
    let mut client = stage.open();
    client.sound(true, 600).await;
    client.sound(false, 400).await;
    client.until(audio).await;
    tokio::time::sleep(Duration::from_millis(after_ms)).await;
    client
}

/// Makes a sound of `ms` and is silent.
async fn disturb(client: &Client, ms: usize) {
    client.sound(true, ms).await;
    client.sound(false, 700).await;
}

/// How the answer ended, piece by piece, up to the first that was not interrupted.
async fn pieces(client: &mut Client) -> Vec<ResponseView> {
    let mut views = Vec::new();
    loop {
        let view = client.response_done().await;
        let interrupted = view.status == ResponseStatus::Interrupted;
        views.push(view);
        if !interrupted {
            return views;
        }
    }
}

fn joined(views: &[ResponseView]) -> String {
    let texts: Vec<_> = views.iter().map(spoken_text).filter(|text| !text.is_empty()).collect();
    texts.join(" ")
}

#[tokio::test(start_paused = true)]
async fn after_a_noise_the_answer_goes_on_and_every_word_is_heard_once() {
    for after_ms in (450..5_300).step_by(430) {
        let stage = default_stage(&[""]);
        let mut client = listen(&stage, after_ms).await;
        disturb(&client, 300).await;
        let views = pieces(&mut client).await;
        assert_eq!(joined(&views), ANSWER, "interrupted after {after_ms} ms");
        assert_eq!(views.len(), 2, "interrupted after {after_ms} ms");
        assert_eq!(views[1].status, ResponseStatus::Completed);
        assert_ne!(views[0].id, views[1].id);
        assert_eq!(stage.llm.stats().started, 1, "the language model is not asked again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_who_says_okay_is_heard_and_not_answered() {
    let stage = default_stage(&["Okay."]);
    let mut client = listen(&stage, 900).await;
    disturb(&client, 300).await;
    let views = pieces(&mut client).await;
    assert_eq!(joined(&views), ANSWER);
    let names = client.names();
    assert_eq!(names.iter().filter(|name| **name == "speech_started").count(), 2);
    assert_eq!(names.iter().filter(|name| **name == "transcription.completed").count(), 2);
    client.write("What did I say?").await;
    client.send(Action::CreateResponse(Box::default())).await;
    client.response_done().await;
    let history = stage.llm.calls().pop().expect("a call").messages;
    let history: Vec<_> = history.iter().map(|message| (message.role, message.content.as_str())).collect();
    let (first, rest) = (spoken_text(&views[0]), spoken_text(&views[1]));
    let expected = [
        (ChatRole::User, "Count."),
        (ChatRole::Assistant, first.as_str()),
        (ChatRole::User, "Okay."),
        (ChatRole::Assistant, rest.as_str()),
        (ChatRole::User, "What did I say?"),
    ];
    assert_eq!(history, expected);
}

#[tokio::test(start_paused = true)]
async fn after_a_real_interruption_nothing_of_the_answer_is_heard_any_more() {
    for text in ["Stop.", "Okay, what is my name?", "No."] {
        let stage = default_stage(&[text]);
        let mut client = listen(&stage, 900).await;
        disturb(&client, 300).await;
        let views = pieces(&mut client).await;
        let heard = spoken_text(&views[0]);
        assert!(ANSWER.starts_with(&heard) && heard.len() < ANSWER.len() / 2, "{heard}");
        assert_eq!(views.len(), 2);
        assert_eq!(spoken_text(&views[1]), format!("You said: {text}"));
        let stats = stage.tts.stats();
        assert_eq!((stage.llm.stats().in_flight, stats.in_flight), (0, 0), "nothing works for it any more");
        let calls = stage.llm.calls();
        assert_eq!(calls.last().expect("a call").messages[1].content, heard, "the model sees what was heard");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_sound_interrupts_nothing() {
    let stage = default_stage(&["Stop."]);
    let mut client = listen(&stage, 1_200).await;
    disturb(&client, 100).await;
    let views = pieces(&mut client).await;
    assert_eq!((views.len(), joined(&views).as_str()), (1, ANSWER));
    let started = client.names().iter().filter(|name| **name == "speech_started").count();
    assert_eq!((started, stage.stt.stats().started), (1, 1), "the client is not even told");
}

#[tokio::test(start_paused = true)]
async fn a_short_word_right_at_the_begin_of_an_answer_is_heard() {
    let stage = default_stage(&["No."]);
    let mut client = stage.open();
    client.sound(true, 600).await;
    client.sound(false, 260).await;
    client.until(audio).await;
    disturb(&client, 200).await;
    let views = pieces(&mut client).await;
    assert_eq!(views.last().map(spoken_text).as_deref(), Some("You said: No."));
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_taken_up_again_and_again() {
    let stage = default_stage(&["", "Yeah.", ""]);
    let mut client = listen(&stage, 800).await;
    for _ in 0..3 {
        disturb(&client, 250).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    let views = pieces(&mut client).await;
    assert_eq!((views.len(), joined(&views).as_str()), (4, ANSWER));
}

#[tokio::test(start_paused = true)]
async fn what_still_plays_after_response_done_is_cut_and_resumed_as_well() {
    for (text, pieces) in [("", 2), ("Tell me more.", 2)] {
        let stage = default_stage(&[text]);
        let mut client = listen(&stage, 0).await;
        let whole = client.response_done().await;
        assert_eq!(spoken_text(&whole), ANSWER);
        tokio::time::sleep(Duration::from_millis(300)).await; // about 1.2 s are not heard yet
        disturb(&client, 300).await;
        let next = client.response_done().await;
        let rest = spoken_text(&next);
        client.write("And?").await;
        client.send(Action::CreateResponse(Box::default())).await;
        client.response_done().await;
        let history = stage.llm.calls().pop().expect("a call").messages;
        let heard = &history[1].content;
        assert!(ANSWER.starts_with(heard.as_str()) && heard.len() < ANSWER.len(), "{heard}");
        match text {
            "" => assert_eq!(format!("{heard} {rest}"), ANSWER, "the rest is said"),
            _ => assert_eq!(rest, "You said: Tell me more."),
        }
        assert_eq!(pieces, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_knows_better_where_to_go_on() {
    let stage = default_stage(&[""]);
    let mut client = listen(&stage, 2_000).await;
    client.sound(true, 300).await;
    let cut = client.response_done().await;
    let item = cut.output[0].id.clone();
    client.send(Action::TruncateItem { item, audio_end_ms: 500 }).await;
    client.sound(false, 700).await;
    let rest = spoken_text(&client.response_done().await);
    assert!(spoken_text(&cut).contains("three"), "the server took more for heard");
    assert!(rest.starts_with("three four"), "{rest}");
}

#[tokio::test(start_paused = true)]
async fn going_on_can_be_switched_off() {
    let stage = stage(&[""], InterruptionConfig { resume: false, ..InterruptionConfig::default() });
    let mut client = listen(&stage, 900).await;
    disturb(&client, 300).await;
    assert_eq!(client.response_done().await.status, ResponseStatus::Interrupted);
    client.write("Go on.").await;
    client.send(Action::CreateResponse(Box::default())).await;
    assert_eq!(spoken_text(&client.response_done().await), "You said: Go on.");
}

#[tokio::test(start_paused = true)]
async fn words_can_be_demanded_of_an_interruption() {
    let config = InterruptionConfig { min_words: 2, ..InterruptionConfig::default() };
    let stage = stage(&["Okay", "Please stop."], config);
    let mut client = listen(&stage, 900).await;
    disturb(&client, 400).await;
    disturb(&client, 400).await;
    let views = pieces(&mut client).await;
    assert_eq!(views.len(), 2);
    assert_eq!(spoken_text(&views[1]), "You said: Please stop.");
    let started = client.names().iter().filter(|name| **name == "speech_started").count();
    assert_eq!(started, 2, "one word is no interruption");
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_interrupt_itself() {
    let echo = "two three four five";
    let stage = default_stage(&[echo]);
    let mut client = listen(&stage, 1_500).await;
    disturb(&client, 500).await;
    assert_eq!(joined(&pieces(&mut client).await), ANSWER);
    let unguarded = stage_without_guard(echo);
    let mut client = listen(&unguarded, 1_500).await;
    disturb(&client, 500).await;
    let views = pieces(&mut client).await;
    assert_eq!(spoken_text(&views[1]), format!("You said: {echo}"));
}

#[tokio::test(start_paused = true)]
async fn who_takes_up_the_words_of_an_answer_is_answered() {
    let words = "sixteen seventeen eighteen nineteen twenty";
    let said = format!("You said: {words}");
    // At the end of the answer, where nothing is known of the microphone.
    let stage = default_stage(&[words]);
    let mut client = listen(&stage, 0).await;
    client.response_done().await;
    tokio::time::sleep(Duration::from_millis(900)).await; // what was sent ahead is heard nearly to its end
    disturb(&client, 500).await;
    assert_eq!(joined(&pieces(&mut client).await), said);
    // In the middle of it, where the microphone is known not to hear answers.
    let stage = default_stage(&["two three four five"]);
    let mut client = listen(&stage, 0).await;
    client.sound(false, 2_000).await;
    disturb(&client, 500).await;
    let views = pieces(&mut client).await;
    assert_eq!(spoken_text(&views[1]), "You said: two three four five");
}

fn stage_without_guard(text: &str) -> Stage {
    stage(&[text], InterruptionConfig { echo_guard: false, ..InterruptionConfig::default() })
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_a_response_gets_that_one() {
    let stage = default_stage(&[""]);
    let mut client = listen(&stage, 900).await;
    client.sound(true, 300).await;
    client.response_done().await;
    let request = ResponseRequest { instructions: Some("Be short.".into()), ..ResponseRequest::default() };
    client.send(Action::CreateResponse(Box::new(request))).await;
    client.sound(false, 700).await;
    assert_eq!(spoken_text(&client.response_done().await), "You said: Count.");
    client.write("Still there?").await;
    client.send(Action::CreateResponse(Box::default())).await;
    assert_eq!(
        spoken_text(&client.response_done().await),
        "You said: Still there?",
        "the old answer is gone"
    );
}
