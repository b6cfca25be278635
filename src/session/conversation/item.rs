//! An item of a conversation: who said what, and whether it is whole. Knows nothing of the items around it.

use serde::{Deserialize, Serialize};

use crate::session::id::ItemId;

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
    pub(crate) fn text(&self) -> &str {
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
