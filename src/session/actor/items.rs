//! The client's hand on the conversation: create, retrieve, truncate, delete.

use super::SessionActor;
use crate::session::conversation::{Item, Previous};
use crate::session::error::{ItemEvent, SessionError};
use crate::session::event::SessionEvent;
use crate::session::id::ItemId;

impl SessionActor {
    pub(super) fn create_item(&mut self, previous: &Previous, item: Item) -> Result<(), SessionError> {
        let before = self.conversation.insert(previous, item.clone())?;
        self.outbox.send(SessionEvent::ItemAdded { previous: before.clone(), item: item.clone() });
        self.outbox.send(SessionEvent::ItemDone { previous: before, item });
        Ok(())
    }

    pub(super) fn retrieve_item(&mut self, id: &ItemId) -> Result<(), SessionError> {
        let item = self.conversation.get(id, ItemEvent::Retrieve)?.clone();
        self.outbox.send(SessionEvent::ItemRetrieved(item));
        Ok(())
    }

    pub(super) fn truncate_item(&mut self, item: ItemId, audio_end_ms: u64) -> Result<(), SessionError> {
        self.conversation.truncate(&item, audio_end_ms)?;
        if let Some(parked) = self.parked.as_mut().filter(|parked| parked.item.as_ref() == Some(&item)) {
            parked.heard_ms = audio_end_ms; // the client knows better where to go on
        }
        self.outbox.send(SessionEvent::ItemTruncated { item, audio_end_ms });
        Ok(())
    }

    pub(super) fn delete_item(&mut self, item: ItemId) -> Result<(), SessionError> {
        self.conversation.remove(&item)?;
        self.outbox.send(SessionEvent::ItemDeleted(item));
        Ok(())
    }
}
