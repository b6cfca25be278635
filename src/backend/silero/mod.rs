//! Voice activity in ONNX Runtime: graphs with the contract of Silero VAD v5 and v6. An option beside `earshot`.
//!
//! One thread owns the graph and judges the frames of all sessions that wait at the moment in one run, each step
//! inside a permit of the device. What the graph remembers of a session lies with the session's detector.
//!
//! Contract (snakers4/silero-vad, `OnnxWrapper`): `input` f32 [B, 576], the last 64 samples of the frame before and 512
//! of this one; `state` f32 [2, B, 128]; `sr` i64; out come `output` [B, 1] and `stateN`, shaped like `state`.
//!
//! Read [`SileroVad`] first; `batch` is what one run is made of.

mod batch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::batch::{FRAME, Judge, Memory};
use super::onnx::Room;
use super::worker::Worker;
use super::{LoadError, onnx};
use crate::engine::compute::ComputeGate;
use crate::engine::vad::{VadDetector, VadEngine};
use crate::engine::{Device, EngineError, EngineFuture};

/// Name in logs and errors.
const NAME: &str = "silero";
/// Frames of one session that are judged in a row: half a second, so that a burst of one holds up nobody for long.
const MAX_FRAMES: usize = 16;
/// Sessions that are judged in one run.
const MAX_SESSIONS: usize = 64;

/// Configuration of [`SileroVad`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SileroConfig {
    /// The ONNX file of Silero VAD v5 or v6, for 16 kHz.
    pub model: PathBuf,
    /// Where it computes.
    pub device: Device,
}

impl Default for SileroConfig {
    fn default() -> Self {
        Self { model: "models/silero/silero_vad.onnx".into(), device: Device::default() }
    }
}

/// What it takes besides its weights, in bytes: ONNX Runtime itself, and the frames of [`MAX_SESSIONS`] at once. Measured
/// at 17 MiB with a graph of the real sizes (`models/interface/listeners.py`).
const WORK_BYTES: u64 = 18 << 20;

impl SileroConfig {
    /// Memory in bytes, from the file's length: its weights, and once more as ONNX Runtime packs them. `None` where
    /// the file is absent.
    pub fn memory_bytes(&self) -> Option<u64> {
        let file = std::fs::metadata(&self.model).ok().filter(std::fs::Metadata::is_file)?;
        Some(file.len().saturating_mul(2).saturating_add(WORK_BYTES))
    }
}

/// Makes detectors that share one graph.
#[derive(Clone, Debug)]
pub struct SileroVad {
    worker: Arc<Worker<Job>>,
}

/// Frames of one session.
#[derive(Debug)]
struct Job {
    memory: Arc<Mutex<Memory>>,
    samples: Vec<f32>,
    judged: oneshot::Sender<Vec<f32>>,
}

impl SileroVad {
    /// Loads the graph and judges a silence with it. `library` is ONNX Runtime's.
    pub fn load(
        config: &SileroConfig,
        library: &Path,
        gate: Arc<dyn ComputeGate>,
    ) -> Result<Self, LoadError> {
        let path = &config.model;
        let next_step =
            "Set `engines.vad.model` to Silero VAD v5 or v6 (ONNX), or `engines.vad.kind` to earshot";
        if !path.is_file() {
            return Err(LoadError::FileMissing {
                engine: NAME.into(),
                path: path.clone(),
                reason: "there is no such file".into(),
                next_step: next_step.into(),
            });
        }
        let invalid = |reason: String| LoadError::FileInvalid {
            engine: NAME.into(),
            path: path.clone(),
            reason,
            next_step: next_step.into(),
        };
        let device = onnx::settle_for(NAME, library, config.device);
        let session = onnx::open(Room::on(device), NAME, path, library, invalid)?;
        let mut inputs = onnx::inputs(&session);
        inputs.sort_unstable();
        if inputs != ["input", "sr", "state"] {
            let wanted = "those of Silero VAD v5 and v6 are input, sr, state";
            return Err(invalid(format!("its inputs are {inputs:?}; {wanted}")));
        }
        let mut judge = Judge::new(session, device, gate);
        let mut silence = (Memory::default(), vec![0.0; FRAME]);
        judge.judge(&mut [(&mut silence.0, silence.1.as_slice())]).map_err(invalid)?;
        let body = move |jobs: &Receiver<Job>| jobs.iter().for_each(|job| serve(&mut judge, job, jobs));
        Ok(Self { worker: Arc::new(Worker::start(NAME, vec![body])?) })
    }
}

impl VadEngine for SileroVad {
    fn detector(&self) -> Box<dyn VadDetector> {
        Box::new(SileroDetector { worker: Arc::clone(&self.worker), memory: Arc::default() })
    }
}

#[derive(Debug)]
struct SileroDetector {
    worker: Arc<Worker<Job>>,
    memory: Arc<Mutex<Memory>>,
}

impl VadDetector for SileroDetector {
    fn frame_len(&self) -> usize {
        FRAME
    }

    fn predict(&mut self, frame: &[f32]) -> f32 {
        let judged = futures::executor::block_on(self.submit(frame));
        judged.ok().and_then(|judged| judged.first().copied()).unwrap_or(0.0)
    }

    fn batch(&self) -> usize {
        MAX_FRAMES
    }

    fn submit(&mut self, frames: &[f32]) -> EngineFuture<Vec<f32>> {
        // One sample that is no number would stay in the graph's state for ever.
        let clean = |sample: &f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        let (sender, judged) = oneshot::channel();
        let samples = frames.iter().map(clean).collect();
        let job = Job { memory: Arc::clone(&self.memory), samples, judged: sender };
        let submitted = self.worker.submit(job);
        Box::pin(async move {
            submitted?;
            judged.await.map_err(|_| Worker::<Job>::dropped(NAME))
        })
    }

    fn reset(&mut self) {
        self.memory = Arc::default(); // frames under way change what nobody looks at any more
    }
}

/// Judges a job together with those that wait behind it.
fn serve(judge: &mut Judge, first: Job, jobs: &Receiver<Job>) {
    let jobs: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(MAX_SESSIONS - 1)).collect();
    // Taken out and put back: no lock is held while the graph runs.
    let mut memories: Vec<_> = jobs.iter().map(|job| std::mem::take(&mut *lock(&job.memory))).collect();
    let mut streams: Vec<(&mut Memory, &[f32])> =
        memories.iter_mut().zip(&jobs).map(|(memory, job)| (memory, job.samples.as_slice())).collect();
    match judge.judge(&mut streams) {
        Ok(judged) => {
            for ((job, memory), probabilities) in jobs.into_iter().zip(memories).zip(judged) {
                *lock(&job.memory) = memory;
                job.judged.send(probabilities).ok(); // its session may have ended
            }
        }
        // Whoever waits is told by the channel's end.
        Err(reason) => {
            let error = EngineError::Failed { engine: NAME.into(), reason };
            tracing::error!(%error, sessions = jobs.len(), "voice activity could not be judged");
        }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
