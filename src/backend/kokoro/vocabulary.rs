//! Kokoro's tokens: which phonemes and marks have ids. Pure but for reading the file.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::sounds::sounds;
use super::styles::Language;
use crate::backend::LoadError;
use crate::backend::onnx_voice::Dialect;
use crate::backend::onnx_voice::files::{invalid, json};

/// That of Kokoro v1.0, from the `config.json` that is published with it.
const V1: &str = include_str!("vocabulary.json");
/// Tokens of a call, at most: the graph has 512 places, two of which are pads.
const MAX_TOKENS: usize = 510;
const PAD: i64 = 0;

/// Ids of phonemes and marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vocabulary {
    ids: HashMap<String, i64>,
}

impl Vocabulary {
    /// That of the model: `config.json` (`vocab`) or `tokenizer.json` (`model.vocab`) beside the graph or in the folder
    /// above; where neither has one, that of v1.0.
    pub(super) fn find(engine: &str, model: &Path) -> Result<Self, LoadError> {
        let folder = model.parent().unwrap_or_else(|| "".as_ref());
        for folder in [Some(folder), folder.parent()].into_iter().flatten() {
            for (name, pointer) in [("config.json", "/vocab"), ("tokenizer.json", "/model/vocab")] {
                let path = folder.join(name);
                if !path.is_file() {
                    continue;
                }
                if let Some(vocabulary) = json(engine, &path)?.pointer(pointer) {
                    return Self::of(vocabulary).map_err(|reason| invalid(engine, &path, reason));
                }
            }
        }
        let v1 = serde_json::from_str(V1).map_err(|error| error.to_string()).and_then(|v1| Self::of(&v1));
        v1.map_err(|reason| invalid(engine, model, reason))
    }

    fn of(vocabulary: &Value) -> Result<Self, String> {
        let ids: HashMap<String, i64> = serde_json::from_value(vocabulary.clone())
            .map_err(|error| format!("its vocabulary is no table of ids: {error}"))?;
        if !ids.contains_key("ə") || ids.values().any(|id| *id < 0) {
            return Err("its vocabulary is none of phonemes".into());
        }
        Ok(Self { ids })
    }
}

/// The vocabulary in one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tongue<'a> {
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) language: Language,
}

impl Dialect for Tongue<'_> {
    fn sound(&self, group: &str) -> Vec<String> {
        sounds(group, self.language).chars().map(String::from).collect()
    }

    /// The marks as written, in the forms that the vocabulary has.
    fn gap(&self, gap: &str, at_end: bool) -> String {
        let marks: String = gap
            .chars()
            .map(|mark| match mark {
                '。' | '।' => '.',
                '！' => '!',
                '？' | '؟' => '?',
                '，' | '、' | '،' => ',',
                '；' => ';',
                '：' => ':',
                '«' | '„' => '“',
                '»' => '”',
                '–' => '—',
                mark => mark,
            })
            .collect();
        if at_end { marks.trim_end().to_owned() } else { marks }
    }

    fn ids(&self, phoneme: &str) -> Vec<i64> {
        self.vocabulary.ids.get(phoneme).copied().into_iter().collect()
    }

    fn frame(&self) -> (Vec<i64>, Vec<i64>) {
        (vec![PAD], vec![PAD])
    }

    fn limit(&self) -> usize {
        MAX_TOKENS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_own_vocabulary_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("onnx/model.onnx");
        std::fs::create_dir(folder.path().join("onnx")).expect("a folder");
        let v1 = Vocabulary::find("kokoro", &model).expect("the built-in one");
        assert_eq!((v1.ids["ə"], v1.ids["—"], v1.ids.len()), (83, 9, 114));
        std::fs::write(folder.path().join("config.json"), r#"{"model_type": "style_text_to_speech_2"}"#)
            .expect("written");
        assert_eq!(Vocabulary::find("kokoro", &model), Ok(v1));
        let own = r#"{"model": {"vocab": {"$": 0, "ə": 7}}}"#;
        std::fs::write(folder.path().join("tokenizer.json"), own).expect("written");
        assert_eq!(Vocabulary::find("kokoro", &model).expect("its own").ids["ə"], 7);
        std::fs::write(folder.path().join("config.json"), r#"{"vocab": {"hello": 1}}"#).expect("written");
        let error = Vocabulary::find("kokoro", &model).expect_err("no phonemes").to_string();
        assert!(error.contains("config.json") && error.contains("none of phonemes"), "{error}");
    }

    #[test]
    fn marks_have_the_forms_that_it_knows() {
        let vocabulary =
            Vocabulary::find("kokoro", Path::new("/nowhere/model.onnx")).expect("the built-in one");
        let tongue = Tongue { vocabulary: &vocabulary, language: Language::American };
        assert_eq!(tongue.gap("。» ", true), ".”");
        assert_eq!(tongue.gap(", ", false), ", ");
        assert_eq!(tongue.ids("語"), [0_i64; 0]);
    }
}
