//! Kokoro's voices: a table of styles each, of which the row is taken that fits the number of tokens, and a language
//! that the voice's first letter tells.

use std::collections::BTreeSet;
use std::path::Path;

use super::config::KokoroConfig;
use super::table;
use crate::backend::LoadError;
use crate::backend::onnx_voice::files::{invalid, missing};
use crate::engine::tts::OPENAI_VOICES;

/// Numbers of a style.
pub(super) const STYLE: usize = 256;
/// Bytes of it.
const ROW_BYTES: u64 = 4 * STYLE as u64;
/// The most rows of a table; Kokoro's have 510.
const MAX_ROWS: u64 = 4_096;

/// The voice that its authors grade best.
const BEST: &str = "af_heart";

/// Kokoro's voice for each of OpenAI's names, in their order: of the same name where there is one.
const OPENAI: [&str; 13] = [
    "af_alloy",
    "am_michael",
    "bm_george",
    "am_fenrir",
    "af_bella",
    "am_echo",
    "bm_fable",
    "af_heart",
    "af_nova",
    "am_onyx",
    "af_sarah",
    "af_sky",
    "am_puck",
];

/// What a voice speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Language {
    American,
    British,
    Spanish,
    French,
    Hindi,
    Italian,
    Japanese,
    Portuguese,
    Mandarin,
}

impl Language {
    /// Of the voice `name`; the first letter says it.
    fn of(name: &str) -> Option<Self> {
        let mut letters = name.chars();
        let language = match letters.next()? {
            'a' => Self::American,
            'b' => Self::British,
            'e' => Self::Spanish,
            'f' => Self::French,
            'h' => Self::Hindi,
            'i' => Self::Italian,
            'j' => Self::Japanese,
            'p' => Self::Portuguese,
            'z' => Self::Mandarin,
            _ => return None,
        };
        // The second tells the sex, then comes a line: `af_heart`.
        (letters.nth(1) == Some('_')).then_some(language)
    }

    /// As espeak-ng names it.
    pub(super) fn espeak(self) -> &'static str {
        match self {
            Self::American => "en-us",
            Self::British => "en-gb",
            Self::Spanish => "es",
            Self::French => "fr-fr",
            Self::Hindi => "hi",
            Self::Italian => "it",
            Self::Japanese => "ja",
            Self::Portuguese => "pt-br",
            Self::Mandarin => "cmn",
        }
    }

    /// ISO 639-1.
    fn code(self) -> &'static str {
        match self {
            Self::American | Self::British => "en",
            Self::French => "fr",
            Self::Portuguese => "pt",
            Self::Mandarin => "zh",
            other => other.espeak(),
        }
    }
}

/// A voice.
#[derive(Debug)]
struct Style {
    name: String,
    language: Language,
    table: Vec<f32>,
}

/// All voices, by name.
#[derive(Debug)]
pub(super) struct Styles {
    voices: Vec<Style>,
    default: usize,
}

impl Styles {
    /// Reads the voices that `config` names. `speaks` says whether the phonemizer has a language.
    pub(super) fn read(
        config: &KokoroConfig,
        speaks: impl Fn(Language) -> Result<bool, LoadError>,
    ) -> Result<Self, LoadError> {
        let (engine, path) = (config.name.as_str(), config.voices_path());
        std::fs::metadata(&path).map_err(|error| missing(engine, &path, &error))?;
        let tables = table::read(&path).map_err(|reason| invalid(engine, &path, reason))?;
        let mut voices = Vec::new();
        for (name, table) in tables {
            let rows = table.len() as u64 * 4 / ROW_BYTES;
            if table.len() % STYLE != 0 || !(1..=MAX_ROWS).contains(&rows) {
                let reason = format!("the voice `{name}` has {} numbers, not 510 rows of 256", table.len());
                return Err(invalid(engine, &path, reason));
            }
            match Language::of(&name) {
                Some(language) => voices.push(Style { name, language, table }),
                None => tracing::warn!(engine, voice = name, "its first letter names no language; left out"),
            }
        }
        voices.sort_by(|one, other| one.name.cmp(&other.name));
        let spoken: BTreeSet<Language> = voices.iter().map(|voice| voice.language).collect();
        for language in spoken {
            if !speaks(language)? {
                let language = language.espeak();
                tracing::warn!(
                    engine,
                    language,
                    "espeak-ng does not have this language; its voices are left out"
                );
                voices.retain(|voice| voice.language.espeak() != language);
            }
        }
        Self::new(config, voices)
            .map_err(|reason| reason.unwrap_or_else(|reason| invalid(engine, &path, reason)))
    }

