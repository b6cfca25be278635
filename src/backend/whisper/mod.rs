//! Speech-to-text by whisper.cpp: one context with the weights, one state and one thread for each slot.
//!
//! Every call runs on one compute thread. whisper.cpp waits for its other threads by spinning, which on a busy
//! machine costs up to 75 times of what two threads gain; slots run side by side instead.
//!
//! A raised flag ends the caller's wait at once. The thread behind it follows at the end of the encoder or of
//! the next decoder step, which for a fitted audio context is a few dozen milliseconds.
//!
//! Read [`WhisperEngine`] first, then `transcriber`.

mod abort;
mod audio;
mod cost;
mod model_file;
mod transcriber;

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use whisper_rs::{WhisperContext, WhisperContextParameters};

use self::model_file::ModelFile;
use self::transcriber::{Job, Seed, Transcriber};
use super::worker::{Worker, raised};
use super::{LoadError, Placement};
use crate::engine::cost::OwnCost;
use crate::engine::stt::{SttEngine, SttRequest, Transcript};
use crate::engine::{CancelFlag, EngineError, EngineFuture};

/// Configuration of [`WhisperEngine`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WhisperConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Utterances transcribed at once: a thread and a state each.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Where it runs: in the server itself, or in a child process that may crash alone.
    pub placement: Placement,
    /// A ggml Whisper model file.
    pub model: PathBuf,
    /// ISO 639-1 code for requests that name no language; none lets the model decide, at the price of a second
    /// run of its encoder. English-only models take `en` alone.
    pub language: Option<String>,
    /// Encoder positions of 20 ms that a request gets beyond its audio. More makes real models steadier and
    /// slower.
    pub audio_ctx_margin: usize,
    /// What the operator knows of its cost; the rest is worked out from the model file.
    pub cost: OwnCost,
}

impl Default for WhisperConfig {
    /// The starter model with the margin that it was trained with; two slots, one for each core of the
    /// smallest machine this is meant for.
    fn default() -> Self {
        Self {
            name: "whisper".into(),
            slots: 2,
            fallback: false,
            placement: Placement::default(),
            model: "models/starter/stt/ggml-starter.bin".into(),
            language: Some("en".into()),
            audio_ctx_margin: 16,
            cost: OwnCost::default(),
        }
    }
}

/// Speech-to-text by whisper.cpp.
#[derive(Debug)]
pub struct WhisperEngine {
    name: String,
    languages: Vec<String>,
    worker: Worker<Job>,
}

impl WhisperEngine {
    /// Loads the model, makes the states and runs each once over silence.
    pub fn load(config: &WhisperConfig) -> Result<Self, LoadError> {
        let file = check_file(config)?;
        whisper_rs::install_logging_hooks();
        let context = WhisperContext::new_with_params(&config.model, WhisperContextParameters::default())
            .map(Arc::new)
            .map_err(|error| invalid(config, &error.to_string()))?;
        check_language(config, context.is_multilingual())?;
        let bodies = (0..config.slots).map(|_| body(config, &context, file));
        let bodies = bodies.collect::<Result<Vec<_>, _>>()?;
        let languages = languages(config, &context, file);
        Ok(Self { name: config.name.clone(), languages, worker: Worker::start(&config.name, bodies)? })
    }
}

impl SttEngine for WhisperEngine {
    fn transcribe(&self, request: SttRequest, cancel: CancelFlag) -> EngineFuture<Transcript> {
        let (answer, answered) = oneshot::channel();
        let submitted = self.worker.submit(Job { request, cancel: cancel.clone(), answer });
        let engine = self.name.clone();
        Box::pin(async move {
            submitted?;
            tokio::select! {
                biased;
                answer = answered => answer.unwrap_or_else(|_| Err(Worker::<Job>::dropped(&engine))),
                () = raised(&cancel) => Err(EngineError::Cancelled),
            }
        })
    }

    fn languages(&self) -> Vec<String> {
        self.languages.clone()
    }
}

/// What the model understands, as far as its file tells: one whose vocabulary was cut down was trained for what
/// it is configured for.
fn languages(config: &WhisperConfig, context: &WhisperContext, file: ModelFile) -> Vec<String> {
    match (context.is_multilingual(), file.has_complete_vocabulary) {
        (true, true) => transcriber::all_languages(),
        (true, false) => config.language.iter().cloned().collect(),
        (false, _) => vec!["en".to_owned()],
    }
}

/// What a thread runs: it starts with a state that is warm, and with a new one after a panic.
fn body(
    config: &WhisperConfig,
    context: &Arc<WhisperContext>,
    file: ModelFile,
) -> Result<impl FnMut(&Receiver<Job>) + Send + 'static, LoadError> {
    let mut state = context.create_state().map_err(|error| start(config, &error))?;
    transcriber::warm_up(&mut state).map_err(|error| start(config, &error))?;
    let seed = Seed { context: Arc::clone(context), file, config: config.clone() };
    let mut state = Some(state);
    Ok(move |jobs: &Receiver<Job>| Transcriber::new(seed.clone(), state.take()).run(jobs))
}

fn check_file(config: &WhisperConfig) -> Result<ModelFile, LoadError> {
    let readable = std::fs::File::open(&config.model).map_err(|error| LoadError::FileMissing {
        engine: config.name.clone(),
        path: config.model.clone(),
        reason: error.to_string(),
        next_step: "Run `make starter`, or set the engine's `model` to a ggml Whisper file".into(),
    });
    drop(readable?);
    model_file::check(&config.model).map_err(|reason| invalid(config, &reason))
}

fn check_language(config: &WhisperConfig, is_multilingual: bool) -> Result<(), LoadError> {
    let reason = match config.language.as_deref() {
        None | Some("en") => return Ok(()),
        Some(language) if transcriber::language_id(language).is_none() => "Whisper knows no such language",
        Some(_) if !is_multilingual => "the model knows English alone",
        Some(_) => return Ok(()),
    };
    Err(LoadError::Config {
        key: format!("stt.{}.language", config.name),
        value: config.language.clone().unwrap_or_default(),
        reason: reason.into(),
    })
}

fn invalid(config: &WhisperConfig, reason: &str) -> LoadError {
    LoadError::FileInvalid {
        engine: config.name.clone(),
        path: config.model.clone(),
        reason: reason.to_owned(),
        next_step: "Run `make starter` to restore the starter model, or download the file again".into(),
    }
}

fn start(config: &WhisperConfig, error: &whisper_rs::WhisperError) -> LoadError {
    LoadError::Start { engine: config.name.clone(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
