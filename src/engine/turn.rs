//! Turn detection: does this speech sound as if the person had finished?

use std::fmt::Debug;
use std::sync::Arc;

use super::{CancelFlag, EngineFuture};

/// Judges by the voice, where [`SttEngine`](super::stt::SttEngine) judges words.
pub trait TurnDetector: Send + Sync + Debug {
    /// Probability in [0, 1] that the turn is over. `audio` is 16 kHz mono in [-1, 1], the turn so far with its
    /// pauses; only the latest seconds may count.
    fn judge(&self, audio: Arc<[f32]>, cancel: CancelFlag) -> EngineFuture<f32>;
}
