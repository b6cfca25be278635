//! What engines tell of their models. Knows the traits and no backend.

use crate::engine::llm::LlmEngine;
use crate::engine::model::{ModelInfo, ModelKind};
use crate::engine::stt::SttEngine;
use crate::engine::tts::TtsEngine;
use crate::engine::{Device, EngineProcess};

/// An engine that says what its model is.
pub(super) trait Described {
    /// Its model, under the name that the operator gave it.
    fn describe(&self, name: &str) -> ModelInfo;

    /// The process that it runs in, where that is not this one.
    fn process_of(&self) -> Option<EngineProcess>;

    /// Where it computes.
    fn device_of(&self) -> Device;
}

impl Described for dyn SttEngine {
    fn describe(&self, name: &str) -> ModelInfo {
        let (kind, languages) = (ModelKind::SpeechToText, self.languages());
        let (word_times, device) = (self.tells_word_times(), Some(self.device()));
        ModelInfo { name: name.to_owned(), kind, languages, voices: Vec::new(), word_times, device }
    }

    fn process_of(&self) -> Option<EngineProcess> {
        self.process()
    }

    fn device_of(&self) -> Device {
        self.device()
    }
}

impl Described for dyn LlmEngine {
    fn describe(&self, name: &str) -> ModelInfo {
        let (kind, name) = (ModelKind::LanguageModel, name.to_owned());
        let device = Some(self.device());
        ModelInfo { name, kind, languages: Vec::new(), voices: Vec::new(), word_times: false, device }
    }

    fn process_of(&self) -> Option<EngineProcess> {
        self.process()
    }

    fn device_of(&self) -> Device {
        self.device()
    }
}

impl Described for dyn TtsEngine {
    fn describe(&self, name: &str) -> ModelInfo {
        let (kind, name) = (ModelKind::TextToSpeech, name.to_owned());
        let (languages, voices, device) = (self.languages(), self.voices(), Some(self.device()));
        ModelInfo { name, kind, languages, voices, word_times: false, device }
    }

    fn process_of(&self) -> Option<EngineProcess> {
        self.process()
    }

    fn device_of(&self) -> Device {
        self.device()
    }
}
