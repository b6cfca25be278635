//! Turn detection in ONNX Runtime: graphs with the contract of smart-turn v3, which takes the log-mel spectrogram of
//! the last 8 s (`input_features`, 80 bands of 800 frames) and gives one probability.
//!
//! One thread owns the graph and judges one turn after the other, each inside a permit of the device. An option: where
//! the file is absent, turns end by silence and text alone.
//!
//! Read [`SmartTurn`] first; `audio::log_mel` says what the graph hears.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Receiver;
use ort::session::Session;
use ort::value::Tensor;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::onnx::Room;
use super::worker::{Worker, raised};
use super::{LoadError, onnx};
use crate::audio::log_mel::{BANDS, FRAMES, LogMel};
use crate::engine::compute::ComputeGate;
use crate::engine::turn::TurnDetector;
use crate::engine::{CancelFlag, Device, EngineError, EngineFuture};

/// Name in logs and errors.
const NAME: &str = "smart-turn";

/// Configuration of [`SmartTurn`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmartTurnConfig {
    /// The ONNX file. Where it is absent, turns end by silence and text alone.
    pub model: PathBuf,
    /// Where it computes.
    pub device: Device,
}

impl Default for SmartTurnConfig {
    fn default() -> Self {
        Self { model: "models/smart-turn/smart-turn-v3.onnx".into(), device: Device::default() }
    }
}

/// What the graph takes while it judges, in bytes. An estimate: activations of 800 frames in each layer.
const WORK_BYTES: u64 = 16 << 20;

impl SmartTurnConfig {
    /// Memory in bytes, from the file's length: its weights, and once more as ONNX Runtime packs them. `None` where
    /// the file is absent.
    pub fn memory_bytes(&self) -> Option<u64> {
        let file = std::fs::metadata(&self.model).ok().filter(std::fs::Metadata::is_file)?;
        Some(file.len().saturating_mul(2).saturating_add(WORK_BYTES))
    }
}

/// A turn detector in ONNX Runtime.
#[derive(Debug)]
pub struct SmartTurn {
    worker: Worker<Job>,
}

/// A turn to judge.
#[derive(Debug)]
struct Job {
    audio: Arc<[f32]>,
    cancel: CancelFlag,
    verdict: oneshot::Sender<Result<f32, EngineError>>,
}

impl SmartTurn {
    /// Loads the graph and judges a silence with it; `None` where the file is absent. `library` is ONNX Runtime's.
    pub fn load(
        config: &SmartTurnConfig,
        library: &Path,
        gate: Arc<dyn ComputeGate>,
    ) -> Result<Option<Self>, LoadError> {
        let path = &config.model;
        if !path.is_file() {
            let model = path.display();
            tracing::info!(%model, "no file at engines.turn.model: turns end by silence and text alone");
            return Ok(None);
        }
        let invalid = |reason: String| LoadError::FileInvalid {
            engine: NAME.into(),
            path: path.clone(),
            reason,
            next_step: "Set `engines.turn.model` to a smart-turn v3 file, or to one that is not there".into(),
        };
        let device = onnx::settle_for(NAME, library, config.device);
        let session = onnx::open(Room::on(device), NAME, path, library, invalid)?;
        let mut judge = Judge::new(session, device, gate).map_err(&invalid)?;
        judge.judge(&[]).map_err(invalid)?;
        let body = move |jobs: &Receiver<Job>| jobs.iter().for_each(|job| judge.take(job));
        tracing::info!(model = %path.display(), "turns end by voice, silence and text");
        Ok(Some(Self { worker: Worker::start(NAME, vec![body])? }))
    }
}

impl TurnDetector for SmartTurn {
    fn judge(&self, audio: Arc<[f32]>, cancel: CancelFlag) -> EngineFuture<f32> {
        let (verdict, judged) = oneshot::channel();
        let submitted = self.worker.submit(Job { audio, cancel: cancel.clone(), verdict });
        Box::pin(async move {
            submitted?;
            tokio::select! {
                biased;
                verdict = judged => verdict.unwrap_or_else(|_| Err(Worker::<Job>::dropped(NAME))),
                () = raised(&cancel) => Err(EngineError::Cancelled),
            }
        })
    }
}

/// The graph and what feeds it.
#[derive(Debug)]
struct Judge {
    session: Session,
    features: LogMel,
    device: Device,
    gate: Arc<dyn ComputeGate>,
}

impl Judge {
    fn new(session: Session, device: Device, gate: Arc<dyn ComputeGate>) -> Result<Self, String> {
        let inputs = onnx::inputs(&session);
        if inputs != ["input_features"] {
            return Err(format!("its inputs are {inputs:?}, not `input_features` alone"));
        }
        Ok(Self { session, features: LogMel::new(), device, gate })
    }

    fn take(&mut self, job: Job) {
        let verdict = if job.cancel.is_cancelled() {
            Err(EngineError::Cancelled)
        } else {
            let failed = |reason| EngineError::Failed { engine: NAME.into(), reason };
            self.judge(&job.audio).map_err(failed)
        };
        // A caller that has gone needs no verdict.
        drop(job.verdict.send(verdict));
    }

    fn judge(&mut self, audio: &[f32]) -> Result<f32, String> {
        let _permit = self.gate.enter(self.device, true);
        let text = |error: ort::Error| error.to_string();
        let features = self.features.of(audio);
        let input = Tensor::from_array(([1, BANDS, FRAMES], features)).map_err(text)?;
        let outputs = self.session.run(ort::inputs!["input_features" => input]).map_err(text)?;
        let output = outputs.values().next().ok_or("it has no output")?;
        let (_, values) = output.try_extract_tensor::<f32>().map_err(text)?;
        match values {
            [probability] if (0.0..=1.0).contains(probability) => Ok(*probability),
            _ => Err(format!("its output {:?} is no probability", values.get(..4).unwrap_or(values))),
        }
    }
}

#[cfg(test)]
mod tests;
