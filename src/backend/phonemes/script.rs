//! A text cut where a voice pauses: stretches that are spoken, the marks between them, and which of the request's
//! words lie in which stretch. Pure.

use std::ops::Range;

use crate::backend::espeak::text::speakable;

/// Marks that part a number, a time or an abbreviation where letters or digits stand on both sides.
const WITHIN_WORDS: &str = ".,:;!?";

/// Characters that are written and not said.
const SILENT: &str = "\"'“”‘’„«»()-–—*_~";

/// Which characters end a stretch.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend) struct Marks {
    characters: &'static str,
    /// A dash without spaces ends one too.
    close_dashes: bool,
}

impl Marks {
    /// Where espeak-ng ends a clause. Brackets and quotation marks it passes over.
    pub(in crate::backend) const PIPER: Self =
        Self { characters: ".,!?:;…—–。！？、，；：।؟،", close_dashes: false };
    /// All that Kokoro was trained to hear, and what stands for it in other scripts.
    pub(in crate::backend) const KOKORO: Self = Self {
        characters: ".,!?:;…—–¡¿\"«»„“”()。！？、，；：।؟،",
        close_dashes: true,
    };
    /// None: each text is one stretch.
    pub(in crate::backend) const NONE: Self = Self { characters: "", close_dashes: false };

    /// Whether the character at `at` of a word is a mark; `next` is how the next word begins.
    fn end_at(self, word: &[char], at: usize, next: Option<char>) -> bool {
        let mark = word[at];
        if !self.characters.contains(mark) {
            return false;
        }
        let before = at.checked_sub(1).and_then(|at| word.get(at)).copied();
        let after = word.get(at + 1).copied();
        match mark {
            '—' | '–' => self.close_dashes || before.is_none() || after.is_none(),
            '.' | ',' if before.is_none() && after.is_some_and(char::is_numeric) => false,
            // "approx. five": no sentence ends before a small letter, and espeak-ng ends none there.
            '.' if after.is_none() && before.is_some_and(char::is_alphanumeric) => {
                !next.is_some_and(char::is_lowercase)
            }
            mark if WITHIN_WORDS.contains(mark) => {
                !(before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric))
            }
            _ => true,
        }
    }
}

/// A stretch that is spoken without a mark, and the marks behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::backend) struct Segment {
    /// The words of the request that it says, or parts of them.
    pub(in crate::backend) words: Range<usize>,
    /// What is spoken.
    pub(in crate::backend) text: String,
    /// Marks and spaces up to the next stretch, as written.
    pub(in crate::backend) gap: String,
}

impl Segment {
    /// What espeak-ng is asked: the mark belongs to it, for "etc." is not said like "etc".
    pub(super) fn line(&self) -> String {
        let mark = self.gap.chars().next().filter(|mark| ".,!?:;".contains(*mark));
        self.text.chars().chain(mark).collect()
    }
}

/// A text to speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::backend) struct Script {
    lead: String,
    segments: Vec<Segment>,
}

impl Script {
    /// Cuts the text that `words` make up.
    pub(in crate::backend) fn new(words: &[String], marks: Marks) -> Self {
        let cleaned: Vec<Vec<char>> = words.iter().map(|word| speakable(word).chars().collect()).collect();
        let mut script = Self::default();
        for (index, word) in cleaned.iter().enumerate() {
            if index > 0 {
                script.space();
            }
            let next = cleaned.get(index + 1).and_then(|word| word.first()).copied();
            for at in 0..word.len() {
                match word[at] {
                    c if c.is_whitespace() => script.space(),
                    c if marks.end_at(word, at, next) => script.mark(c),
                    c => script.say(c, index),
                }
            }
        }
        script
    }

    /// Marks before the first stretch.
    pub(in crate::backend) fn lead(&self) -> &str {
        &self.lead
    }

