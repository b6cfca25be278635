//! Options of a session that are also options of a single response, or that are only carried along.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::literal::literal;

/// The longest response, in tokens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(untagged, expecting = "expected a whole number from 1 to 4096 or \"inf\"")]
pub enum MaxTokens {
    /// At most so many, 1 to 4096.
    Limited(u32),
    /// As many as the model allows.
    Inf(Inf),
}

impl MaxTokens {
    /// No limit.
    pub const INF: Self = Self::Inf(Inf::It);

    /// The limit, where there is one.
    pub fn limit(self) -> Option<u32> {
        match self {
            Self::Limited(limit) => Some(limit),
            Self::Inf(_) => None,
        }
    }
}

impl Default for MaxTokens {
    fn default() -> Self {
        Self::INF
    }
}

literal! {
    /// The word `inf`.
    Inf = "inf"
}

/// What happens when the conversation outgrows the model's context.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
#[serde(untagged, expecting = "expected 'auto', 'disabled' or an object of type 'retention_ratio'")]
pub enum Truncation {
    /// By a rule.
    Mode(TruncationMode),
    /// Keep a share.
    Ratio(RetentionRatio),
}

impl Default for Truncation {
    fn default() -> Self {
        Self::Mode(TruncationMode::Auto)
    }
}

/// A rule for truncation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TruncationMode {
    /// Drop the oldest items.
    Auto,
    /// Fail the response.
    Disabled,
}

/// Truncation that keeps a share of the context, so that caches stay warm for longer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct RetentionRatio {
    /// Always `retention_ratio`.
    #[serde(rename = "type")]
    pub kind: RetentionRatioType,
    /// The share to keep, 0 to 1.
    pub retention_ratio: f64,
    /// Limits of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_limits: Option<TokenLimits>,
}

literal! {
    /// The `type` of [`RetentionRatio`].
    RetentionRatioType = "retention_ratio"
}

/// Limits on the context.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct TokenLimits {
    /// The most tokens after the instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_instructions: Option<u32>,
}

/// Where traces of the session go. Accepted and echoed; this server sends none.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(untagged, expecting = "expected 'auto' or an object")]
pub enum Tracing {
    /// With default names.
    Mode(TracingMode),
    /// With names of the client's.
    Named(TracingNames),
}

/// Tracing with default names.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TracingMode {
    /// Default names.
    Auto,
}

/// Names under which traces are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct TracingNames {
    /// The workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_name: Option<String>,
    /// The group of traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Anything more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

/// A stored prompt template.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Prompt {
    /// Its id.
    pub id: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Values for its variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<BTreeMap<String, Value>>,
}

/// For models that reason.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Reasoning {
    /// How much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<ReasoningEffort>,
}

/// How much a model reasons.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "an ordered scale whose steps are only named")]
pub enum ReasoningEffort {
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
}
