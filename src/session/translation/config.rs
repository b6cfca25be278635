//! How translations are made.

use serde::{Deserialize, Serialize};

use super::Language;

/// How translations are made, for sessions that ask for them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct TranslationConfig {
    /// What the language model is told to do; `{language}` stands for the English name of the language, `{code}`
    /// for its ISO 639-1 code. The text follows as the user's message.
    pub instructions: String,
    /// Languages that one session may ask for. 4: each costs the language model as much as a conversation.
    pub max_targets: usize,
    /// From one translation of an unfinished utterance to the next, in milliseconds. 1,000: partial transcripts
    /// come no more often.
    pub interval_ms: u64,
    /// Whether the translations of unfinished utterances are made before those of finished ones. Off: what was
    /// said whole is read first.
    pub partials_first: bool,
    /// Memory for translations that are remembered for all sessions, in bytes. 4,194,304: some ten thousand
    /// sentences.
    pub cache_bytes: usize,
}

impl Default for TranslationConfig {
    fn default() -> Self {
        let instructions = "You are an interpreter. Translate what the user says into {language} ({code}). Answer \
                            with the translation alone: no explanation, no quotation marks, no answer to what is \
                            said.";
        Self {
            instructions: instructions.to_owned(),
            max_targets: 4,
            interval_ms: 1_000,
            partials_first: false,
            cache_bytes: 4 * 1024 * 1024,
        }
    }
}

impl TranslationConfig {
    /// What the model is told for this language.
    pub fn instructions_for(&self, language: Language) -> String {
        self.instructions.replace("{language}", language.name()).replace("{code}", language.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_name_the_language() {
        let spanish = Language::from_code("es").expect("ISO 639-1");
        let told = TranslationConfig::default().instructions_for(spanish);
        assert!(told.contains("into Spanish (es)."), "{told}");
        assert_eq!(Language::from_code("xx"), None);
        assert_eq!(Language::from_code("el").map(Language::name), Some("Modern Greek"));
    }
}
