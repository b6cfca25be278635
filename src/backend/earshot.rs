//! Voice activity by the `earshot` crate: a small neural network in pure Rust with its weights in the binary,
//! about 5 µs a frame and 8 KB a session. Loads nothing, so it cannot be missing.

use earshot::{DefaultPredictor, Detector};

use crate::engine::vad::{VadDetector, VadEngine};

/// Samples a frame that the network takes: 16 ms at 16 kHz. Any other length is refused by the crate.
const FRAME_LEN: usize = 256;

/// Makes detectors; holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct EarshotVad;

impl VadEngine for EarshotVad {
    fn detector(&self) -> Box<dyn VadDetector> {
        Box::new(EarshotDetector { network: Box::default() })
    }
}

struct EarshotDetector {
    network: Box<Detector<DefaultPredictor>>,
}

impl std::fmt::Debug for EarshotDetector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EarshotDetector").finish_non_exhaustive()
    }
}

impl VadDetector for EarshotDetector {
    fn frame_len(&self) -> usize {
        FRAME_LEN
    }

    fn predict(&mut self, frame: &[f32]) -> f32 {
        if frame.len() != FRAME_LEN {
            debug_assert_eq!(frame.len(), FRAME_LEN, "the caller cuts frames of frame_len");
            return 0.0;
        }
        // One sample that is no number would stay in the network's state for ever.
        let clean = |n: usize| if frame[n].is_finite() { frame[n].clamp(-1.0, 1.0) } else { 0.0 };
        let frame: [f32; FRAME_LEN] = std::array::from_fn(clean);
        self.network.predict_f32(&frame).clamp(0.0, 1.0)
    }

    fn reset(&mut self) {
        self.network.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_a_tone_are_not_speech() {
        let mut detector = EarshotVad.detector();
        for _ in 0..50 {
            assert!(detector.predict(&[0.0; FRAME_LEN]) < 0.5);
        }
        let tone: Vec<f32> = (0..FRAME_LEN * 50)
            .map(|n| (n as f32 * 440.0 * std::f32::consts::TAU / 16_000.0).sin())
            .collect();
        let loud = tone.chunks(FRAME_LEN).filter(|frame| detector.predict(frame) >= 0.7).count();
        assert!(loud <= 2, "{loud} frames of a tone taken for speech");
    }

    #[test]
    fn two_detectors_share_nothing() {
        let (mut one, mut other) = (EarshotVad.detector(), EarshotVad.detector());
        for n in 0..40 {
            let noise: Vec<f32> =
                (0..FRAME_LEN).map(|i| ((i * 7919 + n * 31) % 201) as f32 / 100.0 - 1.0).collect();
            one.predict(&noise);
        }
        let fresh = EarshotVad.detector().predict(&[0.01; FRAME_LEN]);
        assert_eq!(other.predict(&[0.01; FRAME_LEN]), fresh);
        one.reset();
        assert_eq!(one.predict(&[0.01; FRAME_LEN]), fresh);
        other.reset();
        other.predict(&[f32::NAN; FRAME_LEN]);
        assert!(other.predict(&[0.01; FRAME_LEN]).is_finite());
    }
}
