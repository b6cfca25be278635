//! A language model in ONNX Runtime: any decoder that the hub's exporters write, with its tokenizer and chat
//! template.
//!
//! One thread owns the graph and writes up to `slots` answers, a token each, in turn or together (`batching`). ONNX
//! Runtime computes on that thread alone: more threads for a step of a small model cost more than they gain, and the
//! cores have other work.
//!
//! What was read of a talk is kept (`prefix`), so that a turn costs what is new in it and not the whole talk again.
//!
//! Read [`OnnxLlm`] first, then `executor` and `sequence`.

mod answer;
mod batching;
mod cache;
mod config;
mod cost;
mod decoder;
mod detokenizer;
mod ends;
mod executor;
mod files;
mod model;
mod prefix;
mod sampler;
mod sequence;
mod template;

pub use config::{OnnxLlmConfig, SamplingConfig};

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use futures::stream;
use tokio::sync::mpsc;

use self::model::Model;
use self::sequence::{Event, Job};
use super::LoadError;
use super::worker::{Worker, raised};
use crate::engine::compute::ComputeGate;
use crate::engine::llm::{LlmEngine, LlmEvent, LlmRequest};
use crate::engine::{CancelFlag, Device, EngineError, EngineStream};

/// Events of one answer that may wait for its reader. Then the answer pauses, and the others go on.
const EVENT_CAPACITY: usize = 32;

/// A language model in ONNX Runtime.
#[derive(Debug)]
pub struct OnnxLlm {
    name: String,
    device: Device,
    worker: Worker<Job>,
}

impl OnnxLlm {
    /// Loads the model and makes one step with it. `library` is ONNX Runtime's shared library; the first one that
    /// is loaded serves the whole process. Each step enters `gate` first.
    pub fn load(
        config: &OnnxLlmConfig,
        library: &Path,
        gate: Arc<dyn ComputeGate>,
    ) -> Result<Self, LoadError> {
        let mut model = Model::load(config, library, gate)?;
        model.warm_up().map_err(|reason| LoadError::Start { engine: config.name.clone(), reason })?;
        let device = model.device;
        let body = move |jobs: &Receiver<Job>| executor::run(&mut model, jobs);
        Ok(Self { name: config.name.clone(), device, worker: Worker::start(&config.name, vec![body])? })
    }
}

impl LlmEngine for OnnxLlm {
    fn generate(&self, request: LlmRequest, cancel: CancelFlag) -> EngineStream<LlmEvent> {
        let (events, reader) = mpsc::channel(EVENT_CAPACITY);
        let job = Job { request, cancel: cancel.clone(), events };
        if let Err(error) = self.worker.submit(job) {
            return Box::pin(stream::iter([Err(error)]));
        }
        let reading = Reading { engine: self.name.clone(), reader, cancel, is_over: false };
        Box::pin(stream::unfold(reading, |mut reading| async move {
            let event = reading.next().await?;
            Some((event, reading))
        }))
    }

    fn device(&self) -> Device {
        self.device
    }
}

/// The reader's end of one answer. Dropping it ends the answer.
struct Reading {
    engine: String,
    reader: mpsc::Receiver<Event>,
    cancel: CancelFlag,
    is_over: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Event> {
        if self.is_over {
            return None;
        }
        let event = if self.cancel.is_cancelled() {
            Err(EngineError::Cancelled)
        } else {
            tokio::select! {
                biased;
                event = self.reader.recv() => event.unwrap_or_else(|| Err(Worker::<Job>::dropped(&self.engine))),
                () = raised(&self.cancel) => Err(EngineError::Cancelled),
            }
        };
        self.is_over = matches!(event, Err(_) | Ok(LlmEvent::Done { .. }));
        Some(event)
    }
}

#[cfg(test)]
mod tests;
