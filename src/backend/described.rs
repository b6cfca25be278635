//! What engines tell of their models. Knows the traits and no backend.

use crate::engine::EngineProcess;
use crate::engine::llm::LlmEngine;
use crate::engine::model::{ModelInfo, ModelKind};
use crate::engine::stt::SttEngine;
use crate::engine::tts::TtsEngine;

/// An engine that says what its model is.
pub(super) trait Described {
    /// Its model, under the name that the operator gave it.
    fn describe(&self, name: &str) -> ModelInfo;

    /// The process that it runs in, where that is not this one.
    fn process_of(&self) -> Option<EngineProcess>;
}

impl Described for dyn SttEngine {
    fn describe(&self, name: &str) -> ModelInfo {
        let (kind, languages) = (ModelKind::SpeechToText, self.languages());
        ModelInfo {
            name: name.to_owned(),
            kind,
            languages,
            voices: Vec::new(),
            word_times: self.tells_word_times(),
        }
    }

    fn process_of(&self) -> Option<EngineProcess> {
        self.process()
    }
}

impl Described for dyn LlmEngine {
    fn describe(&self, name: &str) -> ModelInfo {
        let (kind, name) = (ModelKind::LanguageModel, name.to_owned());
        ModelInfo { name, kind, languages: Vec::new(), voices: Vec::new(), word_times: false }
    }

    fn process_of(&self) -> Option<EngineProcess> {
        self.process()
    }
}

impl Described for dyn TtsEngine {
    fn describe(&self, name: &str) -> ModelInfo {
        let (kind, name) = (ModelKind::TextToSpeech, name.to_owned());
        ModelInfo { name, kind, languages: self.languages(), voices: self.voices(), word_times: false }
    }

    fn process_of(&self) -> Option<EngineProcess> {
        self.process()
    }
}
