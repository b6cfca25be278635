//! Text-to-speech by Kokoro v1: one graph in ONNX Runtime that is given phoneme ids and a style, of which there is a
//! table for each voice. One instance speaks all languages of its voices.
//!
//! Exports by the hub's onnx-community and by kokoro-onnx are taken: names and types of inputs are read from the
//! graph. Phonemes are espeak-ng's, mapped as `misaki` 0.9 maps them (`sounds`), which the tests compare; misaki's own
//! dictionaries for English, Japanese and Chinese are not here. Read [`KokoroTts`] first, then `styles`.

mod config;
mod graph;
mod sounds;
mod styles;
mod table;
mod vocabulary;

pub use config::KokoroConfig;

use std::path::Path;
use std::sync::Arc;

use self::graph::Graph;
use self::styles::{Language, Styles};
use self::vocabulary::{Tongue, Vocabulary};
use super::LoadError;
use super::onnx;
use super::onnx_voice::{Manner, OnnxVoice, Steps, Utterance, bearable, words};
use super::phonemes::{Marks, Phonemizer, Script};
use crate::engine::compute::ComputeGate;
use crate::engine::tts::{OPENAI_VOICES, TtsEngine, TtsEvent, TtsRequest};
use crate::engine::{CancelFlag, Device, EngineError, EngineStream};

/// What Kokoro speaks at.
const SAMPLE_RATE: u32 = 24_000;

/// Kokoro and its voices.
#[derive(Debug)]
pub struct KokoroTts {
    voices: OnnxVoice,
    speaker: Arc<Speaker>,
}

/// What makes token ids of text.
#[derive(Debug)]
struct Speaker {
    engine: String,
    phonemizer: Phonemizer,
    vocabulary: Vocabulary,
    styles: Arc<Styles>,
}

impl KokoroTts {
    /// Loads the graph once for each slot, and all voices. `library` is ONNX Runtime's; on a GPU, each part of a call
    /// enters `gate` first.
    pub fn load(
        config: &KokoroConfig,
        library: &Path,
        gate: Arc<dyn ComputeGate>,
    ) -> Result<Self, LoadError> {
        let engine = config.name.as_str();
        let vocabulary = Vocabulary::find(engine, &config.model)?;
        let phonemizer = Phonemizer::new(engine, config.program.clone(), Some("--tie=^"));
        let styles = Arc::new(Styles::read(config, |language| phonemizer.speaks(language.espeak()))?);
        let device = onnx::settle_for(engine, library, config.device);
        let load = |_| Graph::load(config, (library, device), Arc::clone(&styles));
        let graphs: Result<Vec<Graph>, LoadError> = (0..config.slots).map(load).collect();
        let voices = OnnxVoice::start(engine, SAMPLE_RATE, graphs?, &Steps { device, gate })?;
        let speaker = Speaker { engine: engine.to_owned(), phonemizer, vocabulary, styles };
        Ok(Self { voices, speaker: Arc::new(speaker) })
    }
}

impl TtsEngine for KokoroTts {
    fn synthesize(&self, request: TtsRequest, cancel: CancelFlag) -> EngineStream<TtsEvent> {
        let speaker = Arc::clone(&self.speaker);
        let voice = speaker.styles.resolve(&request.voice);
        let manner = Manner { voice, speed: bearable(request.speed) };
        let language = speaker.styles.language(voice);
        let utterance = Box::pin(async move { speaker.utterance(&request.text, language).await });
        self.voices.speak(utterance, manner, cancel)
    }

    fn voices(&self) -> Vec<String> {
        OPENAI_VOICES.into_iter().map(str::to_owned).chain(self.speaker.styles.names()).collect()
    }

    fn device(&self) -> Device {
        self.voices.device()
    }

    fn languages(&self) -> Vec<String> {
        self.speaker.styles.language_codes()
    }
}

impl Speaker {
    async fn utterance(&self, text: &str, language: Language) -> Result<Utterance, EngineError> {
        let words = words(&self.engine, text)?;
        let script = Script::new(&words, Marks::KOKORO);
        let heard = self.phonemizer.sound_out(&script, language.espeak()).await?;
        Ok(Utterance::new(words, &script, &heard, &Tongue { vocabulary: &self.vocabulary, language }))
    }
}

#[cfg(test)]
mod tests;