    pub(in crate::backend) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn say(&mut self, c: char, word: usize) {
        if self.segments.last().is_none_or(|segment| !segment.gap.trim().is_empty()) {
            self.segments.push(Segment { words: word..word, ..Segment::default() });
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.text.push_str(&std::mem::take(&mut segment.gap));
            segment.text.push(c);
            if !SILENT.contains(c) {
                segment.words.start = if segment.words.is_empty() { word } else { segment.words.start };
                segment.words.end = word + 1;
            }
        }
    }

    fn mark(&mut self, c: char) {
        self.gap().push(c);
    }

    fn space(&mut self) {
        let gap = self.gap();
        if !gap.ends_with(' ') {
            gap.push(' ');
        }
    }

    fn gap(&mut self) -> &mut String {
        self.segments.last_mut().map_or(&mut self.lead, |segment| &mut segment.gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn cut(text: &str, marks: Marks) -> Vec<(String, String)> {
        let script = Script::new(&words(text), marks);
        script.segments.into_iter().map(|segment| (segment.text, segment.gap)).collect()
    }

    #[test]
    fn texts_are_cut_where_espeak_ends_clauses() {
        let table: [(&str, &[(&str, &str)]); 9] = [
            (
                "Hello there, it is 3.50 at 10:30. Isn't it?",
                &[("Hello there", ", "), ("it is 3.50 at 10:30", ". "), ("Isn't it", "?")],
            ),
            ("It is approx. five. The U.S. is", &[("It is approx. five", ". "), ("The U.S. is", "")]),
            ("Dr. Smith (yes, he)", &[("Dr", ". "), ("Smith (yes", ", "), ("he)", "")]),
            ("Wait—what — no", &[("Wait—what", " — "), ("no", "")]),
            ("Well... so… “Hi,” she", &[("Well", "... "), ("so", "… "), ("“Hi", ","), ("” she", "")]),
            ("1,000 or .5", &[("1,000 or .5", "")]),
            ("你好，世界。", &[("你好", "，"), ("世界", "。")]),
            ("... !", &[]),
            ("5 + 3 - 1", &[("5 + 3 - 1", "")]),
        ];
        for (text, expected) in table {
            let found = cut(text, Marks::PIPER);
            let found: Vec<_> = found.iter().map(|(text, gap)| (text.as_str(), gap.as_str())).collect();
            assert_eq!(found, expected, "{text:?}");
        }
        assert_eq!(cut("a, b!", Marks::NONE), [("a, b!".to_owned(), String::new())]);
    }

    #[test]
    fn kokoro_hears_brackets_quotes_and_dashes() {
        let script = Script::new(&words("“Wait—what (no)?” he said"), Marks::KOKORO);
        let found: Vec<_> = script.segments().iter().map(|s| (s.text.as_str(), s.gap.as_str())).collect();
        assert_eq!(script.lead(), "“");
        assert_eq!(found, [("Wait", "—"), ("what", " ("), ("no", ")?” "), ("he said", "")]);
        let ranges: Vec<_> = script.segments().iter().map(|segment| segment.words.clone()).collect();
        assert_eq!(ranges, [0..1, 0..1, 1..2, 2..4]);
    }

    #[test]
    fn the_mark_is_part_of_what_is_asked() {
        let script = Script::new(&words("Etc. Then… so"), Marks::PIPER);
        let lines: Vec<String> = script.segments().iter().map(Segment::line).collect();
        assert_eq!(lines, ["Etc.", "Then", "so"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_words_are_in_order(text in "[a-zA-Z0-9 .,!?“”()—…]{0,80}") {
            let words = words(&text);
            let script = Script::new(&words, Marks::KOKORO);
            let mut joined = script.lead.clone();
            let mut at = 0;
            for segment in &script.segments {
                joined.push_str(&segment.text);
                joined.push_str(&segment.gap);
                prop_assert!(segment.words.end <= words.len());
                if !segment.words.is_empty() {
                    prop_assert!(segment.words.start + 1 >= at && segment.words.end >= at);
                    at = segment.words.end;
                }
            }
            prop_assert_eq!(joined.trim(), words.join(" "));
        }
    }
}
