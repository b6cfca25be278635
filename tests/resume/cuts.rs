//! A cut in every state of a session, and what is found after it.

use antiphon::backend::scripted::{Hang, Step};
use serde_json::{Value, json};

use crate::guests::{Gone, Guest, config, echo, hears, open_sessions};
use crate::socket::{see, start};

const LONG: &str =
    "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen.";

pub(crate) fn text_of(item: &Value) -> &str {
    let part = &item["content"][0];
    part["transcript"].as_str().or(part["text"].as_str()).unwrap_or_default()
}

#[tokio::test]
async fn idle_settings_and_history_are_as_they_were() {
    let server = start(config(hears("x"), echo())).await;
    let mut guest = Guest::new(server.address()).await;
    assert_eq!(guest.session["antiphon"]["resumed"], false);
    assert_eq!(guest.session["antiphon"]["resume_within_s"], 300);
    let tool =
        json!({"type": "function", "name": "lights", "description": "On", "parameters": {"type": "object"}});
    guest.update(json!({"instructions": "Be brief.", "tools": [tool], "output_modalities": ["text"]})).await;
    guest.client.ask("Hello").await;
    let done = guest.client.until("response.done").await;
    let answer = done["response"]["output"][0]["id"].as_str().expect("an id").to_owned();
    let expires = guest.session["expires_at"].clone();
    let gone = guest.cut();

    let mut guest = gone.back_later(server.address()).await;
    assert_eq!(guest.session["instructions"], "Be brief.");
    assert_eq!(guest.session["tools"][0]["name"], "lights");
    assert_eq!(guest.session["output_modalities"], json!(["text"]));
    assert_eq!(guest.session["expires_at"], expires, "its time counts on");
    let expected =
        json!({"last_item_id": answer, "interrupted": null, "awaits_response": false, "input_audio_ms": 0});
    assert_eq!(*guest.left_off(), expected);
    assert_eq!(text_of(&guest.item(&answer).await), "You said: Hello");
    guest.client.ask("And now?").await;
    assert_eq!(guest.client.answer().await, "You said: And now?");
    server.stop().await.expect("it stops");
}

#[tokio::test]
async fn speaking_what_was_not_committed_is_gone_and_the_clock_goes_on() {
    let server = start(config(hears("Hello there."), echo())).await;
    let mut guest = Guest::new(server.address()).await;
    guest.sound(true, 600).await;
    guest.client.until("input_audio_buffer.speech_started").await;
    let gone = guest.cut();

    let mut guest = gone.back_later(server.address()).await;
    assert_eq!(guest.left_off()["last_item_id"], Value::Null);
    let clock = guest.left_off()["input_audio_ms"].as_u64().expect("a number");
    assert!((550..=600).contains(&clock), "{clock}");
    guest.sound(true, 600).await;
    let begun = guest.client.until("input_audio_buffer.speech_started").await;
    let from = begun["audio_start_ms"].as_u64().expect("a number");
    assert!(from + 400 >= clock && from < clock + 600, "{from} counts on from {clock}");
    guest.sound(false, 1_400).await;
    let done = guest.client.until("response.done").await;
    assert_eq!(done["response"]["status"], "completed", "a whole turn: {done}");
}

#[tokio::test]
async fn pausing_the_attempt_is_gone() {
    let hang = vec![Step::hang(Hang::UntilCancelled)];
    let server = start(config(vec![hang, vec![Step::text(1, "Once more.")]], echo())).await;
    let mut guest = Guest::new(server.address()).await;
    guest.sound(true, 600).await;
    guest.sound(false, 200).await;
    let transcribing = |requests: &Value| requests.to_string().contains("transcription");
    see(server.address(), "/api/requests", transcribing).await;
    let gone = guest.cut();

    let mut guest = gone.back_later(server.address()).await;
    assert_eq!(guest.left_off()["last_item_id"], Value::Null, "nothing was committed");
    guest.sound(true, 600).await;
    guest.sound(false, 1_400).await;
    let done = guest.client.until("response.done").await;
    assert_eq!(text_of(&done["response"]["output"][0]), "You said: Once more.");
}

