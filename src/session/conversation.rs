//! The history of a session: items in order, what of them was heard, and what a language model sees of it. Pure.

mod journal;

pub use journal::KeptItem;

use serde::{Deserialize, Serialize};

use crate::engine::llm::{ChatMessage, ChatRole, ToolCall};
use crate::engine::tts::TimedWord;

use super::error::{ItemEvent, SessionError};
use super::id::ItemId;
use super::size;
use journal::Journal;

/// One entry of a conversation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Item {
    /// Its id.
    pub id: ItemId,
    /// Whether it is whole.
    pub status: ItemStatus,
    /// What it holds.
    pub body: ItemBody,
}

/// Whether an item is whole.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ItemStatus {
    /// It is being made.
    InProgress,
    /// It is.
    Completed,
    /// It was cut short.
    Incomplete,
}

/// What an item holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum ItemBody {
    /// Something said or written.
    Message {
        /// By whom.
        role: Role,
        /// What.
        content: Vec<Content>,
    },
    /// The model calls a tool.
    FunctionCall {
        /// Id of the call.
        call_id: String,
        /// The tool.
        name: String,
        /// JSON text.
        arguments: String,
    },
    /// What a tool answered.
    FunctionCallOutput {
        /// The call.
        call_id: String,
        /// Its result.
        output: String,
    },
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Role {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// A part of a message.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Content {
    /// Written by the client.
    InputText(String),
    /// Spoken by the person; `None` until it is transcribed.
    InputAudio(Option<String>),
    /// Written by the model.
    OutputText(String),
    /// Spoken by the model: as much as was heard.
    OutputAudio(String),
}

impl Content {
    fn text(&self) -> &str {
        match self {
            Self::InputText(text) | Self::OutputText(text) | Self::OutputAudio(text) => text,
            Self::InputAudio(transcript) => transcript.as_deref().unwrap_or_default(),
        }
    }
}

/// Where a new item goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Previous {
    /// Behind the last.
    Last,
    /// Before the first.
    Root,
    /// Behind this one.
    Item(ItemId),
}

/// When each word of a spoken message is heard, counted from its first sample.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Timeline {
    words: Vec<TimedWord>,
    audio_ms: u64,
}

impl Timeline {
    /// Appends a clause: its words, counted from the clause's first sample. A clause that began before the message
    /// did leaves out the words of that time.
    pub fn push_clause(&mut self, words: Vec<TimedWord>, clause_start_ms: i64) {
        let moved = |ms: u32| u32::try_from(i64::from(ms) + clause_start_ms).ok();
        self.words.extend(words.into_iter().filter_map(|word| {
            Some(TimedWord { start_ms: moved(word.start_ms)?, end_ms: moved(word.end_ms)?, text: word.text })
        }));
    }

    /// Says how much audio there is so far.
    pub fn set_audio_ms(&mut self, audio_ms: u64) {
        self.audio_ms = audio_ms;
    }

    /// The words, in order.
    pub fn words(&self) -> impl Iterator<Item = &TimedWord> {
        self.words.iter()
    }

    /// Length of the audio in milliseconds.
    pub fn audio_ms(&self) -> u64 {
        self.audio_ms
    }

    /// The words heard by `heard_ms`: those that had ended, and the one that was in its second half.
    pub fn heard(&self, heard_ms: u64) -> String {
        let heard = self.words.iter().take_while(|word| was_heard(word, heard_ms));
        heard.map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The others.
    pub fn unheard(&self, heard_ms: u64) -> impl Iterator<Item = &TimedWord> {
        self.words.iter().skip_while(move |word| was_heard(word, heard_ms))
    }
}

fn was_heard(word: &TimedWord, heard_ms: u64) -> bool {
    u64::from(word.start_ms) + u64::from(word.end_ms.saturating_sub(word.start_ms)) / 2 < heard_ms
}

#[derive(Debug)]
struct Entry {
    item: Item,
    timeline: Option<Timeline>,
    bytes: usize,
    /// Orders the items, for whoever keeps them one by one: it stays where others come between.
    rank: i64,
}

impl Entry {
    fn new(item: Item, timeline: Option<Timeline>, rank: i64) -> Self {
        let bytes = size::item(&item) + timeline.as_ref().map_or(0, size::timeline);
        Self { item, timeline, bytes, rank }
    }
}

/// Items in order.
#[derive(Debug)]
pub struct Conversation {
    entries: Vec<Entry>,
    max_items: usize,
    /// What all entries hold.
    bytes: usize,
    journal: Journal,
}

impl Conversation {
    /// An empty conversation of at most `max_items`.
    pub fn new(max_items: usize) -> Self {
        Self { entries: Vec::new(), max_items, bytes: 0, journal: Journal::default() }
    }

