//! Text to speech.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::{CancelFlag, Device, EngineFuture, EngineProcess, EngineStream};

/// Speaks a clause.
pub trait TtsEngine: Send + Sync + Debug {
    /// Streams the speech of `request.text`. The last event is [`TtsEvent::Words`].
    fn synthesize(&self, request: TtsRequest, cancel: CancelFlag) -> EngineStream<TtsEvent>;

    /// Whether the endpoint that it stands for answers at all, at less than the cost of a call; `None` where it stands
    /// for none.
    fn reach(&self, _cancel: CancelFlag) -> Option<EngineFuture<()>> {
        None
    }

    /// The voices that [`TtsRequest::voice`] may name; the first is the default.
    fn voices(&self) -> Vec<String>;

    /// ISO 639-1 codes of the languages that it speaks; empty where it cannot tell.
    fn languages(&self) -> Vec<String> {
        Vec::new()
    }

    /// The process that it runs in, where that is not this one.
    fn process(&self) -> Option<EngineProcess> {
        None
    }

    /// Where it computes, which may be another device than was asked for; of no meaning for one behind a URL.
    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// The voice names of OpenAI's APIs (Realtime and speech, 2026). Clients send them to any server, so that each
/// engine speaks them in some voice of its own.
pub const OPENAI_VOICES: [&str; 13] = [
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer",
    "verse",
];

/// A clause to speak.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TtsRequest {
    /// The text, a clause or sentence; never empty.
    pub text: String,
    /// One of the engine's voices. A name it does not know is spoken in its default voice, so that
    /// clients written for OpenAI's voice names are heard all the same.
    pub voice: String,
    /// Speed as a factor: 0.25 to 1.5, 1 is normal (range from OpenAI's `audio.output.speed`).
    pub speed: f32,
}

/// A piece of speech.
#[derive(Clone, Debug, PartialEq)]
pub enum TtsEvent {
    /// Audio to append.
    Audio(SpeechChunk),
    /// When each word is heard, in order; sent once, after the last audio.
    Words(Vec<TimedWord>),
}

/// Mono audio at the engine's own rate.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeechChunk {
    /// Signed 16-bit samples.
    pub samples: Vec<i16>,
    /// Samples a second; the same for all chunks of one call.
    pub sample_rate: u32,
}

/// A word and when it is heard.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TimedWord {
    /// The word as written in the request's text, with punctuation that follows it.
    pub text: String,
    /// Milliseconds from the first sample of the call to the word's begin.
    pub start_ms: u32,
    /// Milliseconds from the first sample of the call to the word's end.
    pub end_ms: u32,
}
