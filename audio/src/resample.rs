//! Streaming conversion between sample rates. Read [`Resampler`] first.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler as _, Resizable as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use super::AudioError;
use super::pcm::{to_f32, to_i16};

/// Taps of the filter at the lower of the two rates. 64 keep the delay near 1–2 ms and cost 0.3 ms a second.
const TAPS: u32 = 64;
/// Rates further apart than 64 to 1 are a mistake (or an attack by a file header), not audio.
const MAX_TAPS: u32 = 64 * TAPS;
/// Longest run of input that is filtered at once; also bounds the inner buffer. 20 ms at 24 kHz.
const CHUNK: usize = 480;
/// Most filter phases kept exactly (22.05 kHz to 24 kHz needs 160); odder ratios interpolate between 128.
const EXACT_PHASES: u32 = 512;

/// Converts a mono stream from one rate to another, in chunks of any length.
///
/// The output is aligned with the input (the filter's delay is cut off at the start), does not depend on how the
/// input is cut, and after [`flush`](Self::flush) has `round(input × to / from)` samples. Until then it lags by half
/// the filter. Equal rates pass through untouched. One costs a few KiB (at worst 120 KiB, for odd ratios).
#[derive(Debug)]
pub struct Resampler {
    from_hz: u32,
    to_hz: u32,
    stage: Option<Box<Stage>>,
}

impl Resampler {
    /// A resampler from `from_hz` to `to_hz`. Fails if a rate is 0 or they are too far apart.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, AudioError> {
        let error = AudioError::SampleRate { from_hz, to_hz };
        if from_hz == 0 || to_hz == 0 {
            return Err(error);
        }
        let stage = if from_hz == to_hz { None } else { Some(Stage::new(from_hz, to_hz).ok_or(error)?) };
        Ok(Self { from_hz, to_hz, stage: stage.map(Box::new) })
    }

    /// Rate of the input in Hz.
    pub const fn from_hz(&self) -> u32 {
        self.from_hz
    }

    /// Rate of the output in Hz.
    pub const fn to_hz(&self) -> u32 {
        self.to_hz
    }

    /// Takes input and gives the output that it completes.
    pub fn push(&mut self, samples: &[i16]) -> Vec<i16> {
        match &mut self.stage {
            None => samples.to_vec(),
            Some(stage) => to_i16(&stage.push(&to_f32(samples))),
        }
    }

    /// [`push`](Self::push) for floats in [-1, 1].
    pub fn push_f32(&mut self, samples: &[f32]) -> Vec<f32> {
        match &mut self.stage {
            None => samples.to_vec(),
            Some(stage) => stage.push(samples),
        }
    }

    /// Gives what the filter still holds and starts over: the next input is a new stream.
    pub fn flush(&mut self) -> Vec<i16> {
        to_i16(&self.flush_f32())
    }

    /// [`flush`](Self::flush) as floats in [-1, 1].
    pub fn flush_f32(&mut self) -> Vec<f32> {
        self.stage.as_mut().map(|stage| stage.flush()).unwrap_or_default()
    }

    /// Drops what the filter still holds and starts over.
    pub fn reset(&mut self) {
        if let Some(stage) = &mut self.stage {
            stage.reset();
        }
    }
}

/// Converts one whole clip.
pub fn resample(samples: &[i16], from_hz: u32, to_hz: u32) -> Result<Vec<i16>, AudioError> {
    let mut resampler = Resampler::new(from_hz, to_hz)?;
    let mut output = resampler.push(samples);
    output.extend(resampler.flush());
    Ok(output)
}

/// The filter and its place in the stream.
#[derive(Debug)]
struct Stage {
    filter: Async<f32>,
    ratio: (u64, u64),
    consumed: u64,
    produced: u64,
    /// Output before the first input sample, and how much of that is still to be cut off.
    delay: usize,
    trim: usize,
    scratch: Vec<f32>,
}

impl Stage {
    fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        let divisor = gcd(from_hz, to_hz);
        let (step_in, step_out) = (from_hz / divisor, to_hz / divisor);
        let parameters = parameters(step_in, step_out)?;
        let ratio = f64::from(step_out) / f64::from(step_in);
        let filter = Async::new_sinc(ratio, 1.0, &parameters, CHUNK, 1, FixedAsync::Input).ok()?;
        let delay = delay(&parameters, ratio);
        let scratch = vec![0.0; filter.output_frames_max()];
        let ratio = (u64::from(step_in), u64::from(step_out));
        Some(Self { filter, ratio, consumed: 0, produced: 0, delay, trim: delay, scratch })
    }

    fn push(&mut self, samples: &[f32]) -> Vec<f32> {
        let (step_in, step_out) = self.ratio;
        self.consumed += samples.len() as u64;
        let expected = samples.len() as u64 * step_out / step_in + 2;
        let mut output = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        for chunk in samples.chunks(CHUNK) {
            self.filter_chunk(chunk, &mut output);
        }
        self.produced += output.len() as u64;
        output
    }

    fn flush(&mut self) -> Vec<f32> {
        let (step_in, step_out) = self.ratio;
        let total = (self.consumed * step_out + step_in / 2) / step_in;
        let missing = usize::try_from(total - self.produced).unwrap_or(usize::MAX);
        let mut output = Vec::new();
        while output.len() < missing {
            self.filter_chunk(&[0.0; CHUNK], &mut output);
        }
        output.truncate(missing);
        self.reset();
        output
    }

    fn reset(&mut self) {
        self.filter.reset();
        self.trim = self.delay;
        (self.consumed, self.produced) = (0, 0);
    }

    /// Filters at most [`CHUNK`] samples and appends what comes out.
    fn filter_chunk(&mut self, chunk: &[f32], output: &mut Vec<f32>) {
        const SIZED: &str = "the buffers have the sizes that the filter asks for";
        self.filter.set_chunk_size(chunk.len()).expect(SIZED);
        let input = InterleavedSlice::new(chunk, 1, chunk.len()).expect(SIZED);
        let capacity = self.scratch.len();
        let mut room = InterleavedSlice::new_mut(&mut self.scratch, 1, capacity).expect(SIZED);
        let (_, count) = self.filter.process_into_buffer(&input, &mut room, None).expect(SIZED);
        let cut = self.trim.min(count);
        self.trim -= cut;
        output.extend_from_slice(&self.scratch[cut..count]);
    }
}

