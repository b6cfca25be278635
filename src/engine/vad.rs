//! Voice activity: is anybody speaking in this frame?

use std::fmt::Debug;

use super::EngineFuture;

/// Makes detectors; what they share (weights) is read-only.
pub trait VadEngine: Send + Sync + Debug {
    /// A detector for one session, in its initial state.
    fn detector(&self) -> Box<dyn VadDetector>;
}

/// Voice activity of one audio stream. Its state belongs to one session.
///
/// It is called on the session's own task.
pub trait VadDetector: Send + Debug {
    /// Samples a frame at 16 kHz.
    fn frame_len(&self) -> usize;

    /// Probability in [0, 1] that the frame holds speech. `frame` is 16 kHz mono in [-1, 1] and
    /// exactly [`frame_len`](Self::frame_len) long.
    fn predict(&mut self, frame: &[f32]) -> f32;

    /// How many frames it takes at once to judge them elsewhere, together with those of other sessions. 0: it judges
    /// one at a time in [`predict`](Self::predict), which takes well under a millisecond; else that blocks its thread.
    fn batch(&self) -> usize {
        0
    }

    /// The same of some frames, at most [`batch`](Self::batch): their probabilities in order, later. The next ones are
    /// given when these are answered.
    fn submit(&mut self, frames: &[f32]) -> EngineFuture<Vec<f32>> {
        let judged = frames.chunks_exact(self.frame_len().max(1)).map(|frame| self.predict(frame)).collect();
        Box::pin(std::future::ready(Ok(judged)))
    }

    /// Forgets the stream so far.
    fn reset(&mut self);
}
