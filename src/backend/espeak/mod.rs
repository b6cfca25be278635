//! Text-to-speech by espeak-ng, one child process a clause: about 10 ms to the first audio.
//!
//! espeak-ng is under the GPL, version 3 or later. It runs as a separate program that this one starts and talks
//! to over pipes; nothing of it is linked in. The text goes to its standard input, so that no words of a user
//! stand on a command line that every process on the machine can read.
//!
//! Read [`EspeakTts`] first. `text` makes any text safe to speak, `wav` reads what comes back,
//! `words` says when each word is heard.

mod cost;
pub(super) mod process;
mod speech;
pub(super) mod text;
mod voices;
mod wav;
pub(super) mod words;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::process::Program;
use self::speech::{Clause, Speech};
use self::voices::Voices;
use self::words::WordLengths;
use super::{LoadError, Placement};
use crate::engine::cost::OwnCost;
use crate::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use crate::engine::{CancelFlag, EngineError, EngineStream};

/// The longest text of one call: the limit of OpenAI's `/v1/audio/speech`.
const MAX_TEXT_CHARS: usize = 4096;
/// espeak-ng's own normal speed.
const NORMAL_WORDS_PER_MINUTE: f32 = 175.0;
/// What espeak-ng takes: below 80 it reads 80.
const WORDS_PER_MINUTE: std::ops::RangeInclusive<f32> = 80.0..=450.0;

/// Configuration of [`EspeakTts`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EspeakConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Clauses spoken at once: each is a process of its own.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Where it runs: in the server itself, or in a child process that may crash alone.
    pub placement: Placement,
    /// The program, looked up in `PATH`.
    pub program: PathBuf,
    /// The language that OpenAI's voice names speak here, as `espeak-ng --voices` names it.
    pub language: String,
    /// What the operator knows of its cost.
    pub cost: OwnCost,
}

impl Default for EspeakConfig {
    /// American English, which the starter speech-to-text was trained on. Four slots: a clause takes about
    /// 10 ms of CPU, so more would only compete with the models.
    fn default() -> Self {
        Self {
            name: "espeak".into(),
            slots: 4,
            fallback: false,
            placement: Placement::default(),
            program: "espeak-ng".into(),
            language: "en-us".into(),
            cost: OwnCost::default(),
        }
    }
}

/// Text-to-speech by espeak-ng.
#[derive(Debug)]
pub struct EspeakTts {
    name: String,
    program: Program,
    voices: Voices,
    lengths: Arc<WordLengths>,
}

impl EspeakTts {
    /// Finds the program and asks it for its voices.
    pub fn load(config: &EspeakConfig) -> Result<Self, LoadError> {
        let program = Program::new(config.program.clone());
        let dependency = |reason: String| LoadError::Dependency {
            engine: config.name.clone(),
            what: config.program.display().to_string(),
            reason,
            next_step: "Install it with `apt-get install espeak-ng`, or set the engine's `program`".into(),
        };
        let languages = program.list_voices(None).map_err(dependency)?;
        let variants = program.list_voices(Some("variant")).map_err(dependency)?;
        let voices = Voices::new(&config.language, &languages, &variants);
        if !voices.speaks(&config.language) {
            return Err(LoadError::Config {
                key: format!("tts.{}.language", config.name),
                value: config.language.clone(),
                reason: "espeak-ng has no such language; `espeak-ng --voices` lists them".into(),
            });
        }
        Ok(Self { name: config.name.clone(), program, voices, lengths: Arc::default() })
    }
}

impl TtsEngine for EspeakTts {
    fn synthesize(&self, request: TtsRequest, cancel: CancelFlag) -> EngineStream<TtsEvent> {
        let chars = request.text.chars().count();
        if chars > MAX_TEXT_CHARS {
            let reason = format!("the text has {chars} characters, the limit is {MAX_TEXT_CHARS}");
            let error = EngineError::BadRequest { engine: self.name.clone(), reason };
            return Box::pin(futures::stream::iter([Err(error)]));
        }
        let clause = Clause {
            words: request.text.split_whitespace().map(str::to_owned).collect(),
            voice: self.voices.resolve(&request.voice),
            words_per_minute: words_per_minute(request.speed),
        };
        Speech::new(&self.name, self.program.clone(), clause, Arc::clone(&self.lengths)).stream(cancel)
    }

    fn voices(&self) -> Vec<String> {
        self.voices.names()
    }

    fn languages(&self) -> Vec<String> {
        self.voices.language_codes()
    }
}

fn words_per_minute(speed: f32) -> u32 {
    let speed = if speed.is_finite() { speed } else { 1.0 };
    (NORMAL_WORDS_PER_MINUTE * speed).clamp(*WORDS_PER_MINUTE.start(), *WORDS_PER_MINUTE.end()).round() as u32
}

#[cfg(test)]
mod tests;
