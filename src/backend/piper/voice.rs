//! A voice's settings file: its phonemes' ids, its speakers, its pace. Pure but for reading the file.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use super::config::PiperConfig;
use crate::backend::LoadError;
use crate::backend::onnx_voice::Dialect;
use crate::backend::onnx_voice::files::{invalid, json};
use crate::engine::tts::OPENAI_VOICES;

/// Stands behind each phoneme.
const PAD: &str = "_";
/// Begin and end of a sentence.
const BEGIN: &str = "^";
const END: &str = "$";
/// Phonemes and marks of a part, at most: about half a minute of speech. The encoder compares each with each.
const MAX_PHONEMES: usize = 400;

/// The file as it is written.
#[derive(Debug, Deserialize)]
struct Settings {
    audio: Audio,
    #[serde(default)]
    espeak: Espeak,
    #[serde(default)]
    inference: Inference,
    #[serde(default)]
    phoneme_type: Option<String>,
    phoneme_id_map: HashMap<String, Vec<i64>>,
    #[serde(default)]
    num_speakers: usize,
    #[serde(default)]
    speaker_id_map: HashMap<String, usize>,
    #[serde(default)]
    default_speaker_id: usize,
    #[serde(default)]
    vowel_clusters: Vec<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Audio {
    sample_rate: u32,
}

#[derive(Debug, Default, Deserialize)]
struct Espeak {
    voice: String,
}

#[derive(Debug, Default, Deserialize)]
struct Inference {
    noise_scale: Option<f32>,
    length_scale: Option<f32>,
    noise_w: Option<f32>,
}

/// How a graph speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scales {
    pub(super) noise: f32,
    pub(super) length: f32,
    pub(super) noise_w: f32,
}

/// A voice.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) sample_rate: u32,
    /// It is given espeak-ng's phonemes; otherwise letters.
    pub(super) is_espeak: bool,
    /// As espeak-ng names it.
    pub(super) language: String,
    pub(super) scales: Scales,
    ids: HashMap<String, Vec<i64>>,
    clusters: Vec<Vec<String>>,
    /// Names of its speakers by their ids; one where there is one.
    speakers: Vec<(String, usize)>,
    count: usize,
    default: usize,
    unknown: AtomicU64,
    told: AtomicU64,
}

impl Voice {
    pub(super) fn read(config: &PiperConfig) -> Result<Self, LoadError> {
        let (engine, path) = (config.name.as_str(), config.settings_path());
        let wrong = |reason: String| invalid(engine, &path, reason);
        let settings: Settings =
            serde_json::from_value(json(engine, &path)?).map_err(|error| wrong(error.to_string()))?;
        for needed in [PAD, BEGIN, END] {
            if settings.phoneme_id_map.get(needed).is_none_or(Vec::is_empty) {
                return Err(wrong(format!("its `phoneme_id_map` has no `{needed}`")));
            }
        }
        if !(8_000..=48_000).contains(&settings.audio.sample_rate) {
            let rate = settings.audio.sample_rate;
            return Err(wrong(format!("its sample rate is {rate}, allowed are 8000 to 48000 Hz")));
        }
        let is_espeak = match settings.phoneme_type.as_deref() {
            None | Some("espeak") => true,
            Some("text") => false,
            Some(other) => {
                return Err(wrong(format!(
                    "its phonemes are of the type `{other}`; taken are `espeak` and `text`"
                )));
            }
        };
        let voice = Self::new(settings, config, is_espeak);
        match &config.voice {
            Some(name) if !voice.speakers.iter().any(|(speaker, _)| speaker == name) => {
                Err(LoadError::Config {
                    key: format!("tts.{engine}.voice"),
                    value: name.clone(),
                    reason: format!("the voice has these speakers: {}", voice.names().join(", ")),
                })
            }
            _ => Ok(voice),
        }
    }

