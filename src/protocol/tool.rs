//! Tools that a model may call, and how it chooses among them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::decode::Tagged;

/// A tool.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Tool {
    /// A function that the client runs.
    Function(FunctionTool),
    /// A remote MCP server whose tools the server runs.
    Mcp(Box<McpTool>),
}

impl<'de> Deserialize<'de> for Tool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tool = Tagged::read(deserializer, "type")?;
        match tool.name.as_str() {
            "function" => tool.body().map(Self::Function),
            "mcp" => tool.body().map(Self::Mcp),
            _ => Err(tool.unknown(&["function", "mcp"])),
        }
    }
}

/// A function that the client runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct FunctionTool {
    /// The function's name.
    pub name: String,
    /// What it does, for the model; at most 1024 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON schema of its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Map<String, Value>>,
}

/// A remote MCP server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct McpTool {
    /// The name by which events and `tool_choice` speak of it.
    pub server_label: String,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_url: Option<String>,
    /// A connector of OpenAI's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connector_id: Option<String>,
    /// Its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// Headers to send to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Which of its tools may be used: a list of names or a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_tools: Option<Value>,
    /// Which of its tools need approval: `always`, `never` or a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_approval: Option<Value>,
    /// What it offers, for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_description: Option<String>,
}

/// How the model chooses tools.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "expected 'auto', 'none', 'required', or an object of type 'function' or 'mcp' with its name"
)]
pub enum ToolChoice {
    /// By a rule.
    Mode(ToolChoiceMode),
    /// One tool by name.
    Named(NamedTool),
}

impl Default for ToolChoice {
    fn default() -> Self {
        Self::Mode(ToolChoiceMode::Auto)
    }
}

/// A rule for choosing tools.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoiceMode {
    /// The model decides.
    #[default]
    Auto,
    /// No tool.
    None,
    /// At least one tool.
    Required,
}

/// The tool that must be called.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NamedTool {
    /// A function.
    Function {
        /// Its name.
        name: String,
    },
    /// A tool of an MCP server.
    Mcp {
        /// The server.
        server_label: String,
        /// The tool; absent for any.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}
