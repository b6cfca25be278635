//! The catalogue: which models there are by name. Pure: texts in, entries or what is wrong with them out.
//!
//! The built-in one is `models/manifest.toml`; a file of the user's own may add models or replace them. Read
//! [`Catalogue`] first.

mod check;
mod source;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::Sha256Hex;

pub use source::Source;

/// Models and bundles by name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Models, in the order in which people read them.
    #[serde(default, rename = "model")]
    pub models: Vec<Model>,
    /// Sets of models that make a whole server.
    #[serde(default, rename = "bundle")]
    pub bundles: Vec<Bundle>,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Speech-to-text.
    Stt,
    /// A language model.
    Llm,
    /// Text-to-speech.
    Tts,
    /// Voice activity.
    Vad,
    /// Turn detection by voice.
    Turn,
}

/// One model.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What people call it; also its folder in the store.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// One line for people.
    pub about: String,
    /// ISO 639-1 codes, or `multilingual`.
    pub languages: Vec<String>,
    /// SPDX identifier, or words where there is none.
    pub licence: String,
    /// RAM that it takes at work, in MB, where its publisher states it.
    pub ram_mb: Option<u64>,
    /// Size of all files in MB, where those of the files are not known to the byte.
    pub size_mb: Option<u64>,
    /// This version has no engine that loads it.
    #[serde(default)]
    pub planned: bool,
    /// Where its files come from that name no source of their own.
    pub source: Option<Source>,
    /// What `model` of an engine's settings names: a file, or nothing for the whole folder.
    #[serde(default)]
    pub main: String,
    /// Its files.
    pub files: Vec<ModelFile>,
    /// Settings of its engine besides `model`.
    pub engine: toml::Table,
}

/// One file of a model.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Where it lies in the model's folder.
    pub path: String,
    /// Its path at the source, where that differs.
    from: Option<String>,
    /// Its size.
    pub bytes: Option<u64>,
    /// Its checksum; without one it is pinned when it is pulled for the first time.
    pub sha256: Option<Sha256Hex>,
    /// Where it comes from, where that differs from the model's other files.
    source: Option<Source>,
}

/// A set of models.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// What people call it.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Where its models are meant to run.
    pub device: Device,
    /// Names of models.
    pub models: Vec<String>,
}

/// Whose memory a bundle takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// RAM.
    Cpu,
    /// GPU memory.
    Gpu,
}

