//! What a client asks of its session.

use super::conversation::{Item, Previous};
use super::error::SessionError;
use super::event::CloseReason;
use super::id::{ItemId, RequestId, ResponseId};
use super::settings::{ResponseRequest, SettingsPatch};
use super::sideband::SidebandId;

/// One event of the client.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionCommand {
    /// The client's id for it; named in an error that it causes.
    pub client_event_id: Option<String>,
    /// What it asks.
    pub action: Action,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Change settings.
    Update(Box<SettingsPatch>),
    /// Append audio, in the session's input format.
    AppendAudio(Vec<u8>),
    /// Make the buffered audio a user item.
    CommitAudio,
    /// Forget the buffered audio.
    ClearAudio,
    /// Add an item to the conversation.
    CreateItem {
        /// Where.
        previous: Previous,
        /// What.
        item: Item,
    },
    /// Send an item back.
    RetrieveItem(ItemId),
    /// Cut an assistant message to what was heard.
    TruncateItem {
        /// Which.
        item: ItemId,
        /// Milliseconds that were heard.
        audio_end_ms: u64,
    },
    /// Remove an item.
    DeleteItem(ItemId),
    /// Start a response.
    CreateResponse(Box<ResponseRequest>),
    /// Stop one.
    CancelResponse(Option<ResponseId>),
    /// Not from the client: give up a request.
    CancelRequest(RequestId),
    /// Not from the client: end the session and say why.
    End(CloseReason),
    /// Not from the client: a sideband is to be told the session and its events.
    Attach(SidebandId),
    /// The same actions, asked by a sideband: an error is told there.
    OfSideband(SidebandId, Box<Self>),
    /// Not from the client: it has received the token of the session that it resumed.
    ConfirmResumed,
    /// Nothing that could be read: answer with this error, in order with the rest.
    Reject(SessionError),
}

impl Action {
    /// Whether somebody asked for it on a socket of the session: a sign of life.
    pub(super) fn is_of_client(&self) -> bool {
        !matches!(self, Self::CancelRequest(_) | Self::End(_) | Self::ConfirmResumed | Self::Attach(_))
    }
}