    fn new(config: &KokoroConfig, voices: Vec<Style>) -> Result<Self, Result<LoadError, String>> {
        if voices.is_empty() {
            return Err(Err("it holds no voice, as `af_heart.bin` is one".into()));
        }
        let place = |name: &str| voices.iter().position(|voice| voice.name == name);
        let wanted = config.voice.as_deref().unwrap_or(BEST);
        let default = match (place(wanted), &config.voice) {
            (Some(place), _) => place,
            (None, None) => 0,
            (None, Some(name)) => {
                let names: Vec<&str> = voices.iter().map(|voice| voice.name.as_str()).collect();
                return Err(Ok(LoadError::Config {
                    key: format!("tts.{}.voice", config.name),
                    value: name.clone(),
                    reason: format!("there are these voices: {}", names.join(", ")),
                }));
            }
        };
        Ok(Self { voices, default })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.voices.iter().map(|voice| voice.name.clone()).collect()
    }

    pub(super) fn language_codes(&self) -> Vec<String> {
        let codes: BTreeSet<&str> = self.voices.iter().map(|voice| voice.language.code()).collect();
        codes.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn language(&self, voice: usize) -> Language {
        self.voices[voice].language
    }

    /// The place of the voice `name`. Where the operator named a voice, OpenAI's first name is that one; else each of
    /// OpenAI's names has its own.
    pub(super) fn resolve(&self, name: &str) -> usize {
        let place = |name: &str| self.voices.iter().position(|voice| voice.name == name);
        let openai = || OPENAI_VOICES.iter().position(|openai| openai.eq_ignore_ascii_case(name));
        let own = || openai().and_then(|at| place(OPENAI[at]));
        let is_english =
            |at: &usize| self.voices[*at].language.code() == self.voices[self.default].language.code();
        place(name).or_else(|| own().filter(is_english)).unwrap_or(self.default)
    }

    /// The style of `voice` for so many tokens without their pads: the row before, as in Kokoro's own pipeline.
    pub(super) fn row(&self, voice: usize, tokens: usize) -> &[f32] {
        let table = &self.voices[voice].table;
        let row = tokens.clamp(1, table.len() / STYLE) - 1;
        &table[row * STYLE..(row + 1) * STYLE]
    }
}

/// Bytes that the voices take in memory: what their files have.
pub(super) fn style_bytes(path: &Path) -> u64 {
    let len = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| len(&entry.path())).sum(),
        Err(_) => len(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn styles(names: &[&str], voice: Option<&str>) -> Result<Styles, Result<LoadError, String>> {
        let style = |name: &&str| Style {
            name: (*name).to_owned(),
            language: Language::of(name).expect("a language"),
            table: (0..3 * STYLE).map(|at| (at / STYLE) as f32).collect(),
        };
        let config = KokoroConfig { voice: voice.map(str::to_owned), ..KokoroConfig::default() };
        Styles::new(&config, names.iter().map(style).collect())
    }

    #[test]
    fn names_lead_to_voices_of_the_default_language() {
        let all = ["af_alloy", "af_heart", "am_onyx", "ef_dora"];
        let styles = styles(&all, None).expect("a default");
        let table =
            [("alloy", 0), ("Onyx", 2), ("marin", 1), ("coral", 1), ("ef_dora", 3), ("nobody", 1), ("", 1)];
        for (name, expected) in table {
            assert_eq!(styles.resolve(name), expected, "{name:?}");
        }
        assert_eq!(styles.language_codes(), ["en", "es"]);
        assert_eq!(styles.language(3).espeak(), "es");
        let spanish = super::tests::styles(&all, Some("ef_dora")).expect("it is there");
        assert_eq!([spanish.resolve("alloy"), spanish.resolve("am_onyx")], [3, 2]);
    }

    #[test]
    fn a_row_for_each_number_of_tokens() {
        let styles = styles(&["af_heart"], None).expect("a default");
        for (tokens, row) in [(0, 0.0), (1, 0.0), (2, 1.0), (3, 2.0), (510, 2.0)] {
            assert_eq!(styles.row(0, tokens), [row; STYLE], "{tokens}");
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        assert!(matches!(styles(&[], None), Err(Err(reason)) if reason.contains("af_heart.bin")));
        let error = styles(&["af_heart"], Some("af_hart"));
        assert!(matches!(error, Err(Ok(LoadError::Config { reason, .. })) if reason.contains("af_heart")));
        assert_eq!(["xf_a", "af", "a", "", "english"].map(Language::of), [None; 5]);
    }
}
