//! What is to be spoken, as a graph takes it: parts of ids, and which word each id belongs to. Pure.

use std::ops::Range;

use crate::backend::espeak::text::Ending;
use crate::backend::phonemes::{Script, phoneme_ms};

/// A call's text, ready for the graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::backend) struct Utterance {
    /// The text's words, as they are to be reported.
    pub(in crate::backend) words: Vec<String>,
    /// What the graph is given, one after the other.
    pub(in crate::backend) parts: Vec<Part>,
    /// Which groups of phonemes say which words, in order.
    pub(in crate::backend) stretches: Vec<Stretch>,
}

/// Words and the groups of phonemes that say them: one each as a rule, but numbers take several, and "in the" one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::backend) struct Stretch {
    pub(in crate::backend) words: Range<usize>,
    pub(in crate::backend) groups: Range<usize>,
}

/// What a graph is given at once: a sentence, or as much of it as it takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::backend) struct Part {
    pub(in crate::backend) ids: Vec<i64>,
    /// Of each id, the group of phonemes that it belongs to.
    pub(super) groups: Vec<Option<usize>>,
    /// Of each id, how long it usually lasts, in milliseconds.
    pub(super) nominal: Vec<u32>,
    /// Silence that belongs after it at normal speed, in milliseconds.
    pub(in crate::backend) pause_ms: u32,
}

/// A group of phonemes and what stands around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::backend) struct Piece {
    pub(in crate::backend) group: usize,
    /// Marks before it.
    pub(in crate::backend) lead: String,
    /// Its phonemes, each a string that has ids of its own.
    pub(in crate::backend) sound: Vec<String>,
    /// The mark and the space behind it.
    pub(in crate::backend) tail: String,
}

impl Piece {
    /// Phonemes and marks.
    fn len(&self) -> usize {
        self.lead.chars().count() + self.sound.len() + self.tail.chars().count()
    }
}

/// What a voice makes of phonemes.
pub(in crate::backend) trait Dialect {
    /// A group of espeak-ng's as the voice's phonemes.
    fn sound(&self, group: &str) -> Vec<String>;
    /// What the voice is given for the marks in `gap`; `at_end`: a sentence ends there.
    fn gap(&self, gap: &str, at_end: bool) -> String;
    /// The ids of a phoneme or mark; none where the voice does not know it.
    fn ids(&self, phoneme: &str) -> Vec<i64>;
    /// The ids before and behind a part.
    fn frame(&self) -> (Vec<i64>, Vec<i64>);
    /// Phonemes and marks of a part, at most.
    fn limit(&self) -> usize;
}

impl Utterance {
    /// `words`, of which `script` was made, with what is heard of each of its segments.
    pub(in crate::backend) fn new(
        words: Vec<String>,
        script: &Script,
        heard: &[Vec<String>],
        dialect: &impl Dialect,
    ) -> Self {
        let mut utterance = Self { words, ..Self::default() };
        let (mut sentence, mut group, mut lead) = (Vec::new(), 0, dialect.gap(script.lead(), false));
        for (segment, heard) in script.segments().iter().zip(heard) {
            let groups = group..group + heard.len();
            utterance.stretches.push(Stretch { words: segment.words.clone(), groups });
            let ending = ending(&segment.gap);
            for sound in heard {
                let (sound, lead) = (dialect.sound(sound), std::mem::take(&mut lead));
                sentence.push(Piece { group, lead, sound, tail: " ".into() });
                group += 1;
            }
            if let (Some(last), false) = (sentence.last_mut(), heard.is_empty()) {
                last.tail = dialect.gap(&segment.gap, ending == Ending::Sentence);
            }
            if ending == Ending::Sentence {
                utterance.close(&mut sentence, ending, dialect);
            }
        }
        let ending = script.segments().last().map_or(Ending::None, |last| ending(&last.gap));
        utterance.close(&mut sentence, ending, dialect);
        utterance
    }

    /// Makes parts of a sentence: one as a rule, more where it is too long for the graph.
    fn close(&mut self, sentence: &mut Vec<Piece>, ending: Ending, dialect: &impl Dialect) {
        let pieces = std::mem::take(sentence);
        let lengths: Vec<usize> = pieces.iter().map(Piece::len).collect();
        let ranges = pack(&lengths, dialect.limit());
        let last = ranges.len().saturating_sub(1);
        for (at, range) in ranges.into_iter().enumerate() {
            let pause_ms = if at == last { ending.pause_ms() } else { 0 };
            let mut part = Part { pause_ms, ..Part::default() };
            let (begin, end) = dialect.frame();
            part.push(&begin, None, 0);
            let known: usize = pieces[range].iter().map(|piece| part.piece(piece, dialect)).sum();
            part.push(&end, None, 0);
            if known > 0 {
                self.parts.push(part);
            }
        }
    }
}