    fn new(settings: Settings, config: &PiperConfig, is_espeak: bool) -> Self {
        let mut speakers: Vec<(String, usize)> = settings.speaker_id_map.into_iter().collect();
        speakers.sort_by_key(|(_, id)| *id);
        if speakers.is_empty() {
            let stem = config.model.file_stem().unwrap_or_default().to_string_lossy();
            speakers.push((stem.into_owned(), 0));
        }
        let own = |name: &String| speakers.iter().find(|(speaker, _)| speaker == name).map(|(_, id)| *id);
        let count = settings.num_speakers.max(1);
        let default = config.voice.as_ref().and_then(own).unwrap_or(settings.default_speaker_id);
        let inference = settings.inference;
        Self {
            sample_rate: settings.audio.sample_rate,
            is_espeak,
            language: settings.espeak.voice,
            scales: Scales {
                noise: config.noise_scale.or(inference.noise_scale).unwrap_or(0.667),
                length: config.length_scale.or(inference.length_scale).unwrap_or(1.0),
                noise_w: config.noise_w.or(inference.noise_w).unwrap_or(0.8),
            },
            ids: settings.phoneme_id_map,
            clusters: settings.vowel_clusters.into_iter().filter(|cluster| cluster.len() > 1).collect(),
            default: default.min(count - 1),
            speakers,
            count,
            unknown: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    pub(super) fn has_speakers(&self) -> bool {
        self.count > 1
    }

    /// The speakers' names, in the order of their ids.
    pub(super) fn names(&self) -> Vec<String> {
        self.speakers.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The speaker's id for the voice `name`: a speaker of that name; one of OpenAI's names is a speaker each, from
    /// the default on, as far as there are; else the default.
    pub(super) fn resolve(&self, name: &str) -> usize {
        let own = self.speakers.iter().find(|(speaker, _)| speaker == name).map(|(_, id)| *id);
        let openai = || OPENAI_VOICES.iter().position(|openai| openai.eq_ignore_ascii_case(name));
        let id = own.or_else(|| openai().map(|at| (self.default + at) % self.count));
        id.filter(|id| *id < self.count).unwrap_or(self.default)
    }

    /// ISO 639-1, as far as espeak-ng's names are.
    pub(super) fn language_code(&self) -> String {
        match self.language.split('-').next().unwrap_or_default() {
            "cmn" => "zh".to_owned(),
            code => code.to_owned(),
        }
    }

    /// Ids of a short sound, to try a graph with.
    pub(super) fn trial(&self) -> Vec<i64> {
        let (begin, end) = self.frame();
        begin.into_iter().chain(self.ids("a")).chain(end).collect()
    }

    /// Phonemes that were passed over.
    #[cfg(test)]
    pub(super) fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Says once more often, but ever more rarely, that phonemes are passed over.
    pub(super) fn tell_unknown(&self, engine: &str) {
        let unknown = self.unknown.load(Ordering::Relaxed);
        let told = self.told.load(Ordering::Relaxed);
        if unknown > told.saturating_mul(10) {
            self.told.store(unknown, Ordering::Relaxed);
            tracing::warn!(engine, unknown, "phonemes that the voice does not know were passed over");
        }
    }
}

impl Dialect for Voice {
    /// Code points in canonical decomposition, but for clusters that have an id of their own.
    fn sound(&self, group: &str) -> Vec<String> {
        let points: Vec<String> = group.nfd().map(String::from).collect();
        let mut sound = Vec::with_capacity(points.len());
        let mut rest = points.as_slice();
        while let Some(first) = rest.first() {
            let longest =
                self.clusters.iter().filter(|cluster| rest.starts_with(cluster)).max_by_key(|c| c.len());
            let len = longest.map_or(1, Vec::len);
            sound.push(longest.map_or_else(|| first.clone(), |cluster| cluster.concat()));
            rest = &rest[len..];
        }
        sound
    }

    /// espeak-ng's terminator of the clause.
    fn gap(&self, gap: &str, _at_end: bool) -> String {
        let mark = gap.chars().find_map(|mark| match mark {
            '.' | '…' | '。' | '।' => Some("."),
            '!' | '！' => Some("!"),
            '?' | '？' | '؟' => Some("?"),
            ',' | '，' | '、' | '،' => Some(", "),
            ';' | '；' | '—' | '–' => Some("; "),
            ':' | '：' => Some(": "),
            _ => None,
        });
        mark.unwrap_or_default().to_owned()
    }

    fn ids(&self, phoneme: &str) -> Vec<i64> {
        match self.ids.get(phoneme) {
            Some(ids) => ids.iter().chain(&self.ids[PAD]).copied().collect(),
            None => {
                self.unknown.fetch_add(1, Ordering::Relaxed);
                Vec::new()
            }
        }
    }

    fn frame(&self) -> (Vec<i64>, Vec<i64>) {
        (self.ids[BEGIN].iter().chain(&self.ids[PAD]).copied().collect(), self.ids[END].clone())
    }

    fn limit(&self) -> usize {
        MAX_PHONEMES
    }
}
