//! `Agreement`: which words of growing hypotheses may be told, for what is told cannot be taken back. Pure.
//!
//! A word is confirmed when two hypotheses in a row hold it at the same place behind the words confirmed before,
//! the same letter by letter with what stands before it (LocalAgreement-2: Macháček, Dabre, Bojar, 2023, "Turning
//! Whisper into Real-Time Transcription System"). The last word of a hypothesis is never confirmed: the audio may
//! end in the middle of it.
//!
//! Words are those of Unicode's segmentation, so Chinese goes sign by sign. What stands between two words belongs
//! to the second one, so that a full stop that turns into a comma keeps only the word behind it back.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// The agreement of the hypotheses of one utterance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// What was told.
    sent: String,
    /// Its words, as they are compared.
    words: Vec<String>,
    /// What the latest hypothesis says behind them: pieces of text, each a word with what stands before it.
    tail: Vec<String>,
    /// The words of the latest hypothesis, all of them.
    heard: usize,
}

/// What a final transcript makes of what was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The transcript as it is told: what was told before, and the rest.
    pub told: String,
    /// The rest: what is to be told now.
    pub rest: String,
    /// Words told before.
    pub told_early: usize,
    /// Words told before that the final transcript has otherwise, or not at all.
    pub contradicted: usize,
}

impl Agreement {
    /// What was told so far.
    pub fn sent(&self) -> &str {
        &self.sent
    }

    /// How many words were told so far.
    pub fn sent_words(&self) -> usize {
        self.words.len()
    }

    /// Words in the latest hypothesis, confirmed or not.
    pub fn heard_words(&self) -> usize {
        self.heard
    }

    /// Takes in a hypothesis of the utterance so far; gives what may be told of it.
    pub fn observe(&mut self, hypothesis: &str) -> Option<String> {
        let pieces = pieces(hypothesis);
        self.heard = pieces.len();
        let (begin, differing) = self.align(&pieces);
        // A hypothesis of something else says nothing of what follows.
        let is_other = differing * 2 > self.words.len();
        let tail: Vec<String> = if is_other {
            Vec::new()
        } else {
            pieces[begin..].iter().map(|piece| piece.text.to_owned()).collect()
        };
        let settled = tail.len().saturating_sub(1); // the last word may be half of one
        let agreed = tail[..settled].iter().zip(&self.tail).take_while(|(new, old)| new == old).count();
        self.words.extend(pieces[begin..].iter().take(agreed).map(Piece::folded));
        let confirmed: String = tail[..agreed].concat();
        self.tail = tail[agreed..].to_vec();
        let delta = if self.sent.is_empty() { confirmed.trim_start() } else { &confirmed }.to_owned();
        self.sent.push_str(&delta);
        (!delta.is_empty()).then_some(delta)
    }

    /// Ends the utterance with its final transcript. What was told stands, in its own letters; what the final
    /// transcript says behind it is the rest.
    pub fn settle(&self, transcript: &str) -> Settled {
        if self.words.is_empty() {
            let told = transcript.trim().to_owned();
            return Settled { rest: told.clone(), told, ..Settled::default() };
        }
        let transcript = transcript.trim_end();
        let pieces = pieces(transcript);
        let (begin, contradicted) = self.align(&pieces);
        let from = pieces[..begin].last().map_or(0, |piece| piece.range.end);
        let mut rest = transcript[from..].to_owned();
        if from == 0 && rest.starts_with(char::is_alphanumeric) {
            rest.insert(0, ' ');
        }
        Settled { told: format!("{}{rest}", self.sent), rest, told_early: self.words.len(), contradicted }
    }

    /// Where in `pieces` the words that were told end, and in how many words they differ: the end with the least
    /// difference, of several the one nearest to as many words as were told.
    fn align(&self, pieces: &[Piece<'_>]) -> (usize, usize) {
        let told = self.words.len();
        // Edit distance between the first words of each: one row for each word that was told.
        let mut row: Vec<usize> = (0..=pieces.len()).collect();
        for (at, word) in self.words.iter().enumerate() {
            let mut diagonal = std::mem::replace(&mut row[0], at + 1);
            for (end, piece) in pieces.iter().enumerate() {
                let same = usize::from(!piece.says(word));
                let least = (diagonal + same).min(row[end] + 1).min(row[end + 1] + 1);
                diagonal = std::mem::replace(&mut row[end + 1], least);
            }
        }
        let ends = row.into_iter().enumerate();
        ends.min_by_key(|(end, differing)| (*differing, end.abs_diff(told))).unwrap_or_default()
    }
}

/// A word and what stands before it.
#[derive(Debug)]
struct Piece<'a> {
    text: &'a str,
    word: &'a str,
    range: Range<usize>,
}

impl Piece<'_> {
    /// As words are compared: without regard to case.
    fn folded(&self) -> String {
        self.word.to_lowercase()
    }

    fn says(&self, folded: &str) -> bool {
        self.word == folded || self.folded() == folded
    }
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut from = 0;
    let piece = |(start, word): (usize, &'_ str)| {
        let end = start + word.len();
        let range = std::mem::replace(&mut from, end)..end;
        (range, start..end)
    };
    let ranges: Vec<_> = text.unicode_word_indices().map(piece).collect();
    let piece = |(range, word): (Range<usize>, Range<usize>)| Piece {
        text: &text[range.clone()],
        word: &text[word],
        range,
    };
    ranges.into_iter().map(piece).collect()
}

#[cfg(test)]
mod tests;
