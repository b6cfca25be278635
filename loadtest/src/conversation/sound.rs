//! Noises, and sounds put together to what the microphone hears. Pure: the same seed, the same samples.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::conversation::case::Noise;

/// Peak of the noises: as loud as speech.
const PEAK: f32 = 9_000.0;

/// Samples of `noise` at `rate` a second.
pub(crate) fn noise(noise: Noise, rate: u32, seed: u64) -> Vec<i16> {
    let mut rng = StdRng::seed_from_u64(seed);
    let samples = match noise {
        Noise::Click => shaped(white(&mut rng, rate, 60), 2.0, rate),
        Noise::White => shaped(white(&mut rng, rate, 250), 20.0, rate),
        Noise::Pink => shaped(pink(&mut rng, rate, 600), 40.0, rate),
        Noise::Door => door(&mut rng, rate),
        Noise::Cough => cough(&mut rng, rate),
    };
    let loudest = samples.iter().fold(1e-6_f32, |loudest, sample| loudest.max(sample.abs()));
    samples.iter().map(|sample| to_i16(sample / loudest * PEAK)).collect()
}

/// Silence, as samples.
pub(crate) fn silence(ms: u64, rate: u32) -> Vec<i16> {
    vec![0; length(ms, rate)]
}

#[expect(clippy::cast_possible_truncation, reason = "peaks lie within")]
fn to_i16(sample: f32) -> i16 {
    sample as i16
}

fn length(ms: u64, rate: u32) -> usize {
    usize::try_from(ms * u64::from(rate) / 1_000).unwrap_or_default()
}

fn white(rng: &mut StdRng, rate: u32, ms: u64) -> Vec<f32> {
    (0..length(ms, rate)).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// White noise through three low passes of different corners, summed: falls by about 3 dB an octave.
fn pink(rng: &mut StdRng, rate: u32, ms: u64) -> Vec<f32> {
    let mut lows = [0.0_f32; 3];
    white(rng, rate, ms)
        .into_iter()
        .map(|sample| {
            for (low, keep) in lows.iter_mut().zip([0.997, 0.963, 0.57]) {
                *low = *low * keep + sample * (1.0 - keep) * 3.0;
            }
            lows.iter().sum::<f32>() + sample * 0.18
        })
        .collect()
}

/// A hit of 60 Hz that rings out, with a rattle.
fn door(rng: &mut StdRng, rate: u32) -> Vec<f32> {
    let rattle = pink(rng, rate, 350);
    let step = std::f32::consts::TAU * 60.0 / rate as f32;
    let ring = |at: usize| (at as f32 * step).sin() * (-(at as f32) / (0.08 * rate as f32)).exp();
    rattle
        .iter()
        .enumerate()
        .map(|(at, sample)| ring(at) + sample * 0.5 * (-(at as f32) / (0.03 * rate as f32)).exp())
        .collect()
}

/// Two bursts of hoarse noise, 120 and 180 ms, 90 ms apart.
fn cough(rng: &mut StdRng, rate: u32) -> Vec<f32> {
    let mut samples = shaped(throat(pink(rng, rate, 120)), 10.0, rate);
    samples.extend(std::iter::repeat_n(0.0, length(90, rate)));
    samples.extend(shaped(throat(pink(rng, rate, 180)), 30.0, rate));
    samples
}

/// Sharpens what a wide-open throat lets through.
fn throat(samples: Vec<f32>) -> Vec<f32> {
    let mut before = 0.0;
    samples.into_iter().map(|sample| sample - 0.9 * std::mem::replace(&mut before, sample)).collect()
}

/// Fades in within 2 ms and out over `fall_ms`, so that nothing but the noise itself is heard.
fn shaped(mut samples: Vec<f32>, fall_ms: f32, rate: u32) -> Vec<f32> {
    let (rise, fall) = (0.002 * rate as f32, fall_ms / 1_000.0 * rate as f32);
    let count = samples.len();
    for (at, sample) in samples.iter_mut().enumerate() {
        *sample *= (at as f32 / rise).min(1.0) * ((count - at) as f32 / fall).min(1.0);
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noises_are_as_long_and_as_loud_as_they_say() {
        let kinds = [Noise::Click, Noise::White, Noise::Pink, Noise::Door, Noise::Cough];
        for (kind, ms) in kinds.into_iter().zip([60, 250, 600, 350, 390]) {
            let samples = noise(kind, 24_000, 7);
            assert_eq!(samples.len(), ms * 24, "{kind:?}");
            let loudest = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
            assert!((8_990..=9_000).contains(&loudest), "{kind:?}: {loudest}");
            assert_eq!(samples, noise(kind, 24_000, 7), "{kind:?}: the same seed");
        }
        assert_eq!(silence(10, 8_000), [0; 80]);
    }
}
