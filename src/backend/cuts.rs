//! Audio that is longer than a recogniser can hear at once, cut at quiet places; and audio that is too short, filled
//! up. Pure; knows no model.

use std::ops::Range;

use crate::engine::stt::STT_SAMPLE_RATE;

/// A cut through long audio is made at the quietest place of the window's last two seconds.
const CUT_SEARCH: usize = 2 * STT_SAMPLE_RATE as usize;
/// Loudness is compared in frames of 20 ms.
pub(super) const CUT_FRAME: usize = STT_SAMPLE_RATE as usize / 50;

/// Cuts audio that is longer than `max` samples into pieces that are not, each at a quiet place.
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

/// `audio`, filled up with silence to `min` samples. Samples that are no numbers are silence.
pub(super) fn fill_up(audio: &[f32], min: usize) -> Vec<f32> {
    let clean = |sample: &f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
    let mut filled: Vec<f32> = audio.iter().map(clean).collect();
    filled.resize(audio.len().max(min), 0.0);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_audio_is_cut_where_it_is_quiet() {
        let mut audio = vec![0.5; 16_000 * 25];
        audio[16_000 * 14..16_000 * 14 + 1600].fill(0.0);
        let windows = windows(&audio, 768 * CUT_FRAME);
        assert_eq!(windows.len(), 2);
        assert!((16_000 * 14..16_000 * 14 + 1600).contains(&windows[0].end), "{windows:?}");
    }

    #[test]
    fn short_and_broken_audio_is_filled_up() {
        assert_eq!(fill_up(&[f32::NAN, 3.0, -0.5], 9)[..4], [0.0, 1.0, -0.5, 0.0]);
        assert_eq!(fill_up(&[0.1], 3_200).len(), 3_200);
        assert_eq!(fill_up(&vec![0.1; 9000], 3_200).len(), 9000);
    }

    proptest! {
        #[test]
        fn windows_cover_all_audio_once(len in 0usize..200_000, frames in 64usize..200) {
            let audio: Vec<f32> = (0..len).map(|n| ((n * 31) % 97) as f32 / 97.0).collect();
            let max = frames * CUT_FRAME;
            let windows = windows(&audio, max);
            prop_assert_eq!(windows[0].start, 0);
            prop_assert_eq!(windows[windows.len() - 1].end, len);
            prop_assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start));
            prop_assert!(windows.iter().all(|window| window.len() <= max));
            prop_assert!(windows.iter().rev().skip(1).all(|window| !window.is_empty()));
        }
    }
}
