//! Turn detection: as in effect, and as a patch.

use serde::{Deserialize, Deserializer, Serialize};

use super::decode::{Tagged, double_option};

/// Who decides that the user's turn is over, as in effect. `Option<TurnDetection>` null is push-to-talk.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TurnDetection {
    /// Silence of a fixed length ends the turn.
    ServerVad(ServerVad),
    /// The words decide, with a longest wait.
    SemanticVad(SemanticVad),
}

impl<'de> Deserialize<'de> for TurnDetection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let detection = Tagged::read(deserializer, "type")?;
        match detection.name.as_str() {
            "server_vad" => detection.body().map(Self::ServerVad),
            "semantic_vad" => detection.body().map(Self::SemanticVad),
            _ => Err(detection.unknown(&["server_vad", "semantic_vad"])),
        }
    }
}

/// Voice activity detection by energy of speech. All fields are always sent: clients read
/// `interrupt_response` to know whether they must cancel a response themselves.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ServerVad {
    /// Speech probability from which audio counts as speech, 0 to 1. OpenAI: 0.5.
    pub threshold: f64,
    /// Audio before the detected start that belongs to the turn, in ms. OpenAI: 300.
    pub prefix_padding_ms: u32,
    /// Silence that ends the turn, in ms. OpenAI: 500.
    pub silence_duration_ms: u32,
    /// Silence after which the server speaks on its own, 5000 to 30000 ms; null never.
    pub idle_timeout_ms: Option<u32>,
    /// Whether the end of a turn starts a response.
    pub create_response: bool,
    /// Whether speech interrupts the response that is being spoken.
    pub interrupt_response: bool,
}

impl Default for ServerVad {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            prefix_padding_ms: 300,
            silence_duration_ms: 500,
            idle_timeout_ms: None,
            create_response: true,
            interrupt_response: true,
        }
    }
}

/// Turn detection by meaning.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct SemanticVad {
    /// How soon to answer.
    pub eagerness: Eagerness,
    /// Whether the end of a turn starts a response.
    pub create_response: bool,
    /// Whether speech interrupts the response that is being spoken.
    pub interrupt_response: bool,
}

impl Default for SemanticVad {
    fn default() -> Self {
        Self { eagerness: Eagerness::Auto, create_response: true, interrupt_response: true }
    }
}

/// How soon semantic turn detection takes the turn.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Eagerness {
    /// Waits up to 8 s.
    Low,
    /// Waits up to 4 s.
    Medium,
    /// Waits up to 2 s.
    High,
    /// As medium.
    #[default]
    Auto,
}

/// A change of turn detection.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TurnDetectionUpdate {
    /// Use `server_vad`.
    ServerVad(ServerVadUpdate),
    /// Use `semantic_vad`.
    SemanticVad(SemanticVadUpdate),
}

impl<'de> Deserialize<'de> for TurnDetectionUpdate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let detection = Tagged::read(deserializer, "type")?;
        match detection.name.as_str() {
            "server_vad" => detection.body().map(Self::ServerVad),
            "semantic_vad" => detection.body().map(Self::SemanticVad),
            _ => Err(detection.unknown(&["server_vad", "semantic_vad"])),
        }
    }
}

impl TurnDetectionUpdate {
    /// The detection that results. A change of kind starts from `defaults`, or from [`SemanticVad`]'s own.
    pub fn apply(&self, current: Option<&TurnDetection>, defaults: &ServerVad) -> TurnDetection {
        match (self, current) {
            (Self::ServerVad(update), Some(TurnDetection::ServerVad(vad))) => update.apply(vad),
            (Self::ServerVad(update), _) => update.apply(defaults),
            (Self::SemanticVad(update), Some(TurnDetection::SemanticVad(vad))) => update.apply(vad),
            (Self::SemanticVad(update), _) => update.apply(&SemanticVad::default()),
        }
    }
}

/// A change of [`ServerVad`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ServerVadUpdate {
    /// See [`ServerVad::threshold`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// See [`ServerVad::prefix_padding_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_padding_ms: Option<u32>,
    /// See [`ServerVad::silence_duration_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence_duration_ms: Option<u32>,
    /// See [`ServerVad::idle_timeout_ms`]; `Some(None)` switches it off.
    #[serde(default, deserialize_with = "double_option", skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<Option<u32>>,
    /// See [`ServerVad::create_response`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_response: Option<bool>,
    /// See [`ServerVad::interrupt_response`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupt_response: Option<bool>,
}

impl ServerVadUpdate {
    fn apply(&self, base: &ServerVad) -> TurnDetection {
        TurnDetection::ServerVad(ServerVad {
            threshold: self.threshold.unwrap_or(base.threshold),
            prefix_padding_ms: self.prefix_padding_ms.unwrap_or(base.prefix_padding_ms),
            silence_duration_ms: self.silence_duration_ms.unwrap_or(base.silence_duration_ms),
            idle_timeout_ms: self.idle_timeout_ms.unwrap_or(base.idle_timeout_ms),
            create_response: self.create_response.unwrap_or(base.create_response),
            interrupt_response: self.interrupt_response.unwrap_or(base.interrupt_response),
        })
    }
}

/// A change of [`SemanticVad`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct SemanticVadUpdate {
    /// See [`SemanticVad::eagerness`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eagerness: Option<Eagerness>,
    /// See [`SemanticVad::create_response`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_response: Option<bool>,
    /// See [`SemanticVad::interrupt_response`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupt_response: Option<bool>,
}

impl SemanticVadUpdate {
    fn apply(&self, base: &SemanticVad) -> TurnDetection {
        TurnDetection::SemanticVad(SemanticVad {
            eagerness: self.eagerness.unwrap_or(base.eagerness),
            create_response: self.create_response.unwrap_or(base.create_response),
            interrupt_response: self.interrupt_response.unwrap_or(base.interrupt_response),
        })
    }
}