/// Says something that is committed and not transcribed; gives its item.
pub(crate) async fn committed(guest: &mut Guest) -> String {
    guest.transcribed().await;
    guest.sound(true, 600).await;
    guest.sound(false, 1_400).await;
    let committed = guest.client.until("input_audio_buffer.committed").await;
    committed["item_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn committed_a_turn_is_transcribed_while_nobody_is_there() {
    let server = start(config(vec![vec![Step::text(1_500, "I was heard.")]], echo())).await;
    let mut guest = Guest::new(server.address()).await;
    let item = committed(&mut guest).await;
    let gone = guest.cut();

    let mut guest = gone.back_later(server.address()).await;
    assert_eq!(guest.left_off()["last_item_id"], item.as_str());
    assert_eq!(guest.left_off()["awaits_response"], true, "no answer was begun for nobody");
    assert_eq!(text_of(&guest.item(&item).await), "I was heard.");
    guest.client.send(json!({"type": "response.create"})).await;
    let done = guest.client.until("response.done").await;
    assert_eq!(text_of(&done["response"]["output"][0]), "You said: I was heard.");
}

#[tokio::test]
async fn committed_a_turn_whose_transcript_hangs_is_transcribed_again_from_its_audio() {
    let hang = vec![Step::hang(Hang::UntilCancelled)];
    let server = start(config(vec![hang, vec![Step::text(1, "{ms} milliseconds.")]], echo())).await;
    let mut guest = Guest::new(server.address()).await;
    let item = committed(&mut guest).await;
    let gone = guest.cut();

    let mut guest = gone.back(server.address()).await; // waits for no transcript
    let done = guest.client.until("conversation.item.input_audio_transcription.completed").await;
    assert_eq!(done["item_id"], item.as_str());
    let heard = done["transcript"].as_str().and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    assert!(heard.is_some_and(|ms| (600..2_400).contains(&ms)), "{done}");
    assert_eq!(text_of(&guest.item(&item).await), done["transcript"].as_str().expect("text"));
}

#[tokio::test]
async fn answering_before_the_first_audio_the_question_is_kept() {
    let hang = vec![Step::hang(Hang::UntilCancelled)];
    let server = start(config(hears("x"), vec![hang, vec![Step::text(1, "You said: {user}")]])).await;
    let mut guest = Guest::new(server.address()).await;
    guest.client.ask("Still there?").await;
    guest.client.until("response.created").await;
    let gone = guest.cut();

    let mut guest = gone.back_later(server.address()).await;
    assert_eq!(guest.left_off()["awaits_response"], true);
    assert_eq!(guest.left_off()["interrupted"], Value::Null);
    guest.client.send(json!({"type": "response.create", "response": {"output_modalities": ["text"]}})).await;
    assert_eq!(guest.client.answer().await, "You said: Still there?");
}

/// Asks for a long spoken answer and hears so many chunks of it; gives its item.
pub(crate) async fn listening(guest: &mut Guest, chunks: usize) -> String {
    guest.client.item("Count.").await;
    guest.client.send(json!({"type": "response.create"})).await;
    let mut item = Value::Null;
    for _ in 0..chunks {
        item = guest.client.until("response.output_audio.delta").await["item_id"].clone();
    }
    item.as_str().expect("an id").to_owned()
}

/// That the answer was cut somewhere in its middle, and where; gives what was heard.
pub(crate) async fn assert_cut(guest: &mut Guest, item: &str) -> u64 {
    let cut = guest.left_off()["interrupted"].clone();
    assert_eq!(cut["item_id"], item);
    let (heard, audio) =
        (cut["heard_ms"].as_u64().expect("a number"), cut["audio_ms"].as_u64().expect("a number"));
    assert!(heard > 0 && heard <= audio && audio < 6_000, "{cut}");
    let kept = guest.item(item).await;
    assert_eq!(kept["status"], "incomplete");
    let text = text_of(&kept).to_owned();
    assert!(LONG.starts_with(&text) && text.len() < LONG.len(), "{text}");
    heard
}

#[tokio::test]
async fn answering_the_history_holds_what_was_heard_and_the_client_may_correct_it() {
    let server = start(config(hears("x"), vec![vec![Step::text(1, LONG)]])).await;
    let mut guest = Guest::new(server.address()).await;
    let item = listening(&mut guest, 22).await;
    let gone = guest.cut();

    let mut guest = gone.back_later(server.address()).await;
    assert_eq!(guest.left_off()["last_item_id"], item.as_str());
    assert_cut(&mut guest, &item).await;
    let audio = guest.left_off()["interrupted"]["audio_ms"].clone();
    let truncate = json!({"type": "conversation.item.truncate", "item_id": item, "content_index": 0, "audio_end_ms": audio});
    guest.client.send(truncate).await;
    guest.client.until("conversation.item.truncated").await;
    let corrected = guest.item(&item).await;
    assert!(text_of(&corrected).starts_with("One two three four"), "{corrected}");
    let voice = json!({"type": "realtime", "audio": {"output": {"voice": "another"}}});
    guest.client.send(json!({"type": "session.update", "session": voice})).await;
    assert_eq!(
        guest.client.until("error").await["error"]["code"],
        "cannot_update_voice",
        "it was heard before"
    );
}

#[tokio::test]
async fn a_tool_call_waits_for_its_result() {
    let call = vec![Step::tool_call(1, "lights", "{\"on\":true}")];
    let server =
        start(config(hears("x"), vec![call, vec![Step::text(1, "Done, {messages} messages.")]])).await;
    let mut guest = Guest::new(server.address()).await;
    let tool = json!({"type": "function", "name": "lights", "parameters": {"type": "object"}});
    guest.update(json!({"tools": [tool], "output_modalities": ["text"]})).await;
    guest.client.ask("Light!").await;
    let done = guest.client.until("response.done").await["response"]["output"][0].clone();
    let gone = guest.cut();

    let mut guest = gone.back_later(server.address()).await;
    assert_eq!(guest.left_off()["awaits_response"], false, "the client has to call the tool");
    assert_eq!(guest.item(done["id"].as_str().expect("an id")).await["arguments"], "{\"on\":true}");
    let output = json!({"type": "function_call_output", "call_id": done["call_id"], "output": "on"});
    guest.client.send(json!({"type": "conversation.item.create", "item": output})).await;
    guest.client.send(json!({"type": "response.create"})).await;
    assert_eq!(guest.client.answer().await, "Done, 4 messages.", "system, question, call and result");
}

#[tokio::test]
async fn waiting_for_a_place_a_cut_costs_nothing() {
    let mut config = config(hears("x"), echo());
    config.server.max_sessions = 1;
    let server = start(config).await;
    let address = server.address();
    let mut guest = Guest::new(address).await;
    guest.client.ask("Remember me").await;
    guest.client.answer().await;
    let gone = guest.cut();
    open_sessions(address, 0).await;
    let other = Guest::new(address).await;

    // Resumes, has to wait, is cut again; then the place comes free.
    let waiting =
        crate::socket::Client::connect(address, &format!("&resume={}&queue=events", gone.token)).await;
    see(address, "/api/status", |status| status["admission"]["queued"] == 1).await;
    drop(waiting);
    see(address, "/api/status", |status| status["admission"]["queued"] == 0).await;
    let mut waiting =
        crate::socket::Client::connect(address, &format!("&resume={}&queue=events", gone.token)).await;
    assert_eq!(waiting.event().await["type"], "antiphon.queue.position");
    drop(other);
    let mut guest = Guest::greeted(waiting).await;
    assert_eq!(guest.id(), gone.id);
    let last = guest.left_off()["last_item_id"].as_str().expect("an id").to_owned();
    assert_eq!(text_of(&guest.item(&last).await), "You said: Remember me");
}

#[tokio::test]
async fn a_second_cut_and_a_third_lose_nothing_either() {
    let server = start(config(hears("x"), echo())).await;
    let mut gone: Gone = Guest::new(server.address()).await.cut();
    for round in 0..3 {
        let mut guest = gone.back_later(server.address()).await;
        guest.client.ask(&format!("Round {round}")).await;
        assert_eq!(guest.client.answer().await, format!("You said: Round {round}"));
        gone = guest.cut();
    }
    let mut guest = gone.back_later(server.address()).await;
    guest.client.send(json!({"type": "response.create", "response": {"output_modalities": ["text"]}})).await;
    assert_eq!(guest.client.answer().await, "You said: Round 2");
}