/// What is wrong with a catalogue.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CatalogueError {
    /// It is no TOML, or not of this form.
    #[error("{origin}: {reason}")]
    Form {
        /// The file, or `built in`.
        origin: String,
        /// What the reader said.
        reason: String,
    },
    /// An entry says something that cannot be.
    #[error("{origin}: `{name}`: {reason}")]
    Entry {
        /// The file, or `built in`.
        origin: String,
        /// The model or bundle.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that is neither a model's nor a bundle's.
    #[error("no model or bundle is called `{name}`{} `antiphon models list` shows all", hint(nearest))]
    Unknown {
        /// The name.
        name: String,
        /// The one that was most likely meant.
        nearest: Option<String>,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(|| ";".to_owned(), |name| format!("; did you mean `{name}`?"))
}

impl Catalogue {
    /// What the program comes with.
    pub fn built_in() -> Result<Self, CatalogueError> {
        Self::parse("built in", include_str!("../../../models/manifest.toml"), &Self::default())
    }

    /// Reads a catalogue from TOML. `origin` names it in errors; bundles may name models of `base` too.
    pub fn parse(origin: &str, text: &str, base: &Self) -> Result<Self, CatalogueError> {
        let form = |error: toml::de::Error| CatalogueError::Form {
            origin: origin.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        };
        let catalogue: Self = toml::from_str(text).map_err(form)?;
        check::check(&catalogue, base).map_err(|(name, reason)| CatalogueError::Entry {
            origin: origin.to_owned(),
            name,
            reason,
        })?;
        Ok(catalogue)
    }

    /// With the entries of `other` over those of the same name.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.models.retain(|model| other.model(&model.name).is_none());
        self.bundles.retain(|bundle| !other.bundles.iter().any(|new| new.name == bundle.name));
        self.models.extend(other.models);
        self.bundles.extend(other.bundles);
        self
    }

    /// With the folders of its sources seen from `root`, where the catalogue itself lies.
    #[must_use]
    pub(super) fn rooted(mut self, root: &Path) -> Self {
        for model in &mut self.models {
            let files = model.files.iter_mut().filter_map(|file| file.source.as_mut());
            for source in model.source.as_mut().into_iter().chain(files) {
                if let Source::Folder(folder) = source {
                    *folder = root.join(&*folder);
                }
            }
        }
        self
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }

    /// The models that names of models and bundles stand for, each once.
    pub fn choose<'a>(&'a self, names: &[String]) -> Result<Vec<&'a Model>, CatalogueError> {
        let mut chosen: Vec<&Model> = Vec::new();
        for name in names {
            let bundle = self.bundles.iter().find(|bundle| bundle.name == *name);
            let meant: Vec<&Model> = match bundle {
                Some(bundle) => bundle.models.iter().filter_map(|name| self.model(name)).collect(),
                None => vec![self.model(name).ok_or_else(|| self.unknown(name))?],
            };
            for model in meant {
                if !chosen.iter().any(|other| other.name == model.name) {
                    chosen.push(model);
                }
            }
        }
        Ok(chosen)
    }

    /// Says that nothing has this name, and what was most likely meant.
    pub fn unknown(&self, name: &str) -> CatalogueError {
        let names = self.models.iter().map(|m| m.name.as_str());
        let names = names.chain(self.bundles.iter().map(|bundle| bundle.name.as_str()));
        let nearest = names
            .map(|known| (strsim::jaro_winkler(name, known), known))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness > 0.8)
            .map(|(_, known)| known.to_owned());
        CatalogueError::Unknown { name: name.to_owned(), nearest }
    }
}

impl Kind {
    /// As in `engines.stt`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Llm => "llm",
            Self::Tts => "tts",
            Self::Vad => "vad",
            Self::Turn => "turn",
        }
    }
}

impl Model {
    /// Bytes of all its files; `false` where that is about so many.
    pub fn size(&self) -> (u64, bool) {
        let known: Option<u64> = self.files.iter().map(|file| file.bytes).sum();
        let about = || (self.size_mb.unwrap_or(0) * 1_000_000, false);
        known.map_or_else(about, |bytes| (bytes, true))
    }

    /// Memory at work in bytes; `false` where it is that of the weights alone, the least it takes.
    pub fn memory(&self) -> (u64, bool) {
        self.ram_mb.map_or_else(|| (self.size().0, false), |mb| (mb * 1_000_000, true))
    }

    /// Where a file of it comes from.
    pub fn source_of<'a>(&'a self, file: &'a ModelFile) -> Option<&'a Source> {
        file.source.as_ref().or(self.source.as_ref())
    }

    /// The section of a configuration file that loads it.
    pub fn settings(&self) -> String {
        let list = matches!(self.kind, Kind::Stt | Kind::Llm | Kind::Tts);
        let (open, close) = if list { ("[[", "]]") } else { ("[", "]") };
        let line = |(key, value): (&String, &toml::Value)| format!("{key} = {value}\n");
        let kind: String = self.engine.get_key_value("kind").into_iter().map(line).collect();
        let rest: String = self.engine.iter().filter(|(key, _)| *key != "kind").map(line).collect();
        let body = format!("{kind}model = \"{}{}\"\n{rest}", super::MODELS_SCHEME, self.name);
        format!("{open}engines.{}{close}\n{body}", self.kind.as_str())
    }
}

impl ModelFile {
    /// Its path at the source.
    pub fn from(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.path)
    }
}

#[cfg(test)]
mod tests;
