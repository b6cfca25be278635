//! Cuts long audio into pieces to transcribe, at pauses. Pure: it is told of each frame whether somebody speaks.
//!
//! A piece is what is said between two pauses that are long enough to stand between sentences, and never longer
//! than Whisper's window. Silence between pieces is left out, but for a margin on either side.

use std::ops::Range;

use crate::engine::stt::STT_SAMPLE_RATE;

const SAMPLES_PER_MS: usize = STT_SAMPLE_RATE as usize / 1_000;
/// The longest piece: what Whisper hears at once.
const MAX_SAMPLES: usize = 30_000 * SAMPLES_PER_MS;
/// A pause after which a new piece begins. 600 ms: as long as turns wait behind what is probably a sentence.
const PAUSE_SAMPLES: usize = 600 * SAMPLES_PER_MS;
/// Silence that a piece keeps before and after its speech: a soft begin is not seen at once.
const MARGIN_SAMPLES: usize = 300 * SAMPLES_PER_MS;
/// Where a piece must be cut that has no such pause, it is cut in its longest one behind this.
const MIN_SAMPLES: usize = 5_000 * SAMPLES_PER_MS;
/// Without any pause at all it is cut at the quietest frame of its last seconds.
const SEARCH_SAMPLES: usize = 3_000 * SAMPLES_PER_MS;
/// Fewer frames of voice than this are a click.
const MIN_VOICED_FRAMES: usize = 3;

/// Audio to transcribe at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    /// 16 kHz mono in [-1, 1].
    pub(super) samples: Vec<f32>,
    /// Where they begin, in samples from the begin of the audio.
    pub(super) begin: u64,
    /// From the first to the last frame with voice, in samples from the begin of the audio.
    pub(super) voice: Range<u64>,
}

/// Collects frames and gives pieces.
#[derive(Debug)]
pub(super) struct PieceCutter {
    frame: usize,
    /// Whole frames that are in no piece yet.
    held: Vec<f32>,
    /// For each of them, whether it holds voice.
    voiced: Vec<bool>,
    /// Position of the first.
    start: u64,
}

impl PieceCutter {
    /// A cutter of frames of so many samples.
    pub(super) fn new(frame: usize) -> Self {
        Self { frame: frame.max(1), held: Vec::new(), voiced: Vec::new(), start: 0 }
    }

    /// Takes a frame; gives the piece that it completes.
    pub(super) fn push(&mut self, frame: &[f32], voiced: bool) -> Option<Piece> {
        self.held.extend_from_slice(frame);
        self.voiced.push(voiced);
        let Some(last) = self.voiced.iter().rposition(|voiced| *voiced) else {
            let margin = self.frames(MARGIN_SAMPLES);
            self.forget(self.voiced.len().saturating_sub(margin));
            return None;
        };
        let silence = (self.voiced.len() - last - 1) * self.frame;
        if silence >= PAUSE_SAMPLES {
            let end = last + 1 + self.frames(MARGIN_SAMPLES);
            return self.cut(end);
        }
        let is_full = self.held.len() + self.frame > MAX_SAMPLES;
        if is_full { self.cut(self.best_cut()) } else { None }
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        let last = self.voiced.iter().rposition(|voiced| *voiced)?;
        let end = (last + 1 + self.frames(MARGIN_SAMPLES)).min(self.voiced.len());
        self.cut(end)
    }

    /// The middle of the longest pause, or the quietest frame where there is none.
    fn best_cut(&self) -> usize {
        let min = self.frames(MIN_SAMPLES);
        let mut best: Option<Range<usize>> = None;
        let mut begin = min;
        for at in min..=self.voiced.len() {
            if self.voiced.get(at).copied().unwrap_or(true) {
                if begin < at && best.as_ref().is_none_or(|best| best.len() < at - begin) {
                    best = Some(begin..at);
                }
                begin = at + 1;
            }
        }
        best.map_or_else(|| self.quietest(), |pause| pause.start + pause.len().div_ceil(2))
    }

    fn quietest(&self) -> usize {
        let first = self.voiced.len() - self.frames(SEARCH_SAMPLES).min(self.voiced.len() - 1);
        let energy = |frame: &usize| {
            let samples = &self.held[frame * self.frame..(frame + 1) * self.frame];
            samples.iter().map(|sample| sample * sample).sum::<f32>()
        };
        let frames = first..self.voiced.len();
        frames.min_by(|a, b| energy(a).total_cmp(&energy(b))).unwrap_or(first)
    }

