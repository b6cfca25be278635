//! How far an answer of the conversation is, for its snapshot. Knows no store.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::ActiveResponse;
use crate::session::conversation::{Content, Item, ItemBody, ItemStatus, KeptItem, Role, Timeline};
use crate::session::id::ItemId;
use crate::session::settings::Modality;
use crate::telemetry::clock::whole_ms;

/// An answer that is being given.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(in crate::session) struct AnswerProgress {
    pub(in crate::session) item: ItemId,
    /// All text so far.
    pub(in crate::session) text: String,
    /// `None` for a written answer.
    pub(in crate::session) timeline: Option<Timeline>,
    pub(in crate::session) heard_ms: u64,
    pub(in crate::session) audio_ms: u64,
}

impl ActiveResponse {
    /// How far the message is that is being given at `now`.
    pub(in crate::session) fn progress(&self, now: Instant) -> Option<AnswerProgress> {
        let message = self.message.as_ref().filter(|_| self.settings.in_history)?;
        let spoken = self.settings.modality == Modality::Audio;
        Some(AnswerProgress {
            item: message.place.item.clone(),
            text: message.text.clone(),
            timeline: spoken.then(|| message.timeline.clone()),
            heard_ms: whole_ms(self.playback.heard(now)),
            audio_ms: whole_ms(self.playback.sent()),
        })
    }
}

impl AnswerProgress {
    /// The item as the end of its session leaves it, if that came without a word: cut to what was heard.
    pub(in crate::session) fn cut(&self, kept: &mut KeptItem) {
        let content = match &self.timeline {
            Some(timeline) => Content::OutputAudio(timeline.heard(self.heard_ms)),
            None => Content::OutputText(self.text.clone()),
        };
        let body = ItemBody::Message { role: Role::Assistant, content: vec![content] };
        kept.item = Item { id: self.item.clone(), status: ItemStatus::Incomplete, body };
        kept.timeline.clone_from(&self.timeline);
    }
}
