//! How sessions behave; the same for all.

use serde::{Deserialize, Serialize};

use super::expectation::HearingConfig;
use super::interruption::InterruptionConfig;
use super::translation::TranslationConfig;

/// How sessions behave.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct SessionConfig {
    /// What one session may take.
    pub limits: LimitsConfig,
    /// When a turn ends.
    pub endpointing: EndpointingConfig,
    /// Transcripts while the person still speaks.
    pub partials: PartialsConfig,
    /// What speech-to-text is told to expect.
    pub hearing: HearingConfig,
    /// Translations.
    pub translation: TranslationConfig,
    /// When a sound interrupts an answer.
    pub interruption: InterruptionConfig,
    /// How audio leaves.
    pub playback: PlaybackConfig,
    /// What a session starts with.
    pub defaults: DefaultsConfig,
    /// What all sessions of one user may take together.
    pub per_user: PerUserConfig,
    /// How many requests are remembered.
    pub records: RecordsConfig,
    /// When a session counts as unhealthy.
    pub health: HealthConfig,
    /// How long a session that was cut off is kept.
    pub resume: ResumeConfig,
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
    /// Memory of a session in accounted bytes: audio, history, settings, waiting events and commands.
    /// 314,572,800: 300 MiB, some hundred times what a long conversation takes.
    pub max_memory_bytes: u64,
    /// Responses and transcriptions that a session may ask for within a minute. 120: a turn each second, and each
    /// turn is one of both.
    pub max_requests_per_minute: usize,
    /// Responses and transcriptions of a session at once. 3: one answer, and the utterances before and behind it.
    pub max_concurrent_requests: usize,
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
            max_memory_bytes: 300 * 1024 * 1024,
            max_requests_per_minute: 120,
            max_concurrent_requests: 3,
        }
    }
}

/// What all sessions of one user may take together. A user is an API key; on a server without keys each session
/// is a user of its own.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PerUserConfig {
    /// Sessions at once. 8: one person with some devices and pages.
    pub max_sessions: usize,
    /// Responses, transcriptions and speeches at once. 3: one conversation's answer and utterances.
    pub max_concurrent_requests: usize,
    /// Responses within a minute. 20: an answer every three seconds.
    pub max_responses_per_minute: usize,
}

impl Default for PerUserConfig {
    fn default() -> Self {
        Self { max_sessions: 8, max_concurrent_requests: 3, max_responses_per_minute: 20 }
    }
}

/// How many requests are remembered, for `/api/requests`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct RecordsConfig {
    /// Requests of an open session that are over. 64: the last half hour of a lively conversation.
    pub per_session: usize,
    /// Requests of all sessions that ended. 1,024: about 0.5 MB.
    pub of_ended_sessions: usize,
}

impl Default for RecordsConfig {
    fn default() -> Self {
        Self { per_session: 64, of_ended_sessions: 1_024 }
    }
}

/// When a session counts as unhealthy and is ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct HealthConfig {
    /// How often all sessions are looked at, in seconds.
    pub interval_s: u64,
    /// How long a session's task may do nothing at all, in seconds. It ticks every 2 s; 30 is far beyond any load.
    pub stuck_s: u64,
    /// How long a socket may show no life, answers to pings included, in seconds. 120: six missed pings.
    pub max_silence_s: u64,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { interval_s: 5, stuck_s: 30, max_silence_s: 120 }
    }
}

/// How long a session that was cut off is kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ResumeConfig {
    /// After a cut, or after the next start of a server that was killed, in seconds. 300: a train through a tunnel,
    /// a restart with models to load.
    pub grace_s: u64,
}

impl Default for ResumeConfig {
    fn default() -> Self {
        Self { grace_s: 300 }
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

/// Transcripts while the person still speaks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PartialsConfig {
    /// Speech from one partial transcript to the next, in milliseconds; a word is told when two agree on it. 1,000:
    /// the default of whisper_streaming, from whose authors the rule is. Slow engines and pressure make it longer,
    /// a client's `delay` shorter or longer.
    pub interval_ms: u64,
}

impl Default for PartialsConfig {
    fn default() -> Self {
        Self { interval_ms: 1_000 }
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
