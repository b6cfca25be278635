//! Histories: order, bounds, what was heard, what a language model sees.

use super::*;
use crate::engine::tts::TimedWord;

fn message(id: &str, role: Role, content: Content) -> Item {
    let body = ItemBody::Message { role, content: vec![content] };
    Item { id: id.into(), status: ItemStatus::Completed, body }
}

fn user(id: &str) -> Item {
    message(id, Role::User, Content::InputText(format!("text of {id}")))
}

fn word(text: &str, start_ms: u32, end_ms: u32) -> TimedWord {
    TimedWord { text: text.to_owned(), start_ms, end_ms }
}

#[test]
fn items_go_where_they_are_told() {
    let mut conversation = Conversation::new(10);
    for (previous, id, expected_before) in [
        (Previous::Last, "b", None),
        (Previous::Last, "d", Some("b")),
        (Previous::Root, "a", None),
        (Previous::Item("b".into()), "c", Some("b")),
    ] {
        let before = conversation.insert(&previous, user(id)).expect("there is room");
        assert_eq!(before, expected_before.map(ItemId::from), "{id}");
    }
    let order: Vec<_> = conversation.messages("").into_iter().map(|message| message.content).collect();
    assert_eq!(order, ["text of a", "text of b", "text of c", "text of d"]);
}

#[test]
fn bytes_follow_what_is_held_and_trimming_lets_go_of_the_oldest_that_is_not_needed() {
    let mut conversation = spoken();
    for id in ["b", "c", "d"] {
        conversation.insert(&Previous::Last, user(id)).expect("there is room");
    }
    conversation.truncate(&"a".into(), 150).expect("it can be cut");
    conversation.set_transcript(&"b".into(), "nothing was spoken there");
    let held = |conversation: &Conversation| -> usize {
        let bytes =
            |entry: &Entry| size::item(&entry.item) + entry.timeline.as_ref().map_or(0, size::timeline);
        conversation.entries.iter().map(bytes).sum()
    };
    assert_eq!(conversation.bytes(), held(&conversation));
    conversation.trim(1, |id| id.as_str() == "a");
    assert!(conversation.position(&"a".into()).is_some() && conversation.position(&"b".into()).is_none());
    assert_eq!(conversation.bytes(), held(&conversation));
    conversation.trim(usize::MAX, |id| id.as_str() == "a");
    assert_eq!(conversation.entries.len(), 1);
    conversation.remove(&"a".into()).expect("it is there");
    assert_eq!(conversation.bytes(), 0);
}

#[test]
fn bad_inserts_change_nothing() {
    let mut conversation = Conversation::new(2);
    conversation.insert(&Previous::Last, user("a")).expect("there is room");
    let unknown = SessionError::UnknownItem { item: "x".into(), event: ItemEvent::Create };
    assert_eq!(conversation.insert(&Previous::Item("x".into()), user("b")), Err(unknown));
    let taken = SessionError::ItemExists { item: "a".into() };
    assert_eq!(conversation.insert(&Previous::Last, user("a")), Err(taken));
    conversation.insert(&Previous::Last, user("b")).expect("there is room");
    let full = SessionError::TooManyItems { limit: 2 };
    assert_eq!(conversation.insert(&Previous::Last, user("c")), Err(full));
    assert_eq!(conversation.messages("").len(), 2);
}

fn spoken() -> Conversation {
    let mut conversation = Conversation::new(10);
    let item = message("a", Role::Assistant, Content::OutputAudio("One two, three four.".into()));
    conversation.insert(&Previous::Last, item.clone()).expect("there is room");
    let mut timeline = Timeline::default();
    timeline.push_clause(vec![word("One", 0, 200), word("two,", 200, 400)], 0);
    timeline.push_clause(vec![word("three", 0, 300), word("four.", 300, 600)], 500);
    timeline.set_audio_ms(1100);
    conversation.replace(item, Some(timeline));
    conversation
}

#[test]
fn truncation_keeps_what_was_heard_and_can_be_corrected() {
    let mut conversation = spoken();
    for (heard_ms, expected) in [
        (0, None),
        (90, None),
        (150, Some("One")),
        (450, Some("One two,")),
        (651, Some("One two, three")),
        (1100, Some("One two, three four.")),
    ] {
        conversation.truncate(&"a".into(), heard_ms).expect("it can be cut");
        let heard = conversation.messages("").pop().map(|message| message.content);
        assert_eq!(heard.as_deref(), expected, "{heard_ms} ms");
    }
}

#[test]
fn only_spoken_answers_are_cut_and_only_within_them() {
    let mut conversation = spoken();
    conversation.insert(&Previous::Last, user("b")).expect("there is room");
    let past = SessionError::TruncatePastEnd { audio_ms: 1100, requested_ms: 1101 };
    assert_eq!(conversation.truncate(&"a".into(), 1101), Err(past));
    let wrong = SessionError::NotTruncatable { item: "b".into() };
    assert_eq!(conversation.truncate(&"b".into(), 0), Err(wrong));
}

#[test]
fn tool_calls_join_the_answer_that_made_them() {
    let call = |id: &str| Item {
        id: id.into(),
        status: ItemStatus::Completed,
        body: ItemBody::FunctionCall { call_id: id.into(), name: "f".into(), arguments: "{}".into() },
    };
    let output = Item {
        id: "o".into(),
        status: ItemStatus::Completed,
        body: ItemBody::FunctionCallOutput { call_id: "c1".into(), output: "42".into() },
    };
    let items = [user("u"), call("c1"), call("c2"), output];
    let messages = messages_of("Be kind.", items.iter());
    let roles: Vec<_> = messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(messages[2].tool_calls.len(), 2);
    assert_eq!(messages[3].tool_call_id.as_deref(), Some("c1"));
}
