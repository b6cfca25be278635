//! How sessions behave; the same for all.

use serde::{Deserialize, Serialize};

/// How sessions behave.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct SessionConfig {
    /// What one session may take.
    pub limits: LimitsConfig,
    /// When a turn ends.
    pub endpointing: EndpointingConfig,
    /// How audio leaves.
    pub playback: PlaybackConfig,
    /// What a session starts with.
    pub defaults: DefaultsConfig,
}

/// What one session may take.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct LimitsConfig {
    /// Audio in the input buffer that is not committed, in milliseconds. 60,000: two of Whisper's windows.
    pub max_input_audio_ms: u64,
    /// The longest utterance that voice activity collects before it is committed as it stands, in
    /// milliseconds. 30,000: Whisper's window.
    pub max_utterance_ms: u64,
    /// Items of a conversation.
    pub max_items: usize,
    /// Duration of a session in seconds. 3,600: OpenAI's limit.
    pub max_session_s: u64,
    /// At shutdown, how long the answer that runs may go on, in milliseconds.
    pub drain_ms: u64,
    /// Time without any event of the client after which a session ends, in seconds.
    pub idle_s: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_input_audio_ms: 60_000,
            max_utterance_ms: 30_000,
            max_items: 500,
            max_session_s: 3_600,
            drain_ms: 5_000,
            idle_s: 600,
        }
    }
}

/// When a turn ends. Silence is counted in the audio received, so a client that sends faster or slower than
/// real time is judged by what it recorded.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct EndpointingConfig {
    /// Silence after which transcript and answer are begun speculatively, in milliseconds. 128: eight frames,
    /// longer than the stops inside words.
    pub soft_pause_ms: u64,
    /// Silence that ends a turn whose text is a whole sentence, in milliseconds. 240: the transcript and the
    /// first clause are ready by then.
    pub complete_ms: u64,
    /// Silence that ends a turn whose text may be whole, in milliseconds. 500: OpenAI's `server_vad`.
    pub unsure_ms: u64,
    /// Silence that ends a turn whose text is in the middle of something, in milliseconds.
    pub incomplete_ms: u64,
}

impl Default for EndpointingConfig {
    fn default() -> Self {
        Self { soft_pause_ms: 128, complete_ms: 240, unsure_ms: 500, incomplete_ms: 1_200 }
    }
}

/// How audio leaves.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PlaybackConfig {
    /// How far the audio sent may be ahead of the audio heard, in milliseconds. 1,500: bridges a slow network,
    /// and little is thrown away at an interruption.
    pub max_ahead_ms: u64,
}

impl Default for PlaybackConfig {
    fn default() -> Self {
        Self { max_ahead_ms: 1_500 }
    }
}

/// What a session starts with.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct DefaultsConfig {
    /// The system message.
    pub instructions: String,
    /// The voice; `alloy` is OpenAI's default name, which every engine maps to its own first voice.
    pub voice: String,
}

impl Default for DefaultsConfig {
    fn default() -> Self {
        Self {
            instructions: "You are a friendly voice assistant. Answer in one or two short sentences."
                .to_owned(),
            voice: "alloy".to_owned(),
        }
    }
}
