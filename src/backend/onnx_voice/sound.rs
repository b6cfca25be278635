//! What is made of a graph's samples: silence at the ends is cut, cuts are faded, a pause is added that fits the
//! mark, and each group of phonemes gets its place. Pure.
//!
//! Graphs put up to a few hundred milliseconds of near silence around what they say (kokoro-onnx cuts at 60 dB under
//! the loudest); at the begin it is time that a person waits. As each part then begins and ends in silence, faded
//! over [`FADE_MS`], parts join without a click and need no overlap.

use std::ops::Range;

use super::Sound;
use super::utterance::Part;

/// How long a window is that is silent or not.
const WINDOW_MS: usize = 5;
/// A window is silent whose loudest sample is this part of the loudest of all: 50 dB under it.
const SILENCE: f32 = 0.003;
/// What is kept of the silence, for consonants begin and end softly.
const LEAD_MS: usize = 15;
const TAIL_MS: usize = 30;
/// How long a cut is faded.
const FADE_MS: usize = 4;

/// A part that can be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Spoken {
    pub(super) samples: Vec<i16>,
    /// Groups of phonemes and the samples in which they are heard, in order.
    pub(super) spans: Vec<(usize, Range<usize>)>,
}

/// `sound` as it is sent. `speed` shortens the pause after it.
pub(super) fn finish(part: &Part, sound: &Sound, sample_rate: u32, speed: f32) -> Spoken {
    let rate = sample_rate as usize;
    let kept = audible(&sound.samples, rate);
    let mut samples: Vec<i16> = sound.samples[kept.clone()].iter().map(|sample| to_pcm(*sample)).collect();
    fade(&mut samples, FADE_MS * rate / 1000);
    let spans = spans(part, sound, &kept);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundred milliseconds")]
    let pause_ms = (part.pause_ms as f32 / speed) as usize;
    samples.resize(samples.len() + pause_ms * rate / 1000, 0);
    Spoken { samples, spans }
}

fn to_pcm(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to what fits")]
    let sample = (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16;
    sample
}

/// The samples without silence at their ends; all of them where nothing is to be heard.
fn audible(samples: &[f32], rate: usize) -> Range<usize> {
    let window = (WINDOW_MS * rate / 1000).max(1);
    let peak = |samples: &[f32]| samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    let floor = peak(samples) * SILENCE;
    let loud = |window: &[f32]| peak(window) > floor;
    let Some(first) = samples.chunks(window).position(loud) else { return 0..samples.len() };
    let quiet = samples.rchunks(window).position(loud).unwrap_or(0);
    let begin = (first * window).saturating_sub(LEAD_MS * rate / 1000);
    let end = samples.len() - (quiet * window).saturating_sub(TAIL_MS * rate / 1000);
    begin..end
}

fn fade(samples: &mut [i16], length: usize) {
    let length = length.min(samples.len() / 2);
    let part = |sample: i16, at: usize| {
        #[expect(clippy::cast_possible_truncation, reason = "a part of what it was")]
        let faded = (i64::from(sample) * at as i64 / length as i64) as i16;
        faded
    };
    for at in 0..length {
        samples[at] = part(samples[at], at);
        let last = samples.len() - 1 - at;
        samples[last] = part(samples[last], at);
    }
}

/// Where each group is heard in what is kept.
fn spans(part: &Part, sound: &Sound, kept: &Range<usize>) -> Vec<(usize, Range<usize>)> {
    let told = sound.lengths.len() == part.ids.len() && sound.lengths.iter().sum::<f32>() > 0.0;
    let weight = |at: usize| match told {
        true => f64::from(sound.lengths[at].max(0.0)),
        false => f64::from(part.nominal[at]),
    };
    // Lengths that the graph tells fill its audio; usual ones fill what is heard of it.
    let whole = if told { 0..sound.samples.len() } else { kept.clone() };
    let total: f64 = (0..part.ids.len()).map(weight).sum::<f64>().max(1e-9);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places within the audio")]
    let place = |sum: f64| {
        let at = whole.start + (whole.len() as f64 * sum / total) as usize;
        at.clamp(kept.start, kept.end) - kept.start
    };
    let mut spans: Vec<(usize, Range<usize>)> = Vec::new();
    let mut sum = 0.0;
    for (at, group) in part.groups.iter().enumerate() {
        let begin = place(sum);
        sum += weight(at);
        let Some(group) = *group else { continue };
        match spans.last_mut() {
            Some((last, span)) if *last == group => span.end = place(sum),
            _ => spans.push((group, begin..place(sum))),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(pause_ms: u32) -> Part {
        let ids = [
            (0, None, 0),
            (5, Some(0), 100),
            (0, Some(0), 0),
            (6, Some(0), 50),
            (0, Some(0), 0),
            (3, None, 0),
            (0, None, 0),
            (7, Some(1), 50),
            (0, Some(1), 0),
        ];
        Part::of(&ids, pause_ms)
    }

    /// Half a second of silence, one of sound, half a second of silence, at 1 kHz.
    fn sound(lengths: Vec<f32>) -> Sound {
        let at = |n: usize| if (500..1500).contains(&n) { 0.5 } else { 0.0001 };
        Sound { samples: (0..2000).map(at).collect(), lengths }
    }

    #[test]
    fn silence_is_cut_and_a_pause_added() {
        let spoken = finish(&part(100), &sound(Vec::new()), 1000, 2.0);
        assert_eq!(spoken.samples.len(), 15 + 1000 + 30 + 50);
        assert_eq!(spoken.samples[15 + 500], 16_384);
        assert_eq!((spoken.samples[0], spoken.samples.last()), (0, Some(&0)));
        let silent = Sound { samples: vec![0.0; 400], lengths: Vec::new() };
        assert_eq!(finish(&part(0), &silent, 1000, 1.0).samples.len(), 400);
        assert!(finish(&part(0), &Sound::default(), 1000, 1.0).samples.is_empty());
    }

    #[test]
    fn groups_have_the_lengths_that_the_graph_tells_or_usual_ones() {
        let told =
            finish(&part(0), &sound(vec![50.0, 40.0, 10.0, 30.0, 0.0, 10.0, 0.0, 50.0, 10.0]), 1000, 1.0);
        // 2000 samples for 200: ten each; the cut begins at 485.
        assert_eq!(told.spans, [(0, 15..815), (1, 915..1045)]);
        let usual = finish(&part(0), &sound(Vec::new()), 1000, 1.0);
        assert_eq!(usual.spans, [(0, 0..783), (1, 783..1045)]);
        let wrong = finish(&part(0), &sound(vec![1.0; 3]), 1000, 1.0);
        assert_eq!(wrong.spans, usual.spans, "lengths of other ids count for nothing");
    }

    #[test]
    fn cuts_are_faded_and_loud_samples_held() {
        let loud = Sound { samples: vec![1.7; 100], lengths: Vec::new() };
        let samples = finish(&part(0), &loud, 1000, 1.0).samples;
        assert_eq!((samples[0], samples[2], samples[50]), (0, 16_383, i16::MAX));
        assert_eq!((samples[99], samples[97]), (0, 16_383));
    }
}