    /// Takes the first `frames` out as a piece, unless they hold hardly any voice.
    fn cut(&mut self, frames: usize) -> Option<Piece> {
        let voiced = &self.voiced[..frames];
        let first = voiced.iter().position(|voiced| *voiced);
        let last = voiced.iter().rposition(|voiced| *voiced);
        let enough = voiced.iter().filter(|voiced| **voiced).count() >= MIN_VOICED_FRAMES;
        let at = |frame: usize| self.start + (frame * self.frame) as u64;
        let voice = first.zip(last).filter(|_| enough).map(|(first, last)| at(first)..at(last + 1));
        let piece = voice.map(|voice| Piece {
            samples: self.held[..frames * self.frame].to_vec(),
            begin: self.start,
            voice,
        });
        self.forget(frames);
        piece
    }

    fn forget(&mut self, frames: usize) {
        self.held.drain(..frames * self.frame);
        self.voiced.drain(..frames);
        self.start += (frames * self.frame) as u64;
    }

    fn frames(&self, samples: usize) -> usize {
        samples / self.frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: usize = 256;

    /// Frames by turns voiced and not, in milliseconds. Every sample is its frame's number.
    fn run(spans: &[(bool, usize)]) -> (Vec<Piece>, Vec<bool>) {
        let voiced: Vec<bool> = spans
            .iter()
            .flat_map(|(voiced, ms)| std::iter::repeat_n(*voiced, ms * SAMPLES_PER_MS / FRAME))
            .collect();
        let (mut cutter, mut pieces) = (PieceCutter::new(FRAME), Vec::new());
        for (number, voiced) in voiced.iter().enumerate() {
            pieces.extend(cutter.push(&[number as f32; FRAME], *voiced));
        }
        pieces.extend(cutter.finish());
        (pieces, voiced)
    }

    fn seconds(piece: &Piece) -> (f64, f64) {
        let second = |sample: u64| (sample as f64 / f64::from(STT_SAMPLE_RATE) * 10.0).round() / 10.0;
        (second(piece.voice.start), second(piece.voice.end))
    }

    #[test]
    fn pieces_end_at_pauses_between_sentences() {
        let (pieces, _) = run(&[
            (false, 2_000),
            (true, 1_000),
            (false, 300), // within a sentence
            (true, 700),
            (false, 5_000),
            (true, 2_000),
            (false, 700),
            (true, 1_000),
        ]);
        let spans: Vec<_> = pieces.iter().map(seconds).collect();
        assert_eq!(spans, [(2.0, 4.0), (9.0, 11.0), (11.6, 12.6)]);
        let lengths: Vec<_> = pieces.iter().map(|piece| piece.samples.len() / SAMPLES_PER_MS).collect();
        assert!(lengths.iter().zip([2_600, 2_600, 1_300]).all(|(found, most)| *found <= most), "{lengths:?}");
    }

    #[test]
    fn long_speech_is_cut_in_its_longest_pause() {
        let (pieces, _) = run(&[
            (true, 3_000),
            (false, 550), // too early
            (true, 9_000),
            (false, 400),
            (true, 6_000),
            (false, 200),
            (true, 20_000),
        ]);
        let spans: Vec<_> = pieces.iter().map(seconds).collect();
        assert_eq!(spans, [(0.0, 12.5), (12.9, 39.1)]);
    }

    #[test]
    fn speech_without_a_pause_is_cut_where_it_is_quietest() {
        let (mut cutter, mut pieces) = (PieceCutter::new(FRAME), Vec::new());
        for number in 0..2_500 {
            let loudness = if number == 1_800 { 0.01 } else { 0.5 };
            pieces.extend(cutter.push(&[loudness; FRAME], true));
        }
        assert_eq!(pieces[0].voice, 0..1_800 * FRAME as u64);
    }

    #[test]
    fn silence_and_clicks_are_no_pieces() {
        assert_eq!(run(&[(false, 60_000)]).0, []);
        assert_eq!(run(&[(false, 5_000), (true, 32), (false, 5_000)]).0, []);
        assert_eq!(run(&[]).0, []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is said: every frame of speech is in exactly one piece, in order, and pieces fit.
        #[test]
        fn no_speech_is_lost_or_heard_twice(
            spans in prop::collection::vec((any::<bool>(), 48usize..25_000), 1..12),
        ) {
            let (pieces, voiced) = run(&spans);
            let mut next = 0;
            for piece in &pieces {
                prop_assert!(piece.samples.len() <= MAX_SAMPLES);
                let frames: Vec<usize> = piece.samples.chunks(FRAME).map(|frame| frame[0] as usize).collect();
                prop_assert!(frames.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a piece is whole");
                prop_assert!(frames[0] >= next, "pieces do not overlap");
                next = frames[frames.len() - 1] + 1;
            }
            let covered: std::collections::HashSet<usize> =
                pieces.iter().flat_map(|piece| piece.samples.chunks(FRAME).map(|frame| frame[0] as usize)).collect();
            let lost = voiced.iter().enumerate().filter(|(at, voiced)| **voiced && !covered.contains(at)).count();
            prop_assert!(lost < MIN_VOICED_FRAMES * spans.len(), "{lost} frames of voice are in no piece");
        }
    }
}
