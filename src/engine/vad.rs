//! Voice activity: is anybody speaking in this frame?

use std::fmt::Debug;

/// Makes detectors; what they share (weights) is read-only.
pub trait VadEngine: Send + Sync + Debug {
    /// A detector for one session, in its initial state.
    fn detector(&self) -> Box<dyn VadDetector>;
}

/// Voice activity of one audio stream. Its state belongs to one session.
///
/// It is called on the session's own task, so a frame must take well under a millisecond.
pub trait VadDetector: Send + Debug {
    /// Samples a frame at 16 kHz.
    fn frame_len(&self) -> usize;

    /// Probability in [0, 1] that the frame holds speech. `frame` is 16 kHz mono in [-1, 1] and
    /// exactly [`frame_len`](Self::frame_len) long.
    fn predict(&mut self, frame: &[f32]) -> f32;

    /// Forgets the stream so far.
    fn reset(&mut self);
}
