//! Speech-to-text by Moonshine in ONNX Runtime: an encoder whose work follows the length of the audio, where Whisper's
//! has a window, and a decoder that writes a token a step.
//!
//! The files are those of `onnx-community/moonshine-{tiny,base}-ONNX`. What a graph is given and how long a text may be
//! follow the makers' `moonshine-onnx`; the tokens are tested against those of transformers on the same weights.
//!
//! Each slot has a thread with graphs of its own: a session computes one call at a time. ONNX Runtime computes on that
//! thread alone. Calls hold a permit of their device from begin to end. The model takes no prompt: keywords and the talk
//! before have no effect.
//!
//! Read [`MoonshineEngine`] first, then `listener`, `graph` and `model`.

mod config;
mod cost;
mod files;
mod graph;
mod listener;
mod model;

pub use config::MoonshineConfig;

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use ort::session::RunOptions;

use self::files::Files;
use self::graph::Graphs;
use self::listener::{Call, Listener};
use self::model::Model;
use super::onnx::Room;
use super::stt_calls::{Job, outcome};
use super::worker::Worker;
use super::{LoadError, onnx};
use crate::engine::stt::{SttEngine, SttRequest, Transcript};
use crate::engine::{CancelFlag, Device, EngineError, EngineFuture};

/// Speech-to-text by Moonshine.
#[derive(Debug)]
pub struct MoonshineEngine {
    name: String,
    language: Option<String>,
    device: Device,
    worker: Worker<Call>,
}

impl MoonshineEngine {
    /// Loads both graphs once for each slot and hears a moment of silence with each. `library` is ONNX Runtime's.
    pub fn load(config: &MoonshineConfig, library: &Path) -> Result<Self, LoadError> {
        check(config)?;
        let model = Arc::new(Model::read(config)?);
        let device = onnx::settle_for(&config.name, library, config.device);
        let bodies = (0..config.slots).map(|_| body(config, (library, device), &model));
        let bodies = bodies.collect::<Result<Vec<_>, _>>()?;
        let (name, language) = (config.name.clone(), config.language.clone());
        let worker = Worker::start(&name, bodies)?;
        Ok(Self { name, language, device, worker })
    }
}

impl SttEngine for MoonshineEngine {
    fn transcribe(&self, request: SttRequest, cancel: CancelFlag) -> EngineFuture<Transcript> {
        let (job, answered) = Job::new(request, &cancel);
        let engine = self.name.clone();
        let submitted = match RunOptions::new().map(Arc::new) {
            Ok(stop) => self.worker.submit(Call { job, stop: Arc::clone(&stop) }).map(|()| Stop(stop)),
            Err(error) => Err(EngineError::Failed { engine: engine.clone(), reason: error.to_string() }),
        };
        Box::pin(async move {
            let _stop = submitted?;
            outcome(&engine, answered, &cancel).await
        })
    }

    fn languages(&self) -> Vec<String> {
        self.language.iter().cloned().collect()
    }

    fn device(&self) -> Device {
        self.device
    }
}

/// Ends the graph's run when the call is over, an early end too.
struct Stop(Arc<RunOptions>);

impl Drop for Stop {
    fn drop(&mut self) {
        // What has run to its end cannot be stopped.
        self.0.terminate().ok();
    }
}

/// What a thread runs; after a panic again, for a graph remembers nothing of a call.
fn body(
    config: &MoonshineConfig,
    (library, device): (&Path, Device),
    model: &Arc<Model>,
) -> Result<impl FnMut(&Receiver<Call>) + Send + 'static, LoadError> {
    let files = Files { config };
    let (encoder, decoder) = files.graphs(device)?;
    let open = |path: &Path, room: Room| {
        onnx::open(room, &config.name, path, library, |reason| files.invalid(path, reason))
    };
    let room = Room::on(device);
    let opened = (open(&encoder, room)?, open(&decoder, room.growing())?);
    let graphs = Graphs::new(opened, device, model.cache_sizes);
    let graphs = graphs.map_err(|(which, reason)| files.invalid([&encoder, &decoder][which], reason))?;
    let mut listener = Listener { graphs, model: Arc::clone(model), config: config.clone() };
    listener.warm_up().map_err(|reason| LoadError::Start { engine: config.name.clone(), reason })?;
    Ok(move |calls: &Receiver<Call>| listener.run(calls))
}

fn check(config: &MoonshineConfig) -> Result<(), LoadError> {
    let tokens = config.max_tokens_per_second;
    if (1.0..=100.0).contains(&tokens) {
        return Ok(());
    }
    let key = format!("stt.{}.max_tokens_per_second", config.name);
    Err(LoadError::Config { key, value: tokens.to_string(), reason: "from 1 to 100".into() })
}

#[cfg(test)]
mod tests;
