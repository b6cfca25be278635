//! The parts of a snapshot and how they are written: JSON, and audio as samples. One version number for all.

use serde::{Deserialize, Serialize};

use crate::session::id::{ConversationId, ItemId};

/// Version of all parts. One that reads no more of an older version counts it up.
pub(super) const FORMAT: u32 = 1;

/// [`Head`].
pub(super) const HEAD: &str = "head";
/// The session's settings.
pub(super) const SETTINGS: &str = "settings";
/// The answer that is being given, or that the end of the session cut.
pub(super) const ANSWER: &str = "answer";
/// An item of the conversation; its id follows.
const ITEM: &str = "item/";
/// Audio of a turn that is not transcribed; the id of its item follows.
const TURN: &str = "turn/";

pub(super) fn item_part(id: &ItemId) -> String {
    format!("{ITEM}{id}")
}

pub(super) fn turn_part(id: &ItemId) -> String {
    format!("{TURN}{id}")
}

/// Whether a part of this name is an item.
pub(super) fn is_item(name: &str) -> bool {
    name.starts_with(ITEM)
}

/// What of a session is small and changes with its turns.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(in crate::session) struct Head {
    /// [`FORMAT`].
    pub(super) format: u32,
    pub(in crate::session) conversation: ConversationId,
    /// When the session ends at the latest, in seconds since 1970.
    pub(in crate::session) expires_at: u64,
    pub(in crate::session) voice_locked: bool,
    /// Committed turns.
    pub(in crate::session) turns: u64,
    /// Input audio so far, in samples at 16 kHz. Written when something else here changes.
    pub(in crate::session) audio_clock: u64,
}

impl Head {
    pub(in crate::session) fn new(conversation: ConversationId, expires_at: u64) -> Self {
        Self { format: FORMAT, conversation, expires_at, voice_locked: false, turns: 0, audio_clock: 0 }
    }

    /// Whether it is to be written again.
    pub(super) fn differs(&self, written: &Self) -> bool {
        (self.voice_locked, self.turns) != (written.voice_locked, written.turns)
    }
}
