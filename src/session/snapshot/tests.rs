//! A snapshot as it is written and read back, on a store in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::parts::{FORMAT, HEAD};
use super::*;
use crate::audio::AudioFormat;
use crate::engine::llm::{ToolChoice, ToolSpec, Truncation};
use crate::engine::tts::TimedWord;
use crate::session::conversation::{
    Content, Conversation, Item, ItemBody, ItemStatus, Previous, Role, Timeline,
};
use crate::session::id::{ConversationId, ItemId, SessionId};
use crate::session::response::AnswerProgress;
use crate::session::settings::{
    Eagerness, EchoSettings, Modality, Purpose, SessionSettings, Transcription, TurnDetection, TurnMode,
};
use crate::session::translation::Language;
use crate::store::{Begin, Change, MemoryStore, SnapshotStore, StoreConfig, Stored};

/// Every setting with a value that is not its default.
fn settings() -> SessionSettings {
    let schema = serde_json::json!({"type": "object", "properties": {"b": {}, "a": {}}});
    let tool =
        ToolSpec { name: "lights".to_owned(), description: "On and off".to_owned(), parameters: schema };
    SessionSettings {
        purpose: Purpose::Transcription,
        model: "test".to_owned(),
        instructions: "Be brief.".to_owned(),
        modality: Modality::Text,
        input_format: AudioFormat::Pcmu,
        output_format: AudioFormat::Pcma,
        transcription: Some(Transcription { language: Some("de".to_owned()), ..Transcription::default() }),
        turn_detection: Some(TurnDetection {
            mode: TurnMode::Semantic { eagerness: Eagerness::High },
            create_response: false,
            interrupt_response: false,
        }),
        voice: "echo".to_owned(),
        speed: 1.1,
        tools: Arc::from([tool]),
        tool_choice: ToolChoice::Function("lights".to_owned()),
        max_output_tokens: Some(77),
        truncation: Truncation::default(),
        logprobs: true,
        translate_to: ["es", "de"].into_iter().filter_map(Language::from_code).collect(),
        echo: EchoSettings { tracing: Some("auto".into()), ..EchoSettings::default() },
    }
}

fn message(id: &str, role: Role, status: ItemStatus, content: Vec<Content>) -> Item {
    Item { id: id.into(), status, body: ItemBody::Message { role, content } }
}

fn said(id: &str, text: &str) -> Item {
    message(id, Role::User, ItemStatus::Completed, vec![Content::InputText(text.to_owned())])
}

