//! The history of a session: items in order, what of them was heard, and what a language model sees of it. Pure.

mod item;
mod journal;
mod messages;
mod timeline;

pub use item::{Content, Item, ItemBody, ItemStatus, Previous, Role};
pub use journal::KeptItem;
pub use messages::messages_of;
pub use timeline::Timeline;

use crate::engine::llm::ChatMessage;

use super::error::{ItemEvent, SessionError};
use super::id::ItemId;
use super::size;
use journal::Journal;

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

    /// The items, in order.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.entries.iter().map(|entry| &entry.item)
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

#[cfg(test)]
mod tests;
