//! What voices in ONNX Runtime share: threads that own a graph each, the call from phonemes to audio, and the times
//! of words. Piper and Kokoro differ in what they make of a text and in what their graphs are given.
//!
//! Each thread owns a session of its own, so an engine has as many graphs in memory as slots: a session computes one
//! call at a time. ONNX Runtime computes on that thread alone. On the CPU, calls hold a permit from begin to end; on a
//! GPU they ask for each part, as espeak-ng and the reader take their time between two.
//!
//! Read [`OnnxVoice`] first, then `utterance` (what a graph is given), `sound` (what is made of what it gives), and
//! `times`.

mod call;
mod executor;
pub(super) mod files;
pub(super) mod session;
mod sound;
mod times;
mod utterance;

pub(super) use utterance::{Dialect, Utterance};

use std::sync::Arc;

use ort::session::RunOptions;
use tokio::sync::mpsc;

use self::call::Call;
use self::executor::Job;
use super::LoadError;
use super::worker::Worker;
use crate::engine::compute::{ComputeGate, ComputePermit};
use crate::engine::tts::TtsEvent;
use crate::engine::{CancelFlag, Device, EngineError, EngineFuture, EngineStream};

/// The longest text of one call: the limit of OpenAI's `/v1/audio/speech`.
const MAX_TEXT_CHARS: usize = 4096;
/// Parts of a call that may wait for their reader; a part is a sentence as a rule. Then its thread waits.
const PARTS_CAPACITY: usize = 8;

/// How a text is spoken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Manner {
    /// The speaker's id, or the place of its style table.
    pub(super) voice: usize,
    /// 1 is the voice's normal speed.
    pub(super) speed: f32,
}

/// What a graph gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sound {
    /// In [-1, 1], but for what the graph overdoes.
    pub(super) samples: Vec<f32>,
    /// How long each id lasts, in whatever unit; empty where the graph does not tell.
    pub(super) lengths: Vec<f32>,
}

/// A graph that speaks.
pub(super) trait VoiceGraph: Send + 'static {
    /// The audio of `ids`. `stop` ends it from another thread.
    fn speak(&mut self, ids: &[i64], manner: Manner, stop: &RunOptions) -> Result<Sound, String>;
}

/// Where parts of a call are computed, and who lets them.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    pub(super) device: Device,
    pub(super) gate: Arc<dyn ComputeGate>,
}

impl Steps {
    /// Leave to compute a part; on the CPU the call has it already.
    fn enter(&self) -> Option<ComputePermit> {
        self.device.is_gpu().then(|| self.gate.enter(self.device, true))
    }
}

/// A voice in ONNX Runtime.
#[derive(Debug)]
pub(super) struct OnnxVoice {
    name: String,
    sample_rate: u32,
    device: Device,
    worker: Worker<Job>,
}

impl OnnxVoice {
    /// Starts a thread for each of `graphs`.
    pub(super) fn start<G: VoiceGraph>(
        name: &str,
        sample_rate: u32,
        graphs: Vec<G>,
        steps: &Steps,
    ) -> Result<Self, LoadError> {
        let body = |graph| executor::body(graph, sample_rate, steps.clone());
        let worker = Worker::start(name, graphs.into_iter().map(body).collect())?;
        Ok(Self { name: name.to_owned(), sample_rate, device: steps.device, worker })
    }

    /// Where it computes.
    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Speaks what `utterance` comes to. Dropping the stream stops the work.
    pub(super) fn speak(
        &self,
        utterance: EngineFuture<Utterance>,
        manner: Manner,
        cancel: CancelFlag,
    ) -> EngineStream<TtsEvent> {
        let (parts, reader) = mpsc::channel(PARTS_CAPACITY);
        let (script, scripts) = crossbeam_channel::bounded(1);
        let options = match RunOptions::new() {
            Ok(options) => Arc::new(options),
            Err(error) => return self.fail(error.to_string()),
        };
        let job =
            Job { utterance: scripts, manner, cancel: cancel.clone(), stop: Arc::clone(&options), parts };
        if let Err(error) = self.worker.submit(job) {
            return Box::pin(futures::stream::iter([Err(error)]));
        }
        let call = Call::new(&self.name, self.sample_rate, (utterance, script), reader);
        call.stream(cancel, options)
    }

    fn fail(&self, reason: String) -> EngineStream<TtsEvent> {
        let error = EngineError::Failed { engine: self.name.clone(), reason };
        Box::pin(futures::stream::iter([Err(error)]))
    }
}

/// The words of a request's text, if it is not too long.
pub(super) fn words(engine: &str, text: &str) -> Result<Vec<String>, EngineError> {
    let chars = text.chars().count();
    if chars > MAX_TEXT_CHARS {
        let reason = format!("the text has {chars} characters, the limit is {MAX_TEXT_CHARS}");
        return Err(EngineError::BadRequest { engine: engine.to_owned(), reason });
    }
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// A speed that a voice can bear; what is no number is 1.
pub(super) fn bearable(speed: f32) -> f32 {
    if speed.is_finite() { speed.clamp(0.25, 4.0) } else { 1.0 }
}

#[cfg(test)]
mod tests;
