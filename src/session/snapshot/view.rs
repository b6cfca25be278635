//! What a client is told about resuming, in `session.created`.

use super::ResumeToken;
use crate::session::id::ItemId;

/// How this session can be resumed, and whether it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeView {
    /// What opens it again.
    pub token: ResumeToken,
    /// For how long after a cut, in seconds.
    pub grace_s: u64,
    /// What the client finds, if it was resumed.
    pub resumed: Option<ResumedView>,
}

/// A resumed session as its client finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumedView {
    /// The last item of the conversation.
    pub last_item: Option<ItemId>,
    /// The answer that the cut interrupted.
    pub interrupted: Option<InterruptedAnswer>,
    /// The person, or a tool, has had no answer yet. None is begun by itself.
    pub awaits_response: bool,
    /// Input audio before the cut in milliseconds: `audio_start_ms` and `audio_end_ms` count on from here.
    pub input_audio_ms: u64,
}

/// An answer that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptedAnswer {
    /// Its item, which holds what was heard.
    pub item: ItemId,
    /// Milliseconds heard, by the server's estimate.
    pub heard_ms: u64,
    /// Milliseconds sent: the most that `conversation.item.truncate` takes.
    pub audio_ms: u64,
}