    /// Holds at most so many items from now on; those that are there stay.
    pub fn set_max_items(&mut self, max_items: usize) {
        self.max_items = max_items;
    }

    /// Adds an item; gives the id of the one before it.
    pub fn insert(&mut self, previous: &Previous, item: Item) -> Result<Option<ItemId>, SessionError> {
        if self.entries.len() >= self.max_items {
            return Err(SessionError::TooManyItems { limit: self.max_items });
        }
        if self.position(&item.id).is_some() {
            return Err(SessionError::ItemExists { item: item.id });
        }
        let at = match previous {
            Previous::Last => self.entries.len(),
            Previous::Root => 0,
            Previous::Item(id) => self.find(id, ItemEvent::Create)? + 1,
        };
        self.add(at, item);
        Ok(at.checked_sub(1).map(|before| self.entries[before].item.id.clone()))
    }

    /// Adds an item behind the last, letting go of the oldest if there is no room; gives the id of the one before.
    pub fn push_evicting(&mut self, item: Item) -> Option<ItemId> {
        if self.entries.len() >= self.max_items && !self.entries.is_empty() {
            self.take(0);
        }
        let previous = self.last_id();
        self.add(self.entries.len(), item);
        previous
    }

    /// Lets go of the oldest items, those aside that `needed` takes, until `excess` bytes are free or none is left.
    pub fn trim(&mut self, excess: usize, needed: impl Fn(&ItemId) -> bool) {
        let target = self.bytes.saturating_sub(excess);
        let mut at = 0;
        while self.bytes > target && at < self.entries.len() {
            if needed(&self.entries[at].item.id) { at += 1 } else { self.take(at) }
        }
    }

    /// Bytes that the items hold, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last item's id.
    pub fn last_id(&self) -> Option<ItemId> {
        self.entries.last().map(|entry| entry.item.id.clone())
    }

    /// The item before `id`.
    pub fn previous_of(&self, id: &ItemId) -> Option<ItemId> {
        let at = self.position(id)?;
        at.checked_sub(1).map(|before| self.entries[before].item.id.clone())
    }

    /// An item.
    pub fn get(&self, id: &ItemId, event: ItemEvent) -> Result<&Item, SessionError> {
        Ok(&self.entries[self.find(id, event)?].item)
    }

    /// Removes an item.
    pub fn remove(&mut self, id: &ItemId) -> Result<(), SessionError> {
        let at = self.find(id, ItemEvent::Delete)?;
        self.take(at);
        Ok(())
    }

    /// Replaces an item that is still there; one that the client deleted meanwhile stays deleted.
    pub fn replace(&mut self, item: Item, timeline: Option<Timeline>) {
        if let Some(at) = self.position(&item.id) {
            self.change(at, |entry| *entry = Entry::new(item, timeline, entry.rank));
        }
    }

    /// Writes down what the person said in `id`.
    pub fn set_transcript(&mut self, id: &ItemId, transcript: &str) {
        let Some(at) = self.position(id) else { return };
        self.change(at, |entry| {
            let ItemBody::Message { content, .. } = &mut entry.item.body else { return };
            for part in content {
                if let Content::InputAudio(text) = part {
                    *text = Some(transcript.to_owned());
                }
            }
        });
    }

