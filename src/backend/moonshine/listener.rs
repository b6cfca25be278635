//! What one thread does with its graphs: takes a call, hears its audio window by window, writes token by token,
//! answers. A call that nobody wants any more ends between two tokens, or within a run of a graph.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use ort::session::RunOptions;

use super::MoonshineConfig;
use super::graph::Graphs;
use super::model::Model;
use crate::backend::cuts::{fill_up, windows};
use crate::backend::guards::Draft;
use crate::backend::stt_calls::{Job, append, finish};
use crate::engine::EngineError;
use crate::engine::stt::{STT_SAMPLE_RATE, TokenLogprob, Transcript};

/// The encoder's convolutions make nothing of less than 895 samples, and the makers' own code takes no less than
/// 100 ms: shorter audio is filled up with silence to that.
const MIN_SAMPLES: usize = STT_SAMPLE_RATE as usize / 10;

/// A call, and what ends the run of a graph for it.
pub(super) struct Call {
    pub(super) job: Job,
    pub(super) stop: Arc<RunOptions>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("job", &self.job).finish_non_exhaustive()
    }
}

/// One thread's graphs, and what it knows of the model.
pub(super) struct Listener {
    pub(super) graphs: Graphs,
    pub(super) model: Arc<Model>,
    pub(super) config: MoonshineConfig,
}

impl Listener {
    pub(super) fn run(&mut self, calls: &Receiver<Call>) {
        for call in calls {
            let transcript = self.transcribe(&call);
            // A caller that has gone wants no answer.
            drop(call.job.answer.send(transcript));
        }
    }

    /// Hears the shortest audio, so that the first caller does not wait for memory to be touched; finds what is wrong
    /// with a graph too.
    pub(super) fn warm_up(&mut self) -> Result<(), String> {
        let stop = RunOptions::new().map_err(|error| error.to_string())?;
        let mut hearing = self.graphs.hear(&[0.0; MIN_SAMPLES], &stop)?;
        for _ in 0..2 {
            self.graphs.step(&mut hearing, self.model.start, &stop)?;
        }
        Ok(())
    }

    fn transcribe(&mut self, call: &Call) -> Result<Transcript, EngineError> {
        let (request, language) = (&call.job.request, self.config.language.clone());
        self.check_language(request.language.as_deref())?;
        if request.audio.is_empty() {
            return Ok(Transcript::default());
        }
        let mut whole = Transcript::default();
        for range in windows(&request.audio, self.model.window_len()) {
            let audio = fill_up(&request.audio[range], MIN_SAMPLES);
            let mut draft = self.write(&audio, call)?;
            let guarded = self.config.guards.shorten(&mut draft);
            let text = draft.text();
            append(&mut whole, Transcript { text, tokens: draft.tokens, guarded, ..Transcript::default() });
        }
        whole.language = language;
        finish(&self.config.name, &mut whole, &self.config.guards, &request.audio);
        Ok(whole)
    }

    /// The likeliest text of one window.
    fn write(&mut self, audio: &[f32], call: &Call) -> Result<Draft, EngineError> {
        let mut hearing = self.graphs.hear(audio, &call.stop).map_err(|reason| self.failed(call, reason))?;
        let (mut draft, mut sum, mut count) = (Draft::default(), 0.0, 0.0_f32);
        let mut token = self.model.start;
        for _ in 0..self.model.max_tokens(audio.len()) {
            if call.job.is_given_up() {
                return Err(EngineError::Cancelled);
            }
            let logits = self.graphs.step(&mut hearing, token, &call.stop);
            let logits = logits.map_err(|reason| self.failed(call, reason))?;
            let (likeliest, logprob) = likeliest(&logits);
            (token, sum, count) = (likeliest, sum + logprob, count + 1.0);
            draft.has_ended = self.model.is_end(token);
            if draft.has_ended {
                break;
            }
            draft.tokens.extend(self.model.bytes(token).map(|bytes| TokenLogprob { bytes, logprob }));
        }
        draft.mean_logprob = sum / count.max(1.0);
        Ok(draft)
    }

    fn check_language(&self, asked: Option<&str>) -> Result<(), EngineError> {
        let (Some(asked), Some(known)) = (asked, self.config.language.as_deref()) else { return Ok(()) };
        // Clients send `en-US` where the API asks for `en`.
        let code = asked.split(['-', '_']).next().unwrap_or(asked);
        if code.eq_ignore_ascii_case(known) {
            return Ok(());
        }
        let reason = format!("the model knows `{known}` alone");
        Err(EngineError::BadRequest { engine: self.config.name.clone(), reason })
    }

    /// What was stopped fails too; nobody asks for the reason then.
    fn failed(&self, call: &Call, reason: String) -> EngineError {
        if call.job.is_given_up() {
            return EngineError::Cancelled;
        }
        EngineError::Failed { engine: self.config.name.clone(), reason }
    }
}

/// The token with the highest logit, the first of several, and the logarithm of its probability.
fn likeliest(logits: &[f32]) -> (u32, f32) {
    let (mut best, mut most) = (0, f32::NEG_INFINITY);
    for (token, logit) in (0u32..).zip(logits) {
        if *logit > most {
            (best, most) = (token, *logit);
        }
    }
    let sum: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
    (best, -sum.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_likeliest_is_taken() {
        let (token, logprob) = likeliest(&[0.0, 2.0, 2.0, -1.0]);
        assert_eq!(token, 1);
        let expected = 2.0 - (1.0_f32 + 2.0 * 2.0_f32.exp() + (-1.0_f32).exp()).ln();
        assert!((logprob - expected).abs() < 1e-5, "{logprob} {expected}");
        assert_eq!(likeliest(&[f32::NAN, f32::NEG_INFINITY]).0, 0);
    }
}
