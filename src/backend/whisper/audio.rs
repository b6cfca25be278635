//! How an utterance is laid out for the model. Pure.

use crate::backend::cuts;
use crate::engine::stt::STT_SAMPLE_RATE;

/// Samples that one position of Whisper's encoder covers: 20 ms.
const SAMPLES_PER_POSITION: usize = 320;
/// whisper.cpp passes over what is shorter than 100 ms; such audio is filled up with silence to this.
const MIN_SAMPLES: usize = STT_SAMPLE_RATE as usize / 5;

/// The most samples that one run of the model hears.
pub(super) fn window_len(model_ctx: usize) -> usize {
    (model_ctx * SAMPLES_PER_POSITION).max(cuts::CUT_FRAME)
}

/// `audio`, filled up with silence where whisper.cpp would pass it over.
pub(super) fn fill_up(audio: &[f32]) -> Vec<f32> {
    cuts::fill_up(audio, MIN_SAMPLES)
}

/// The most tokens that speech of this length can hold: fast speech has about 6 a second, other scripts twice
/// that. It bounds what a model writes that repeats itself.
pub(super) fn max_tokens(samples: usize) -> usize {
    16 + samples * 15 / STT_SAMPLE_RATE as usize
}
