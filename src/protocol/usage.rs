//! What a response or a transcription used, and what is left.

use serde::{Deserialize, Serialize};

/// Tokens of a response. `response.done` always holds the whole object, whatever the outcome: pipecat reads
/// its fields without asking.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Usage {
    /// Input and output.
    pub total_tokens: u64,
    /// The prompt.
    pub input_tokens: u64,
    /// The answer.
    pub output_tokens: u64,
    /// The prompt by kind.
    pub input_token_details: InputTokenDetails,
    /// The answer by kind.
    pub output_token_details: OutputTokenDetails,
}

impl Usage {
    /// Usage of a text model: a cascade hears and speaks outside it.
    pub fn text(input_tokens: u64, cached_tokens: u64, output_tokens: u64) -> Self {
        Self {
            total_tokens: input_tokens + output_tokens,
            input_tokens,
            output_tokens,
            input_token_details: InputTokenDetails {
                text_tokens: input_tokens,
                cached_tokens,
                cached_tokens_details: CachedTokenDetails {
                    text_tokens: cached_tokens,
                    ..Default::default()
                },
                ..Default::default()
            },
            output_token_details: OutputTokenDetails { text_tokens: output_tokens, audio_tokens: 0 },
        }
    }
}

/// Input tokens by kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct InputTokenDetails {
    /// Text.
    pub text_tokens: u64,
    /// Audio.
    pub audio_tokens: u64,
    /// Pictures.
    pub image_tokens: u64,
    /// Those that were not computed again.
    pub cached_tokens: u64,
    /// Cached tokens by kind.
    pub cached_tokens_details: CachedTokenDetails,
}

/// Cached tokens by kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct CachedTokenDetails {
    /// Text.
    pub text_tokens: u64,
    /// Audio.
    pub audio_tokens: u64,
    /// Pictures.
    pub image_tokens: u64,
}

/// Output tokens by kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct OutputTokenDetails {
    /// Text.
    pub text_tokens: u64,
    /// Audio.
    pub audio_tokens: u64,
}

/// What a transcription used.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TranscriptionUsage {
    /// Counted in audio.
    Duration {
        /// Seconds of audio.
        seconds: f64,
    },
    /// Counted in tokens.
    Tokens {
        /// Input and output.
        total_tokens: u64,
        /// The audio and the prompt.
        input_tokens: u64,
        /// The transcript.
        output_tokens: u64,
        /// The input by kind.
        #[serde(skip_serializing_if = "Option::is_none")]
        input_token_details: Option<TranscriptionTokenDetails>,
    },
}

/// Input tokens of a transcription by kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct TranscriptionTokenDetails {
    /// Text.
    pub text_tokens: u64,
    /// Audio.
    pub audio_tokens: u64,
}

/// One limit on a user's rate.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct RateLimit {
    /// What is limited.
    pub name: RateLimitName,
    /// How many are allowed in a window.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
    /// Seconds until all are back.
    pub reset_seconds: f64,
}

/// What a rate limits. Clients know no other names.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RateLimitName {
    /// Responses.
    Requests,
    /// Tokens.
    Tokens,
}
