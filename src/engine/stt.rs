//! Speech to text.

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CancelFlag, Device, EngineFuture, EngineProcess};

/// The sample rate of all audio given to speech-to-text and voice activity: what Whisper and Silero take.
pub const STT_SAMPLE_RATE: u32 = 16_000;

/// Turns one utterance into text.
pub trait SttEngine: Send + Sync + Debug {
    /// Transcribes the whole of `request.audio`.
    fn transcribe(&self, request: SttRequest, cancel: CancelFlag) -> EngineFuture<Transcript>;

    /// Whether the endpoint that it stands for answers at all, at less than the cost of a call; `None` where it stands
    /// for none.
    fn reach(&self, _cancel: CancelFlag) -> Option<EngineFuture<()>> {
        None
    }

    /// ISO 639-1 codes of the languages that it understands; empty where it cannot tell.
    fn languages(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it tells when each word was said, to requests that ask.
    fn tells_word_times(&self) -> bool {
        false
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

/// One utterance to transcribe.
#[derive(Clone, Debug)]
pub struct SttRequest {
    /// 16 kHz mono samples in [-1, 1].
    pub audio: Arc<[f32]>,
    /// ISO 639-1 code, or `None` to let the engine decide.
    pub language: Option<String>,
    /// Words that the speaker is likely to say: names, terms.
    pub prompt: Option<String>,
    /// Whether the times of its words are wanted; engines that do not know them tell none.
    pub word_times: bool,
}

/// What was said.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Transcript {
    /// The text with the engine's punctuation, trimmed. Empty where there was no speech.
    pub text: String,
    /// ISO 639-1 code of the language that the engine heard, where it says.
    pub language: Option<String>,
    /// Probability in [0, 1] that the audio held no speech at all, where the engine says.
    pub no_speech_probability: Option<f32>,
    /// The tokens of the text and how sure the engine is of each; empty where it does not say.
    pub tokens: Vec<TokenLogprob>,
    /// When each word was said; empty where that was not asked for, or the engine does not know. Joined by spaces, the
    /// words are the text; their times go up and lie within the audio.
    pub words: Vec<HeardWord>,
    /// What a guard against invented text did to it; `None` where it stands as the model wrote it.
    pub guarded: Option<Guarded>,
}

/// A word of a transcript and when it was said.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct HeardWord {
    /// The word with the punctuation that stands at it.
    pub text: String,
    /// Milliseconds from the first sample to its begin.
    pub start_ms: u32,
    /// Milliseconds from the first sample to its end.
    pub end_ms: u32,
}

/// What a guard against invented text found. Recognisers write sentences into silence, and repeat themselves.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarded {
    /// The audio holds too little voice for any word: the text was dropped.
    NothingSaid,
    /// The model holds the audio for no speech and is unsure of its text: the text was dropped.
    NoSpeech,
    /// The model repeated itself: one copy is left.
    Repetition,
}

impl Guarded {
    /// The word that people and metrics read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingSaid => "nothing_said",
            Self::NoSpeech => "no_speech",
            Self::Repetition => "repetition",
        }
    }
}

/// A token of a transcript.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct TokenLogprob {
    /// Its UTF-8 bytes; a token may hold only a part of a sign.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}