    /// Cuts a spoken assistant message to what was heard of it. Cutting again starts from the whole message, so
    /// that a client that knows better corrects the server's estimate.
    pub fn truncate(&mut self, id: &ItemId, heard_ms: u64) -> Result<(), SessionError> {
        let at = self.find(id, ItemEvent::Truncate)?;
        let entry = &mut self.entries[at];
        let (Some(timeline), ItemBody::Message { role: Role::Assistant, content }) =
            (&entry.timeline, &mut entry.item.body)
        else {
            return Err(SessionError::NotTruncatable { item: id.clone() });
        };
        if heard_ms > timeline.audio_ms() {
            return Err(SessionError::TruncatePastEnd {
                audio_ms: timeline.audio_ms(),
                requested_ms: heard_ms,
            });
        }
        for part in content {
            if let Content::OutputAudio(transcript) = part {
                *transcript = timeline.heard(heard_ms);
            }
        }
        self.change(at, |_| {});
        Ok(())
    }

    /// What a language model sees.
    pub fn messages(&self, instructions: &str) -> Vec<ChatMessage> {
        messages_of(instructions, self.entries.iter().map(|entry| &entry.item))
    }

    fn add(&mut self, at: usize, item: Item) {
        let rank = self.rank_at(at);
        let entry = Entry::new(item, None, rank);
        self.bytes += entry.bytes;
        self.journal.touch(&entry.item.id);
        self.entries.insert(at, entry);
    }

    fn take(&mut self, at: usize) {
        let taken = self.entries.remove(at);
        self.bytes -= taken.bytes;
        self.journal.touch(&taken.item.id);
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Entry)) {
        let entry = &mut self.entries[at];
        self.journal.touch(&entry.item.id);
        self.bytes -= entry.bytes;
        change(entry);
        entry.bytes = size::item(&entry.item) + entry.timeline.as_ref().map_or(0, size::timeline);
        self.bytes += entry.bytes;
    }

    fn position(&self, id: &ItemId) -> Option<usize> {
        // From the back: what is named is nearly always recent.
        self.entries.iter().rposition(|entry| entry.item.id == *id)
    }

    fn find(&self, id: &ItemId, event: ItemEvent) -> Result<usize, SessionError> {
        self.position(id).ok_or_else(|| SessionError::UnknownItem { item: id.clone(), event })
    }
}

/// These items as a language model sees them: system message first, tool calls joined to the message before.
pub fn messages_of<'a>(instructions: &str, items: impl Iterator<Item = &'a Item>) -> Vec<ChatMessage> {
    let mut messages = Vec::new();
    if !instructions.is_empty() {
        messages.push(ChatMessage::text(ChatRole::System, instructions));
    }
    for item in items {
        match &item.body {
            ItemBody::Message { role, content } => push_message(&mut messages, *role, content),
            ItemBody::FunctionCall { call_id, name, arguments } => {
                let call = ToolCall { id: call_id.clone(), name: name.clone(), arguments: arguments.clone() };
                match messages.last_mut() {
                    Some(last) if last.role == ChatRole::Assistant => last.tool_calls.push(call),
                    _ => messages.push(ChatMessage {
                        tool_calls: vec![call],
                        ..ChatMessage::text(ChatRole::Assistant, "")
                    }),
                }
            }
            ItemBody::FunctionCallOutput { call_id, output } => messages.push(ChatMessage {
                tool_call_id: Some(call_id.clone()),
                ..ChatMessage::text(ChatRole::Tool, output)
            }),
        }
    }
    messages
}

fn push_message(messages: &mut Vec<ChatMessage>, role: Role, content: &[Content]) {
    let text = content.iter().map(Content::text).filter(|text| !text.is_empty()).collect::<Vec<_>>();
    if text.is_empty() {
        return; // nothing was heard, or it is not transcribed yet
    }
    let role = match role {
        Role::System => ChatRole::System,
        Role::User => ChatRole::User,
        Role::Assistant => ChatRole::Assistant,
    };
    messages.push(ChatMessage::text(role, text.join(" ")));
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
