//! Cuts a stream of text into clauses to speak: the first one short, so that speech begins early. Pure.

use unicode_segmentation::UnicodeSegmentation;

/// The shortest first clause that is spoken alone, in characters: "Yes," alone would sound chopped.
const FIRST_MIN_CHARS: usize = 8;
/// The shortest later clause, in characters.
const LATER_MIN_CHARS: usize = 24;
/// A clause without punctuation is cut at a word at this length: about 12 s of speech.
const MAX_CHARS: usize = 180;

/// A whole text in clauses.
pub fn clauses(text: &str) -> Vec<String> {
    let mut chunker = ClauseChunker::default();
    let mut clauses = chunker.push(text);
    clauses.extend(chunker.finish());
    clauses
}

/// Collects text and gives it out in clauses.
#[derive(Debug, Default)]
pub struct ClauseChunker {
    pending: String,
    given: usize,
}

impl ClauseChunker {
    /// Adds text; gives the clauses that it completes, each trimmed and not empty.
    pub fn push(&mut self, text: &str) -> Vec<String> {
        self.pending.push_str(text);
        let mut clauses = Vec::new();
        while let Some(cut) = self.next_cut() {
            let rest = self.pending.split_off(cut);
            let clause = std::mem::replace(&mut self.pending, rest);
            self.give(&clause, &mut clauses);
        }
        clauses
    }

    /// Gives what is left when the text is over.
    pub fn finish(&mut self) -> Option<String> {
        let mut clauses = Vec::new();
        let rest = std::mem::take(&mut self.pending);
        self.give(&rest, &mut clauses);
        clauses.pop()
    }

    fn give(&mut self, clause: &str, clauses: &mut Vec<String>) {
        let clause = clause.trim();
        if clause.chars().any(char::is_alphanumeric) {
            self.given += 1;
            clauses.push(clause.to_owned());
        }
    }

    /// Byte offset behind the next clause, or `None` while more text is needed. A mark ends a clause only when
    /// something follows it: "3." may go on as "3.5".
    fn next_cut(&self) -> Option<usize> {
        let min = if self.given == 0 { FIRST_MIN_CHARS } else { LATER_MIN_CHARS };
        let mut chars = 0;
        let mut last_word_cut = None;
        let mut pieces = self.pending.split_word_bound_indices().peekable();
        while let Some((at, piece)) = pieces.next() {
            chars += piece.chars().count();
            let end = at + piece.len();
            let next = pieces.peek().map(|(_, next)| *next);
            if chars > MAX_CHARS {
                return last_word_cut.or(Some(end));
            }
            match (mark(piece), next) {
                (Some(Mark::Wide), Some(_)) if chars >= min.min(4) => return Some(end),
                (Some(Mark::Sentence), Some(next)) if starts_space(next) => return Some(end),
                (Some(Mark::Clause), Some(next)) if starts_space(next) && chars >= min => return Some(end),
                _ => {}
            }
            if next.is_some_and(starts_space) {
                last_word_cut = Some(end);
            }
        }
        None
    }
}

enum Mark {
    /// Ends a sentence.
    Sentence,
    /// Ends a clause.
    Clause,
    /// Full-width marks, behind which no space follows.
    Wide,
}

fn mark(piece: &str) -> Option<Mark> {
    match piece.chars().next_back()? {
        '.' | '!' | '?' | '…' | '।' | '؟' => Some(Mark::Sentence),
        ',' | ';' | ':' | '–' | '—' | '،' => Some(Mark::Clause),
        '。' | '！' | '？' | '、' | '，' | '；' => Some(Mark::Wide),
        _ => None,
    }
}

fn starts_space(piece: &str) -> bool {
    piece.starts_with(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clauses(text: &str) -> Vec<String> {
        let mut chunker = ClauseChunker::default();
        let mut all: Vec<_> = text.graphemes(true).flat_map(|piece| chunker.push(piece)).collect();
        all.extend(chunker.finish());
        all
    }

    #[test]
    fn cuts_at_marks_with_a_short_first_clause() {
        for (text, expected) in [
            ("Your name is Anna.", &["Your name is Anna."][..]),
            ("Nice to meet you, Anna. How are you?", &["Nice to meet you,", "Anna.", "How are you?"]),
            ("Yes, it costs 3.50 today. Fine.", &["Yes, it costs 3.50 today.", "Fine."]),
            ("你好，世界。今天好吗？", &["你好，世界。", "今天好吗？"]),
            ("  ... ", &[]),
            ("", &[]),
        ] {
            assert_eq!(clauses(text), expected, "{text:?}");
        }
    }

    #[test]
    fn cuts_long_text_without_marks_at_a_word() {
        let text = "word ".repeat(100);
        let cut = clauses(&text);
        assert!(cut.len() > 2);
        assert!(cut.iter().all(|clause| clause.chars().count() <= MAX_CHARS && clause.ends_with("word")));
    }

    proptest! {
        #[test]
        fn loses_no_word(text in "[a-z0-9 ,.?!]{0,400}") {
            let joined = clauses(&text).join(" ");
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&joined), letters(&text));
        }
    }
}