/// What writes, what it writes of, and where.
struct Desk {
    store: Arc<MemoryStore>,
    writer: SnapshotWriter,
    conversation: Conversation,
    head: Head,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new(&StoreConfig::default()));
        let begin = Begin { token: ResumeToken::of_client("t").hash(), owner: "anna".to_owned() };
        let (session, now) = (SessionId::random(), Instant::now());
        let writer = SnapshotWriter::new(Arc::clone(&store) as Arc<dyn SnapshotStore>, session, begin, now);
        let mut conversation = Conversation::new(50);
        conversation.watch_changes();
        let head = Head::new(ConversationId::random(), u64::MAX / 2_000);
        Self { store, writer, conversation, head, now }
    }

    fn add(&mut self, item: Item) {
        self.conversation.insert(&Previous::Last, item).expect("there is room");
    }

    fn write(&mut self, turns: &[(ItemId, Arc<[f32]>)], answer: Option<&AnswerProgress>) -> Vec<String> {
        let mut change = Change::default();
        self.writer.items(&mut change, &mut self.conversation, self.now);
        self.writer.head(&mut change, self.head.clone(), &settings());
        self.writer.turns(&mut change, turns.iter().map(|(id, audio)| (id, audio)));
        match answer {
            Some(answer) => self.writer.answer(&mut change, self.now, false, || Some(answer.clone())),
            None => self.writer.no_answer(&mut change),
        }
        let names = change.parts.keys().cloned().collect();
        self.writer.save(change, self.now);
        names
    }

    async fn read(&self) -> Stored {
        let token = ResumeToken::of_client("t").hash();
        self.store.claim(token, token, 0).await.expect("it answers").expect("it is kept")
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_read_back_and_only_changes_are_written() {
    let mut desk = Desk::new();
    desk.add(said("a", "one"));
    let first = desk.write(&[], None);
    assert_eq!(first, ["head", "item/a", "settings"]);
    assert!(desk.write(&[], None).is_empty(), "nothing changed");
    desk.add(said("c", "three"));
    desk.conversation.insert(&Previous::Item("a".into()), said("b", "two")).expect("there is room");
    desk.conversation.remove(&"a".into()).expect("it is there");
    desk.head.turns = 2;
    desk.head.audio_clock = 48_000;
    assert_eq!(desk.write(&[], None), ["head", "item/a", "item/b", "item/c"]);
    let restored = Restored::read(&desk.read().await).expect("it reads");
    assert_eq!(restored.settings, settings());
    assert_eq!(restored.head, desk.head);
    let items: Vec<_> = restored.items.iter().map(|kept| kept.item.clone()).collect();
    assert_eq!(items, [said("b", "two"), said("c", "three")]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_kept_as_audio_until_its_transcript_is_in() {
    let mut desk = Desk::new();
    let audio: Arc<[f32]> = Arc::from([0.0, 0.25, -0.25]);
    desk.add(message("turn", Role::User, ItemStatus::Completed, vec![Content::InputAudio(None)]));
    desk.write(&[("turn".into(), Arc::clone(&audio))], None);
    assert!(desk.write(&[("turn".into(), Arc::clone(&audio))], None).is_empty(), "it is there already");
    let restored = Restored::read(&desk.read().await).expect("it reads");
    let [(id, samples)] = &restored.untranscribed[..] else { panic!("one turn") };
    assert_eq!(id.as_str(), "turn");
    assert!(samples.iter().zip(audio.iter()).all(|(read, said)| (read - said).abs() < 1e-4), "{samples:?}");

    desk.conversation.set_transcript(&"turn".into(), "hello");
    desk.write(&[], None);
    let stored = desk.read().await;
    assert!(!stored.parts.contains_key("turn/turn"), "the audio is gone");
    assert!(Restored::read(&stored).expect("it reads").untranscribed.is_empty());
}

fn answer(heard_ms: u64) -> AnswerProgress {
    let mut timeline = Timeline::default();
    let word = |text: &str, start_ms, end_ms| TimedWord { text: text.to_owned(), start_ms, end_ms };
    timeline.push_clause(vec![word("One", 0, 400), word("two", 500, 900), word("three.", 1_000, 1_400)], 0);
    timeline.set_audio_ms(1_500);
    let text = "One two three.".to_owned();
    AnswerProgress { item: "answer".into(), text, timeline: Some(timeline), heard_ms, audio_ms: 1_500 }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_ended_without_a_word_is_cut_to_what_was_heard() {
    let mut desk = Desk::new();
    desk.add(message("answer", Role::Assistant, ItemStatus::InProgress, Vec::new()));
    desk.write(&[], Some(&answer(100)));
    let mut written = Vec::new();
    for ms in (50..2_500).step_by(50) {
        desk.now += Duration::from_millis(50);
        if !desk.write(&[], Some(&answer(100 + ms))).is_empty() {
            written.push(ms);
        }
    }
    assert_eq!(written, [100, 300, 700, 1_500], "soon, and then about once a second");
    desk.now += Duration::from_secs(1);
    assert_eq!(desk.write(&[], Some(&answer(900))), ["answer"]);
    let restored = Restored::read(&desk.read().await).expect("it reads");
    let heard = vec![Content::OutputAudio("One two".to_owned())];
    assert_eq!(restored.items[0].item, message("answer", Role::Assistant, ItemStatus::Incomplete, heard));
    let cut = InterruptedAnswer { item: "answer".into(), heard_ms: 900, audio_ms: 1_500 };
    assert_eq!(restored.interrupted, Some(cut));
    let mut conversation = Conversation::new(50);
    conversation.restore(restored.items);
    conversation.truncate(&"answer".into(), 1_450).expect("a client that knows better corrects it");
    let kept = conversation.all_kept().next().expect("one");
    let ItemBody::Message { content, .. } = kept.item.body else { panic!("a message") };
    assert_eq!(content, [Content::OutputAudio("One two three.".to_owned())]);

    // The answer comes to its end: nothing is cut.
    let whole = vec![Content::OutputAudio("One two three.".to_owned())];
    let whole = message("answer", Role::Assistant, ItemStatus::Completed, whole);
    desk.conversation.replace(whole.clone(), answer(0).timeline);
    assert_eq!(desk.write(&[], None), ["answer", "item/answer"]);
    let restored = Restored::read(&desk.read().await).expect("it reads");
    assert_eq!((&restored.items[0].item, restored.interrupted), (&whole, None));
}

#[tokio::test(start_paused = true)]
async fn other_formats_and_nonsense_are_refused() {
    let mut desk = Desk::new();
    desk.add(said("secret id", "secret"));
    desk.write(&[], None);
    let good = desk.read().await;
    let newer =
        String::from_utf8_lossy(&good.parts[HEAD]).replace(&format!("\"format\":{FORMAT}"), "\"format\":999");
    for (part, content, words) in [
        (HEAD, newer.as_bytes(), "its format is 999"),
        (HEAD, b"{}".as_slice(), "head: missing field"),
        ("item/secret id", b"[]".as_slice(), "item: "),
    ] {
        let mut stored = good.clone();
        stored.parts.insert(part.to_owned(), content.to_vec());
        let error = Restored::read(&stored).expect_err("it cannot be read").to_string();
        assert!(error.contains(words) && !error.contains("secret"), "{error}");
    }
    let mut stored = good;
    stored.parts.remove(HEAD);
    assert!(Restored::read(&stored).is_err());
}

#[test]
fn tokens_differ_and_show_nothing() {
    let (a, b) = (ResumeToken::random(), ResumeToken::random());
    assert_ne!(a, b);
    assert_eq!(a.as_str().len(), 3 + 43, "256 bits in base64");
    assert!(a.as_str()[3..].chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter)));
    assert_eq!(format!("{a:?} {:?}", a.hash()), "ResumeToken(..) TokenHash(..)");
    assert_eq!(ResumeToken::of_client(a.as_str()).hash(), a.hash());
}