/// The strongest ending among the marks of `gap`.
fn ending(gap: &str) -> Ending {
    let endings: Vec<Ending> = gap.chars().map(|mark| Ending::of(mark.encode_utf8(&mut [0; 4]))).collect();
    let has = |ending| endings.contains(&ending);
    match (has(Ending::Sentence), has(Ending::Clause)) {
        (true, _) => Ending::Sentence,
        (false, true) => Ending::Clause,
        (false, false) => Ending::None,
    }
}

impl Part {
    /// Adds a piece; how many of its phonemes the voice knows.
    fn piece(&mut self, piece: &Piece, dialect: &impl Dialect) -> usize {
        let mut known = 0;
        for mark in piece.lead.chars() {
            self.push(&dialect.ids(mark.encode_utf8(&mut [0; 4])), None, 0);
        }
        let mut before = None;
        for phoneme in &piece.sound {
            let ids = dialect.ids(phoneme);
            let ms = phoneme.chars().map(|c| phoneme_ms(c, matches!(before, Some('ˈ' | 'ˌ')))).sum();
            self.push(&ids, Some(piece.group), ms);
            before = phoneme.chars().last();
            known += usize::from(!ids.is_empty() && ms > 0);
        }
        for mark in piece.tail.chars() {
            let ms = Ending::of(mark.encode_utf8(&mut [0; 4])).pause_ms();
            self.push(&dialect.ids(mark.encode_utf8(&mut [0; 4])), None, ms);
        }
        known
    }

    fn push(&mut self, ids: &[i64], group: Option<usize>, nominal_ms: u32) {
        for (at, id) in ids.iter().enumerate() {
            self.ids.push(*id);
            self.groups.push(group);
            self.nominal.push(if at == 0 { nominal_ms } else { 0 });
        }
    }

    /// A part of these ids with their groups and usual lengths.
    #[cfg(test)]
    pub(super) fn of(ids: &[(i64, Option<usize>, u32)], pause_ms: u32) -> Self {
        let mut part = Self { pause_ms, ..Self::default() };
        ids.iter().for_each(|(id, group, ms)| part.push(&[*id], *group, *ms));
        part
    }
}

/// Shares pieces of `lengths` out among parts of at most `limit`, none split, each part about as long as the others:
/// a short rest would be spoken at another pace. A piece longer than the limit stands alone.
fn pack(lengths: &[usize], limit: usize) -> Vec<Range<usize>> {
    let fewest = fill(lengths, limit).len();
    let (mut low, mut high) = (lengths.iter().copied().max().unwrap_or(0).min(limit), limit);
    while low < high {
        let middle = low.midpoint(high);
        if fill(lengths, middle).len() <= fewest {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    fill(lengths, low)
}

fn fill(lengths: &[usize], limit: usize) -> Vec<Range<usize>> {
    let (mut ranges, mut start, mut sum) = (Vec::new(), 0, 0);
    for (at, length) in lengths.iter().enumerate() {
        if at > start && sum + length > limit {
            ranges.push(start..at);
            (start, sum) = (at, 0);
        }
        sum += length;
    }
    if start < lengths.len() {
        ranges.push(start..lengths.len());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_are_as_few_and_as_even_as_can_be() {
        assert_eq!(pack(&[10; 9], 60), [0..5, 5..9]);
        assert_eq!(pack(&[10, 10], 60), vec![0..2]);
        assert_eq!(pack(&[100, 10], 60), [0..1, 1..2]);
        assert!(pack(&[], 60).is_empty());
    }

    proptest! {
        #[test]
        fn all_pieces_are_shared_out(lengths in prop::collection::vec(1usize..40, 0..60), limit in 1usize..100) {
            let ranges = pack(&lengths, limit);
            let mut at = 0;
            for range in &ranges {
                prop_assert!(range.start == at && range.end > at);
                let sum: usize = lengths[range.clone()].iter().sum();
                prop_assert!(sum <= limit || range.len() == 1);
                at = range.end;
            }
            prop_assert_eq!(at, lengths.len());
            prop_assert_eq!(ranges.len(), fill(&lengths, limit).len());
        }
    }
}
