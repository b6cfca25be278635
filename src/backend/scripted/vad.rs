//! Voice activity by loudness: what is loud is speech.

use serde::{Deserialize, Serialize};

use crate::engine::vad::{VadDetector, VadEngine};

/// Samples a frame: as many as the default detector takes, 16 ms.
const FRAME_LEN: usize = 256;

/// Configuration of [`ScriptedVad`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedVadConfig {
    /// RMS level in dB below full scale from which a frame counts as speech.
    pub threshold_dbfs: f32,
}

impl Default for ScriptedVadConfig {
    /// -40 dBFS: above a quiet room, below any test tone.
    fn default() -> Self {
        Self { threshold_dbfs: -40.0 }
    }
}

/// Voice activity by loudness: probability 1 from the threshold on, 0 below.
#[derive(Clone, Copy, Debug)]
pub struct ScriptedVad {
    threshold: f32,
}

impl ScriptedVad {
    /// An engine with the level of `config`.
    pub fn new(config: &ScriptedVadConfig) -> Self {
        Self { threshold: 10f32.powf(config.threshold_dbfs / 20.0) }
    }
}

impl VadEngine for ScriptedVad {
    fn detector(&self) -> Box<dyn VadDetector> {
        Box::new(*self)
    }
}

impl VadDetector for ScriptedVad {
    fn frame_len(&self) -> usize {
        FRAME_LEN
    }

    fn predict(&mut self, frame: &[f32]) -> f32 {
        let power = frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len().max(1) as f32;
        if power.sqrt() >= self.threshold { 1.0 } else { 0.0 }
    }

    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loud_is_speech() {
        let mut detector = ScriptedVad::new(&ScriptedVadConfig::default()).detector();
        assert_eq!(detector.frame_len(), 256);
        assert_eq!(detector.predict(&[0.5; 256]), 1.0);
        assert_eq!(detector.predict(&[0.001; 256]), 0.0);
        assert_eq!(detector.predict(&[]), 0.0);
    }
}
