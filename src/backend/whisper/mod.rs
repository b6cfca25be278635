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
mod alignment;
mod audio;
mod context;
mod cost;
pub(super) mod device;
mod gpus;
mod language;
mod model_file;
mod run;
mod transcriber;

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};
use whisper_rs::{WhisperContext, WhisperContextParameters};

pub use self::context::AudioCtx;
use self::model_file::ModelFile;
use self::transcriber::{Seed, Transcriber};
use super::guards::GuardsConfig;
use super::stt_calls::{Job, outcome};
use super::worker::Worker;
use super::{LoadError, Placement};
use crate::engine::cost::OwnCost;
use crate::engine::stt::{SttEngine, SttRequest, Transcript};
use crate::engine::{CancelFlag, Device, EngineFuture};

/// Configuration of [`WhisperEngine`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
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
    /// Where it computes: the CPU, or a GPU where this program was built for one.
    pub device: Device,
    /// A ggml Whisper model file.
    pub model: PathBuf,
    /// ISO 639-1 code for requests that name no language; none lets the model decide, at the price of a second
    /// run of its encoder. English-only models take `en` alone.
    pub language: Option<String>,
    /// How much of its window of 30 seconds the encoder works on.
    pub audio_ctx: AudioCtx,
    /// Encoder positions of 20 ms that a request gets beyond its audio; none for what suits the model: 16 for one
    /// trained for short windows, as the starter model is, 128 for others.
    pub audio_ctx_margin: Option<usize>,
    /// Temperature by which a doubtful text is tried again, up to 1, as OpenAI's own decoder does with 0.2. 0 tries
    /// once: a second try costs as much time as the first.
    pub temperature_step: f64,
    /// Whether it can tell when each word was said (`timestamp_granularities[]=word`). The model is then in memory
    /// twice; calls that ask for times cost about twice as much, the others what they cost without.
    pub word_times: bool,
    /// Guards against invented text.
    pub guards: GuardsConfig,
    /// What the operator knows of its cost; the rest is worked out from the model file.
    pub cost: OwnCost,
}

impl Default for WhisperConfig {
    /// The starter model; two slots, one for each core of the smallest machine this is meant for.
    fn default() -> Self {
        Self {
            name: "whisper".into(),
            slots: 2,
            fallback: false,
            placement: Placement::default(),
            device: Device::default(),
            model: "models/starter/stt/ggml-starter.bin".into(),
            language: Some("en".into()),
            audio_ctx: AudioCtx::Auto,
            audio_ctx_margin: None,
            temperature_step: 0.0,
            word_times: false,
            guards: GuardsConfig::default(),
            cost: OwnCost::default(),
        }
    }
}

/// Speech-to-text by whisper.cpp.
#[derive(Debug)]
pub struct WhisperEngine {
    name: String,
    languages: Vec<String>,
    word_times: bool,
    device: Device,
    worker: Worker<Job>,
}

impl WhisperEngine {
    /// Loads the model, makes the states and runs each once over silence.
    pub fn load(config: &WhisperConfig) -> Result<Self, LoadError> {
        let file = check_file(config)?;
        whisper_rs::install_logging_hooks();
        let device = place(config);
        let open = |parameters: WhisperContextParameters<'_>| {
            let context = WhisperContext::new_with_params(&config.model, parameters).map(Arc::new);
            context.map_err(|error| invalid(config, &error.to_string()))
        };
        let context = open(context_parameters(device))?;
        let mut aligning = context_parameters(device);
        aligning.dtw_parameters(alignment::parameters(&file));
        let aligned = config.word_times.then(|| open(aligning)).transpose()?;
        check_language(config, file)?;
        let seed = Seed { context, aligned, file, config: config.clone() };
        let bodies = (0..config.slots).map(|_| body(seed.clone()));
        let bodies = bodies.collect::<Result<Vec<_>, _>>()?;
        let languages = languages(config, file);
        let (name, word_times) = (config.name.clone(), config.word_times);
        Ok(Self { languages, word_times, device, worker: Worker::start(&name, bodies)?, name })
    }
}

impl SttEngine for WhisperEngine {
    fn transcribe(&self, request: SttRequest, cancel: CancelFlag) -> EngineFuture<Transcript> {
        let (job, answered) = Job::new(request, &cancel);
        let (submitted, engine) = (self.worker.submit(job), self.name.clone());
        Box::pin(async move {
            submitted?;
            outcome(&engine, answered, &cancel).await
        })
    }

    fn languages(&self) -> Vec<String> {
        self.languages.clone()
    }

    fn tells_word_times(&self) -> bool {
        self.word_times
    }

    fn device(&self) -> Device {
        self.device
    }
}

/// Where it computes, which is told where it is a GPU, and where it is not what was asked for.
fn place(config: &WhisperConfig) -> Device {
    let (device, missing) = device::settle(config.device);
    if let Some(why) = missing {
        tracing::warn!(engine = config.name, asked = %config.device, why, "an engine computes on the CPU");
    }
    if let Device::Cuda(number) = device {
        let gpu = gpus::names().into_iter().nth(number as usize).unwrap_or_default();
        tracing::info!(engine = config.name, %device, gpu, "an engine computes on a GPU");
    }
    device
}

fn context_parameters(device: Device) -> WhisperContextParameters<'static> {
    let mut parameters = WhisperContextParameters::default();
    parameters.use_gpu(device.is_gpu());
    if let Device::Cuda(number) = device {
        parameters.gpu_device(i32::try_from(number).unwrap_or_default());
    }
    parameters
}

/// What the model understands, as far as its file tells: one whose vocabulary was cut down was trained for what
/// it is configured for.
fn languages(config: &WhisperConfig, file: ModelFile) -> Vec<String> {
    match (file.languages(), file.has_complete_vocabulary) {
        (0, _) => vec!["en".to_owned()],
        (count, true) => language::first(count),
        (_, false) => config.language.iter().cloned().collect(),
    }
}

/// What a thread runs: it starts with a state that is warm, and with a new one after a panic.
fn body(seed: Seed) -> Result<impl FnMut(&Receiver<Job>) + Send + 'static, LoadError> {
    let mut state = seed.context.create_state().map_err(|error| start(&seed.config, &error))?;
    run::warm_up(&mut state).map_err(|error| start(&seed.config, &error))?;
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

fn check_language(config: &WhisperConfig, file: ModelFile) -> Result<(), LoadError> {
    let Some(asked) = config.language.as_deref() else { return Ok(()) };
    language::number(asked, file.languages()).map(drop).map_err(|reason| LoadError::Config {
        key: format!("stt.{}.language", config.name),
        value: asked.to_owned(),
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