/// Rates here are small whole ratios, so every output falls on one of `step_out` filter phases and the nearest is
/// exact: no interpolation between phases, a quarter of the cost and, for the usual ratios, a few hundred bytes.
fn parameters(step_in: u32, step_out: u32) -> Option<SincInterpolationParameters> {
    let taps = TAPS.checked_mul(step_in.max(step_out))? / step_out;
    let taps = taps.checked_next_multiple_of(8).filter(|taps| *taps <= MAX_TAPS)?;
    let parameters =
        SincInterpolationParameters::new(usize::try_from(taps).ok()?, WindowFunction::BlackmanHarris);
    Some(if step_out <= EXACT_PHASES {
        parameters
            .oversampling_factor(usize::try_from(step_out).ok()?)
            .interpolation(SincInterpolationType::Nearest)
    } else {
        parameters
    })
}

/// How many outputs come before the first input sample. rubato places output `n` at the input position
/// `(n + 1) / ratio + 1 / phases - taps / 2` (its `output_delay()` forgets the first two terms).
fn delay(parameters: &SincInterpolationParameters, ratio: f64) -> usize {
    let centre = parameters.sinc_len as f64 / 2.0 - 1.0 / parameters.oversampling_factor as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred at most")]
    let delay = (centre * ratio - 1.0).round().max(0.0) as usize;
    delay
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATES: [(u32, u32); 9] = [
        (24_000, 16_000),
        (16_000, 24_000),
        (8_000, 16_000),
        (22_050, 24_000),
        (22_050, 8_000),
        (48_000, 16_000),
        (44_100, 16_000),
        (16_000, 16_000),
        (24_000, 8_000),
    ];

    fn tone(hz: f64, rate: u32, count: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * hz / f64::from(rate);
        (0..count).map(|i| (12_000.0 * (step * i as f64).sin()) as i16).collect()
    }

    #[test]
    fn a_tone_keeps_its_frequency_phase_and_level() {
        for (from, to) in RATES {
            let output = resample(&tone(440.0, from, from as usize), from, to).unwrap();
            let wanted = tone(440.0, to, to as usize);
            assert_eq!(output.len(), wanted.len(), "{from} to {to}");
            // The edges see the silence around the tone; a fraction of an output sample of shift is allowed.
            let inner = output.len() / 10..output.len() * 9 / 10;
            let worst = inner.map(|i| output[i].abs_diff(wanted[i])).max();
            assert!(worst < Some(2_200), "{from} to {to}: off by {worst:?}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_filtered_out() {
        let output = resample(&tone(11_000.0, 24_000, 24_000), 24_000, 16_000).unwrap();
        let loudest = output[1_000..15_000].iter().map(|s| s.unsigned_abs()).max();
        assert!(loudest < Some(40), "11 kHz left {loudest:?} of 12000");
    }

    #[test]
    fn a_flushed_or_reset_resampler_starts_over() {
        let clip = tone(300.0, 24_000, 5_000);
        let once = resample(&clip, 24_000, 16_000).unwrap();
        let mut resampler = Resampler::new(24_000, 16_000).unwrap();
        for reset in [false, true] {
            let mut output = resampler.push(&clip);
            if reset {
                resampler.reset();
                output = resampler.push(&clip);
            }
            output.extend(resampler.flush());
            assert_eq!(output, once);
        }
        assert!(resampler.flush().is_empty());
    }

    #[test]
    fn the_output_lags_little() {
        let mut resampler = Resampler::new(24_000, 16_000).unwrap();
        let lag = 16_000 - resampler.push(&vec![0; 24_000]).len();
        assert!(lag <= 48, "{lag} samples at 16 kHz");
    }

    #[test]
    fn impossible_rates_are_refused() {
        assert!(Resampler::new(0, 16_000).is_err());
        assert!(Resampler::new(16_000, 0).is_err());
        assert!(Resampler::new(u32::MAX, 1).is_err());
        assert!(Resampler::new(4_000_000, 16_000).is_err());
    }

    proptest! {
        #[test]
        fn cutting_the_input_does_not_change_the_output(
            rates in 0usize..RATES.len(),
            cuts in prop::collection::vec(0usize..1_500, 1..12),
        ) {
            let (from, to) = RATES[rates];
            let total: usize = cuts.iter().sum();
            let clip = tone(700.0, from, total);
            let whole = resample(&clip, from, to).unwrap();
            let length = (total as f64 * f64::from(to) / f64::from(from)).round() as usize;
            prop_assert_eq!(whole.len(), length);
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut pieces = Vec::new();
            let mut rest = clip.as_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut);
                pieces.extend(resampler.push(piece));
                rest = after;
            }
            pieces.extend(resampler.flush());
            prop_assert_eq!(pieces, whole);
        }
    }
}
