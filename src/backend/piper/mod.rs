//! Text-to-speech by Piper's voices: VITS graphs in ONNX Runtime, each with a settings file beside it, that are given
//! ids of espeak-ng's phonemes.
//!
//! What a graph is given follows `piper-tts` 1.8 (`phonemize_espeak.py`, `phoneme_ids.py`, `voice.py`) and is tested
//! against what that package makes of the same sentences. Read [`PiperTts`] first, then `voice`.

mod config;
mod graph;
mod voice;

pub use config::PiperConfig;

use std::path::Path;
use std::sync::Arc;

use self::graph::Graph;
use self::voice::Voice;
use super::LoadError;
use super::onnx;
use super::onnx_voice::{Manner, OnnxVoice, Steps, Utterance, bearable, words};
use super::phonemes::{Marks, Phonemizer, Script};
use crate::engine::compute::ComputeGate;
use crate::engine::tts::{OPENAI_VOICES, TtsEngine, TtsEvent, TtsRequest};
use crate::engine::{CancelFlag, Device, EngineError, EngineStream};

/// A voice of Piper's.
#[derive(Debug)]
pub struct PiperTts {
    voices: OnnxVoice,
    speaker: Arc<Speaker>,
}

/// What makes phoneme ids of text.
#[derive(Debug)]
struct Speaker {
    engine: String,
    phonemizer: Phonemizer,
    voice: Voice,
}

impl PiperTts {
    /// Loads the graph once for each slot. `library` is ONNX Runtime's; on a GPU, each part of a call
    /// enters `gate` first.
    pub fn load(config: &PiperConfig, library: &Path, gate: Arc<dyn ComputeGate>) -> Result<Self, LoadError> {
        let engine = config.name.as_str();
        let voice = Voice::read(config)?;
        let phonemizer = Phonemizer::new(engine, config.program.clone(), None);
        if voice.is_espeak && !phonemizer.speaks(&voice.language)? {
            let reason =
                format!("it names espeak-ng's voice `{}`, which espeak-ng does not have", voice.language);
            return Err(super::onnx_voice::files::invalid(engine, &config.settings_path(), reason));
        }
        let device = onnx::settle_for(engine, library, config.device);
        let graphs: Result<Vec<Graph>, LoadError> =
            (0..config.slots).map(|_| Graph::load(config, (library, device), &voice)).collect();
        let voices = OnnxVoice::start(engine, voice.sample_rate, graphs?, &Steps { device, gate })?;
        let speaker = Speaker { engine: engine.to_owned(), phonemizer, voice };
        Ok(Self { voices, speaker: Arc::new(speaker) })
    }
}

impl TtsEngine for PiperTts {
    fn synthesize(&self, request: TtsRequest, cancel: CancelFlag) -> EngineStream<TtsEvent> {
        let speaker = Arc::clone(&self.speaker);
        let manner = Manner { voice: speaker.voice.resolve(&request.voice), speed: bearable(request.speed) };
        let utterance = Box::pin(async move { speaker.utterance(&request.text).await });
        self.voices.speak(utterance, manner, cancel)
    }

    fn voices(&self) -> Vec<String> {
        let own = self.speaker.voice.names();
        OPENAI_VOICES.into_iter().map(str::to_owned).chain(own).collect()
    }

    fn device(&self) -> Device {
        self.voices.device()
    }

    fn languages(&self) -> Vec<String> {
        vec![self.speaker.voice.language_code()]
    }
}

impl Speaker {
    async fn utterance(&self, text: &str) -> Result<Utterance, EngineError> {
        let words = words(&self.engine, text)?;
        let utterance = if self.voice.is_espeak {
            let script = Script::new(&words, Marks::PIPER);
            let heard = self.phonemizer.sound_out(&script, &self.voice.language).await?;
            Utterance::new(words, &script, &heard, &self.voice)
        } else {
            let script = Script::new(&words, Marks::NONE);
            let heard: Vec<Vec<String>> = script.segments().iter().map(letters).collect();
            Utterance::new(words, &script, &heard, &self.voice)
        };
        self.voice.tell_unknown(&self.engine);
        Ok(utterance)
    }
}

/// A voice of the type "text" is given letters.
fn letters(segment: &super::phonemes::Segment) -> Vec<String> {
    segment.text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
