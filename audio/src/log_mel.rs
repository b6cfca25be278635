//! Whisper's log-mel spectrogram of the last 8 s, which turn detection by voice hears. Pure. Read [`LogMel`] first.
//!
//! As Whisper's feature extractor makes it: silence before what is shorter, mean 0 and variance 1, a Hann window of
//! 25 ms each 10 ms, 80 bands on Slaney's scale, the logarithm cut 8 decades below its maximum, then (x + 4) / 4.

use std::f64::consts::PI;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

/// Bands.
pub const BANDS: usize = 80;
/// Frames of 10 ms.
pub const FRAMES: usize = 800;

const RATE: f64 = 16_000.0;
const WINDOW: usize = 400;
const HOP: usize = 160;
const BINS: usize = WINDOW / 2 + 1;
const SAMPLES: usize = FRAMES * HOP;

/// Makes spectrograms.
pub struct LogMel {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// For each band its first bin, and the weights from there on.
    filters: Vec<(usize, Vec<f32>)>,
}

impl std::fmt::Debug for LogMel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogMel").finish_non_exhaustive()
    }
}

impl Default for LogMel {
    fn default() -> Self {
        Self::new()
    }
}

impl LogMel {
    /// Plans the transform and works out window and bands.
    pub fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(WINDOW);
        let hann = |n: usize| 0.5 - 0.5 * (2.0 * PI * n as f64 / WINDOW as f64).cos();
        Self { fft, window: (0..WINDOW).map(|n| narrow(hann(n))).collect(), filters: filters() }
    }

    /// Of 16 kHz mono in [-1, 1], the last 8 s: band after band, [`FRAMES`] values each.
    pub fn of(&self, audio: &[f32]) -> Vec<f32> {
        let audio = padded(&audio[audio.len().saturating_sub(SAMPLES)..]);
        let mut features = vec![0.0; BANDS * FRAMES];
        let (mut frame, mut bins) = (self.fft.make_input_vec(), self.fft.make_output_vec());
        for at in 0..FRAMES {
            let samples = &audio[at * HOP..at * HOP + WINDOW];
            for ((value, sample), weight) in frame.iter_mut().zip(samples).zip(&self.window) {
                *value = sample * weight;
            }
            // The lengths are those that were planned.
            drop(self.fft.process(&mut frame, &mut bins));
            let power: Vec<f32> = bins.iter().map(|bin| bin.norm_sqr()).collect();
            for (band, (first, weights)) in self.filters.iter().enumerate() {
                let energy: f32 =
                    weights.iter().zip(&power[*first..]).map(|(weight, power)| weight * power).sum();
                features[band * FRAMES + at] = energy.max(1e-10).log10();
            }
        }
        let floor = features.iter().copied().fold(f32::MIN, f32::max) - 8.0;
        for value in &mut features {
            *value = (value.max(floor) + 4.0) / 4.0;
        }
        features
    }
}

/// Brings audio to its full length, mean 0 and variance 1, and mirrors half a window at both ends.
fn padded(audio: &[f32]) -> Vec<f32> {
    let silence = SAMPLES - audio.len();
    let count = SAMPLES as f64;
    let mean = audio.iter().map(|sample| f64::from(*sample)).sum::<f64>() / count;
    let square = |sample: &f32| (f64::from(*sample) - mean).powi(2);
    let variance = (audio.iter().map(square).sum::<f64>() + silence as f64 * mean * mean) / count;
    let scale = 1.0 / (variance + 1e-7).sqrt();
    let mut samples = vec![0.0; WINDOW / 2];
    samples.extend(std::iter::repeat_n(narrow(-mean * scale), silence));
    samples.extend(audio.iter().map(|sample| narrow((f64::from(*sample) - mean) * scale)));
    let half = WINDOW / 2;
    for at in 0..half {
        samples[at] = samples[2 * half - at];
    }
    let last = samples.len() - 1;
    for at in 1..=half {
        samples.push(samples[last - at]);
    }
    samples
}

/// Triangles of equal area, evenly spaced on Slaney's scale from 0 to 8 kHz.
fn filters() -> Vec<(usize, Vec<f32>)> {
    let top = to_mel(RATE / 2.0);
    let edges: Vec<f64> = (0..BANDS + 2).map(|at| to_hz(top * at as f64 / (BANDS + 1) as f64)).collect();
    let bin_hz = RATE / 2.0 / (BINS - 1) as f64;
    let band = |edges: &[f64]| {
        let (low, middle, high) = (edges[0], edges[1], edges[2]);
        let weight = |bin: usize| {
            let hz = bin as f64 * bin_hz;
            ((hz - low) / (middle - low)).min((high - hz) / (high - middle)).max(0.0) * 2.0 / (high - low)
        };
        let inside: Vec<usize> = (0..BINS).filter(|bin| weight(*bin) > 0.0).collect();
        let first = inside.first().copied().unwrap_or_default();
        (first, inside.into_iter().map(|bin| narrow(weight(bin))).collect())
    };
    edges.windows(3).map(band).collect()
}

/// Slaney's scale: linear up to 1 kHz (15 mel), then 27 steps for each factor of 6.4.
fn to_mel(hz: f64) -> f64 {
    if hz < 1_000.0 { hz * 3.0 / 200.0 } else { 15.0 + (hz / 1_000.0).ln() * 27.0 / 6.4_f64.ln() }
}

fn to_hz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1_000.0 * ((mel - 15.0) * 6.4_f64.ln() / 27.0).exp() }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "values of ordinary size, to the precision that the graph takes"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}
