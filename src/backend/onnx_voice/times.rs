//! When each word is heard, from when its phonemes are. Pure.

use std::ops::Range;

use super::utterance::{Stretch, Utterance};
use crate::backend::phonemes::letters_ms;
use crate::engine::tts::TimedWord;

/// The times of an utterance's words. `spans` are the groups of phonemes that were spoken and the samples in which
/// they are heard; `samples` is how many there are in all.
pub(super) fn timed_words(
    utterance: &Utterance,
    spans: &[(usize, Range<usize>)],
    samples: usize,
    sample_rate: u32,
) -> Vec<TimedWord> {
    let mut places: Vec<Option<Range<usize>>> = vec![None; utterance.words.len()];
    for stretch in &utterance.stretches {
        let heard: Vec<Range<usize>> = spans
            .iter()
            .filter(|(group, _)| stretch.groups.contains(group))
            .map(|(_, span)| span.clone())
            .collect();
        for (word, span) in stretch.words.clone().zip(share(stretch, &heard, &utterance.words)) {
            let place = places[word].get_or_insert(span.clone());
            *place = place.start.min(span.start)..place.end.max(span.end);
        }
    }
    let ms = |at: usize| {
        let ms = at.min(samples) as u64 * 1000 / u64::from(sample_rate.max(1));
        u32::try_from(ms).unwrap_or(u32::MAX)
    };
    let mut at = 0;
    let timed = utterance.words.iter().zip(places).map(|(word, place)| {
        let start_ms = place.as_ref().map_or(at, |place| ms(place.start).max(at));
        let end_ms = place.map_or(start_ms, |place| ms(place.end).max(start_ms));
        at = end_ms;
        TimedWord { text: word.clone(), start_ms, end_ms }
    });
    timed.collect()
}

/// A place for each word of a stretch: its group's, or where there are more or fewer groups than words, a share of
/// the whole by the words' letters.
fn share(stretch: &Stretch, heard: &[Range<usize>], words: &[String]) -> Vec<Range<usize>> {
    let (Some(first), Some(last)) = (heard.first(), heard.last()) else { return Vec::new() };
    if heard.len() == stretch.words.len() {
        return heard.to_vec();
    }
    let weights: Vec<usize> =
        stretch.words.clone().map(|word| letters_ms(&words[word]).max(1) as usize).collect();
    let (begin, length) = (first.start, last.end.saturating_sub(first.start));
    let total: usize = weights.iter().sum::<usize>().max(1);
    let mut sum = 0;
    let places = weights.iter().map(|weight| {
        let start = begin + length * sum / total;
        sum += weight;
        start..begin + length * sum / total
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utterance(text: &str, stretches: Vec<(Range<usize>, Range<usize>)>) -> Utterance {
        let words = text.split_whitespace().map(str::to_owned).collect();
        let stretches = stretches.into_iter().map(|(words, groups)| Stretch { words, groups }).collect();
        Utterance { words, stretches, ..Utterance::default() }
    }

    fn told(timed: &[TimedWord]) -> Vec<(&str, u32, u32)> {
        timed.iter().map(|word| (word.text.as_str(), word.start_ms, word.end_ms)).collect()
    }

    #[test]
    fn a_group_each_or_a_share() {
        let utterance = utterance("Hi, it is — 120 now", vec![(0..1, 0..1), (1..3, 1..3), (4..6, 3..6)]);
        let spans = [(0, 0..100), (1, 200..300), (2, 300..400), (3, 400..600), (4, 600..800), (5, 800..1000)];
        let timed = timed_words(&utterance, &spans, 1000, 1000);
        let expected = [
            ("Hi,", 0, 100),
            ("it", 200, 300),
            ("is", 300, 400),
            ("—", 400, 400),
            ("120", 400, 900),
            ("now", 900, 1000),
        ];
        assert_eq!(told(&timed)[..4], expected[..4]);
        assert!(
            timed[4].end_ms > 800 && timed[5].end_ms == 1000 && timed[4].end_ms == timed[5].start_ms,
            "{timed:?}"
        );
    }

    #[test]
    fn a_word_in_two_stretches_lasts_over_both() {
        let utterance = utterance("wait—what then", vec![(0..1, 0..1), (0..2, 1..3)]);
        let timed = timed_words(&utterance, &[(0, 0..10), (1, 20..30), (2, 30..40)], 40, 1000);
        assert_eq!(told(&timed), [("wait—what", 0, 30), ("then", 30, 40)]);
    }

    proptest! {
        #[test]
        fn times_are_in_order_and_within_the_audio(
            cuts in prop::collection::vec((0usize..4, 0usize..4), 0..12),
            lengths in prop::collection::vec((0usize..50, 1usize..500), 48),
            rate in 8_000u32..48_000,
        ) {
            let (mut words, mut groups, mut stretches) = (0, 0, Vec::new());
            for (more_words, more_groups) in cuts {
                stretches.push((words..words + more_words, groups..groups + more_groups));
                words += more_words;
                groups += more_groups;
            }
            let utterance = utterance(&"word ".repeat(words), stretches);
            let mut at = 0;
            let spans: Vec<_> = lengths.iter().take(groups).enumerate().map(|(group, (gap, length))| {
                let begin = at + gap;
                at = begin + length;
                (group, begin..at)
            }).collect();
            let timed = timed_words(&utterance, &spans, at, rate);
            prop_assert_eq!(timed.len(), words);
            let mut last = 0;
            for word in &timed {
                prop_assert!(last <= word.start_ms && word.start_ms <= word.end_ms);
                last = word.end_ms;
            }
            prop_assert!(u64::from(last) <= at as u64 * 1000 / u64::from(rate));
        }
    }
}
