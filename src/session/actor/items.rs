//! The client's hand on the conversation: create, retrieve, truncate, delete.

use super::SessionActor;
use crate::session::conversation::{Item, Previous};
use crate::session::error::{ItemEvent, SessionError};
use crate::session::event::{ResponseStatus, SessionEvent};
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
        if self.stop_speaking(&item, audio_end_ms)? {
            self.answer_what_waited();
        }
        self.conversation.truncate(&item, audio_end_ms)?;
        if let Some(parked) = self.parked.as_mut().filter(|parked| parked.item.as_ref() == Some(&item)) {
            parked.heard_ms = audio_end_ms; // the client knows better where to go on
        }
        self.outbox.send(SessionEvent::ItemTruncated { item, audio_end_ms });
        Ok(())
    }

    /// A client that cuts what is being spoken to it has stopped playing it, and some (openai-agents, Pipecat) say
    /// no more than that: the rest of the answer is not for anybody.
    fn stop_speaking(&mut self, item: &ItemId, audio_end_ms: u64) -> Result<bool, SessionError> {
        let Some(running) = self.responses.in_conversation() else { return Ok(false) };
        let Some(audio_ms) = running.response.spoken_ms(item) else { return Ok(false) };
        if audio_end_ms > audio_ms {
            return Err(SessionError::TruncatePastEnd { audio_ms, requested_ms: audio_end_ms });
        }
        let id = running.response.id.clone();
        self.end_response(&id, ResponseStatus::Cancelled);
        Ok(true)
    }

    pub(super) fn delete_item(&mut self, item: ItemId) -> Result<(), SessionError> {
        self.conversation.remove(&item)?;
        self.outbox.send(SessionEvent::ItemDeleted(item));
        Ok(())
    }
}
