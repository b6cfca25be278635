//! How an utterance is laid out for the model. Pure.

use std::ops::Range;

use crate::engine::stt::STT_SAMPLE_RATE;

/// Samples that one position of Whisper's encoder covers: 20 ms.
const SAMPLES_PER_POSITION: usize = 320;
/// whisper.cpp passes over what is shorter than 100 ms; such audio is filled up with silence to this.
const MIN_SAMPLES: usize = STT_SAMPLE_RATE as usize / 5;
/// A cut through long audio is made at the quietest place of the window's last two seconds.
const CUT_SEARCH: usize = 2 * STT_SAMPLE_RATE as usize;
/// Loudness is compared in frames of 20 ms.
const CUT_FRAME: usize = SAMPLES_PER_POSITION;

/// The most samples that one run of the model hears.
pub(super) fn window_len(model_ctx: usize) -> usize {
    (model_ctx * SAMPLES_PER_POSITION).max(CUT_FRAME)
}

/// Cuts audio that is longer than the model's window into pieces that fit, each at a quiet place.
pub(super) fn windows(audio: &[f32], max: usize) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut begin = 0;
    while audio.len() - begin > max {
        let search = begin + max - CUT_SEARCH.min(max / 2)..begin + max;
        let frames = audio[search.clone()].chunks_exact(CUT_FRAME);
        let energy = |frame: &[f32]| frame.iter().map(|sample| sample * sample).sum::<f32>();
        let quietest = frames.enumerate().min_by(|(_, a), (_, b)| energy(a).total_cmp(&energy(b)));
        let cut = quietest.map_or(search.end, |(index, _)| search.start + index * CUT_FRAME + CUT_FRAME / 2);
        windows.push(begin..cut);
        begin = cut;
    }
    windows.push(begin..audio.len());
    windows
}

/// `audio`, filled up with silence where whisper.cpp would pass it over. Samples that are no numbers are silence.
pub(super) fn fill_up(audio: &[f32]) -> Vec<f32> {
    let clean = |sample: &f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
    let mut filled: Vec<f32> = audio.iter().map(clean).collect();
    filled.resize(audio.len().max(MIN_SAMPLES), 0.0);
    filled
}

/// The most tokens that speech of this length can hold: fast speech has about 6 a second, other scripts twice
/// that. It bounds what a model writes that repeats itself.
pub(super) fn max_tokens(samples: usize) -> usize {
    16 + samples * 15 / STT_SAMPLE_RATE as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_audio_is_cut_where_it_is_quiet() {
        let mut audio = vec![0.5; 16_000 * 25];
        audio[16_000 * 14..16_000 * 14 + 1600].fill(0.0);
        let windows = windows(&audio, window_len(768));
        assert_eq!(windows.len(), 2);
        assert!((16_000 * 14..16_000 * 14 + 1600).contains(&windows[0].end), "{windows:?}");
    }

    #[test]
    fn short_and_broken_audio_is_filled_up() {
        assert_eq!(fill_up(&[f32::NAN, 3.0, -0.5])[..4], [0.0, 1.0, -0.5, 0.0]);
        assert_eq!(fill_up(&[0.1]).len(), MIN_SAMPLES);
        assert_eq!(fill_up(&vec![0.1; 9000]).len(), 9000);
    }

    proptest! {
        #[test]
        fn windows_cover_all_audio_once(len in 0usize..200_000, positions in 64usize..200) {
            let audio: Vec<f32> = (0..len).map(|n| ((n * 31) % 97) as f32 / 97.0).collect();
            let max = window_len(positions);
            let windows = windows(&audio, max);
            prop_assert_eq!(windows[0].start, 0);
            prop_assert_eq!(windows[windows.len() - 1].end, len);
            prop_assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start));
            prop_assert!(windows.iter().all(|window| window.len() <= max));
            prop_assert!(windows.iter().rev().skip(1).all(|window| !window.is_empty()));
        }
    }
}
