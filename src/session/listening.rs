//! How a session listens: what it is for, and how speech is transcribed for its client to read.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a session is for; fixed when it opens.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Purpose {
    /// Talking with the model.
    #[default]
    Conversation,
    /// Reading what is said, perhaps in other languages; nothing is answered.
    Transcription,
}

/// How the client's speech is transcribed for it to read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Transcription {
    /// ISO 639-1 code; `None` lets the engine decide.
    pub language: Option<String>,
    /// Words likely to be said.
    pub prompt: Option<String>,
    /// How long words may wait until they are sure.
    pub delay: PartialDelay,
    /// The whole object as the client sent it; echoed.
    pub echo: Value,
}

/// The trade of partial transcripts between soon and sure: a word is told when two of them agree on it, so rarer
/// ones are surer.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum PartialDelay {
    /// Half the configured interval.
    Minimal,
    /// Three quarters of it.
    Low,
    /// The configured interval.
    #[default]
    Medium,
    /// Twice as long.
    High,
    /// Four times as long.
    Longest,
}

impl PartialDelay {
    /// The time between partials where `usual` is configured.
    pub fn interval(self, usual: Duration) -> Duration {
        match self {
            Self::Minimal => usual / 2,
            Self::Low => usual * 3 / 4,
            Self::Medium => usual,
            Self::High => usual * 2,
            Self::Longest => usual * 4,
        }
    }
}
