//! What an engine tells of its model, for those who ask which there are.

use serde::Serialize;

use super::Device;

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Makes text of speech.
    SpeechToText,
    /// Continues a conversation.
    LanguageModel,
    /// Speaks text.
    TextToSpeech,
}

/// One model of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelInfo {
    /// Its name, as the operator configured it.
    pub name: String,
    /// What it does.
    pub kind: ModelKind,
    /// ISO 639-1 codes of the languages it works in; empty where that is not known.
    pub languages: Vec<String>,
    /// The voices that can be asked for, the default first; empty where it does not speak.
    pub voices: Vec<String>,
    /// Whether it tells when each word was said; false where it does not hear.
    pub word_times: bool,
    /// Where it computes; `None` for one behind a URL.
    pub device: Option<Device>,
}
