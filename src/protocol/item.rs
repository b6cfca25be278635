//! Conversation items: messages, function calls and their results.
//!
//! Optional fields are absent, never null: agents-js drops an event whose item holds a null. The one exception
//! is the `transcript` of an `input_audio` part, which must always be there, null until it is known.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::decode::Tagged;
use super::literal::literal;

/// An item of a conversation.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    /// Something said or written.
    Message(MessageItem),
    /// The model wants the client to run a function.
    FunctionCall(FunctionCallItem),
    /// What the function returned.
    FunctionCallOutput(FunctionCallOutputItem),
    /// The tools of an MCP server.
    McpListTools(McpListToolsItem),
    /// A call of an MCP tool.
    McpCall(McpCallItem),
    /// A call of an MCP tool that waits for approval.
    McpApprovalRequest(McpApprovalRequestItem),
    /// The approval, or its refusal.
    McpApprovalResponse(McpApprovalResponseItem),
}

const ITEM_TYPES: [&str; 7] = [
    "message",
    "function_call",
    "function_call_output",
    "mcp_list_tools",
    "mcp_call",
    "mcp_approval_request",
    "mcp_approval_response",
];

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let item = Tagged::read(deserializer, "type")?;
        Self::from_tagged(item)
    }
}

impl Item {
    /// The item's id, where it has one.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Message(item) => item.id.as_deref(),
            Self::FunctionCall(item) => item.id.as_deref(),
            Self::FunctionCallOutput(item) => item.id.as_deref(),
            Self::McpListTools(item) => item.id.as_deref(),
            Self::McpCall(item) => item.id.as_deref(),
            Self::McpApprovalRequest(item) => item.id.as_deref(),
            Self::McpApprovalResponse(item) => item.id.as_deref(),
        }
    }

    fn from_tagged<E: serde::de::Error>(item: Tagged<E>) -> Result<Self, E> {
        match item.name.as_str() {
            "message" => item.body().map(Self::Message),
            "function_call" => item.body().map(Self::FunctionCall),
            "function_call_output" => item.body().map(Self::FunctionCallOutput),
            "mcp_list_tools" => item.body().map(Self::McpListTools),
            "mcp_call" => item.body().map(Self::McpCall),
            "mcp_approval_request" => item.body().map(Self::McpApprovalRequest),
            "mcp_approval_response" => item.body().map(Self::McpApprovalResponse),
            _ => Err(item.unknown(&ITEM_TYPES)),
        }
    }
}

/// An item, or a reference to one of the conversation: `input` of `response.create`.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(untagged)]
pub enum InputItem {
    /// An item of the conversation, by id.
    Reference(ItemReference),
    /// An item that belongs to the response alone.
    Item(Item),
}

impl<'de> Deserialize<'de> for InputItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let item = Tagged::read(deserializer, "type")?;
        match item.name.as_str() {
            "item_reference" => item.body().map(Self::Reference),
            _ => Item::from_tagged(item).map(Self::Item),
        }
    }
}

/// Names an item of the conversation.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ItemReference {
    /// Always `item_reference`.
    #[serde(rename = "type")]
    pub kind: ItemReferenceType,
    /// The item's id.
    pub id: String,
}

literal! {
    /// The `type` of an [`ItemReference`].
    ItemReferenceType = "item_reference"
}

literal! {
    /// The `object` of an item.
    ItemObject = "realtime.item"
}

/// How far an item has come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// It grows.
    InProgress,
    /// It is whole.
    Completed,
    /// It was cut off.
    Incomplete,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The application.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// Something said or written.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct MessageItem {
    /// The item's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Always `realtime.item`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ItemObject>,
    /// How far it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ItemStatus>,
    /// Who speaks.
    pub role: Role,
    /// The content; [`super::Validate`] checks that it fits the role.
    pub content: Vec<ContentPart>,
}

/// A part of a message's content.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentPart {
    /// Text of the user or the application.
    InputText(TextPart),
    /// Speech of the user.
    InputAudio(InputAudioPart),
    /// A picture from the user.
    InputImage(InputImagePart),
    /// Text of the model.
    OutputText(TextPart),
    /// Speech of the model.
    OutputAudio(OutputAudioPart),
}

impl<'de> Deserialize<'de> for ContentPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = Tagged::read(deserializer, "type")?;
        match part.name.as_str() {
            "input_text" => part.body().map(Self::InputText),
            "input_audio" => part.body().map(Self::InputAudio),
            "input_image" => part.body().map(Self::InputImage),
            "output_text" => part.body().map(Self::OutputText),
            "output_audio" => part.body().map(Self::OutputAudio),
            _ => Err(part.unknown(&[
                "input_text",
                "input_audio",
                "input_image",
                "output_text",
                "output_audio",
            ])),
        }
    }
}

impl ContentPart {
    /// The part's `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::InputText(_) => "input_text",
            Self::InputAudio(_) => "input_audio",
            Self::InputImage(_) => "input_image",
            Self::OutputText(_) => "output_text",
            Self::OutputAudio(_) => "output_audio",
        }
    }
}

/// Text.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct TextPart {
    /// The text.
    pub text: String,
}

/// Speech of the user.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct InputAudioPart {
    /// Base64 in the session's input format; only in answers to `conversation.item.retrieve` and from clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// The words, null until known. Always sent: agents-js throws where the key is missing.
    pub transcript: Option<String>,
}

/// A picture.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct InputImagePart {
    /// A `data:` URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// How closely to look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<ImageDetail>,
}

/// How closely to look at a picture.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "an ordered scale whose steps are only named")]
pub enum ImageDetail {
    Auto,
    Low,
    High,
}

/// Speech of the model.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct OutputAudioPart {
    /// Base64 in the session's output format; only in answers to `conversation.item.retrieve`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// The words; absent where truncation lost them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
}

/// The model wants the client to run a function.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct FunctionCallItem {
    /// The item's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Always `realtime.item`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ItemObject>,
    /// How far it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ItemStatus>,
    /// The id that the result must name; the server always sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The function's name.
    pub name: String,
    /// Its arguments, JSON in a string.
    pub arguments: String,
}

/// What a function returned.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct FunctionCallOutputItem {
    /// The item's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Always `realtime.item`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ItemObject>,
    /// How far it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ItemStatus>,
    /// The call it answers.
    pub call_id: String,
    /// The result, free text or JSON in a string.
    pub output: String,
}

/// The tools of an MCP server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct McpListToolsItem {
    /// The item's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The server.
    pub server_label: String,
    /// Its tools, as the server describes them.
    pub tools: Vec<Value>,
}

/// A call of an MCP tool.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct McpCallItem {
    /// The item's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The server.
    pub server_label: String,
    /// The tool.
    pub name: String,
    /// Its arguments, JSON in a string.
    pub arguments: String,
    /// The approval that allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_request_id: Option<String>,
    /// The result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// A call of an MCP tool that waits for approval.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct McpApprovalRequestItem {
    /// The item's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The server.
    pub server_label: String,
    /// The tool.
    pub name: String,
    /// Its arguments, JSON in a string.
    pub arguments: String,
}

/// The approval of a call, or its refusal.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct McpApprovalResponseItem {
    /// The item's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The request it answers.
    pub approval_request_id: String,
    /// Whether the call may run.
    pub approve: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
