//! Does this text sound finished? Sets how long to wait for more. Pure.

use unicode_segmentation::UnicodeSegmentation;

/// How finished a text sounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// A whole sentence: answer soon.
    Complete,
    /// It may be: wait as one does without knowing.
    Unsure,
    /// The person is in the middle of something: wait long.
    Incomplete,
}

impl Completeness {
    /// The same in the light of a voice: `is_over` is the probability that it sounds finished. Text and voice that
    /// disagree leave it open.
    #[must_use]
    pub fn with_voice(self, is_over: Option<f32>) -> Self {
        match (self, is_over.map(|probability| probability > FINISHED)) {
            (_, None) => self,
            (Self::Complete | Self::Unsure, Some(true)) => Self::Complete,
            (Self::Complete, Some(false)) | (Self::Incomplete, Some(true)) => Self::Unsure,
            (Self::Unsure | Self::Incomplete, Some(false)) => Self::Incomplete,
        }
    }
}

/// Probability above which a voice sounds finished, by the model's authors.
const FINISHED: f32 = 0.5;

/// Words after which an English sentence goes on: conjunctions, articles, prepositions, possessives, fillers.
const OPEN_ENDS: [&str; 51] = [
    "a", "about", "and", "an", "are", "as", "at", "because", "but", "by", "can", "could", "er", "erm", "for",
    "from", "hmm", "i'm", "if", "in", "into", "is", "like", "my", "of", "on", "or", "our", "since", "so",
    "than", "that", "the", "their", "then", "though", "to", "uh", "um", "unless", "until", "was", "well",
    "when", "where", "while", "with", "without", "would", "your", "you're",
];

/// Whole answers of one word.
const SHORT_ANSWERS: [&str; 14] = [
    "bye", "correct", "goodbye", "hello", "hey", "hi", "no", "okay", "please", "stop", "sure", "thanks",
    "yeah", "yes",
];

/// Marks that end a sentence, those of Chinese, Japanese, Hindi and Arabic too.
const SENTENCE_ENDS: [char; 9] = ['.', '!', '?', '。', '！', '？', '…', '।', '؟'];

/// How finished `text` sounds, from its punctuation and its last word.
pub fn completeness(text: &str) -> Completeness {
    let text = text.trim_end();
    let Some(last_word) = text.unicode_words().next_back().map(str::to_lowercase) else {
        return Completeness::Unsure;
    };
    let open = OPEN_ENDS.contains(&last_word.as_str());
    // Recognisers put three dots, or a full stop, behind a sentence that trails off.
    if text.ends_with("...") || text.ends_with('…') || text.ends_with([',', ';', ':', '-', '、', '，']) {
        return Completeness::Incomplete;
    }
    match (text.ends_with(SENTENCE_ENDS), open) {
        (true, false) => Completeness::Complete,
        (true, true) if text.ends_with('?') => Completeness::Complete, // "What is it like?"
        (true, true) => Completeness::Unsure,
        (false, true) => Completeness::Incomplete,
        (false, false) if SHORT_ANSWERS.contains(&last_word.as_str()) => Completeness::Complete,
        (false, false) => Completeness::Unsure,
    }
}

/// Whether nothing is said in `text`: no word at all, or nothing but what recognisers write for a noise, in brackets.
pub fn is_wordless(text: &str) -> bool {
    let (mut depth, mut outside) = (0_usize, String::new());
    for character in text.chars() {
        match character {
            '[' | '(' | '*' if depth == 0 => depth = 1,
            ']' | ')' | '*' => depth = 0,
            _ if depth == 0 => outside.push(character),
            _ => {}
        }
    }
    outside.unicode_words().next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_confirms_a_text_or_leaves_it_open() {
        use Completeness::{Complete, Incomplete, Unsure};
        for (text, unfinished, finished) in
            [(Complete, Unsure, Complete), (Unsure, Incomplete, Complete), (Incomplete, Incomplete, Unsure)]
        {
            assert_eq!(
                [None, Some(0.2), Some(0.9)].map(|voice| text.with_voice(voice)),
                [text, unfinished, finished]
            );
        }
    }

    #[test]
    fn other_languages_end_by_their_marks_and_are_else_unsure() {
        use Completeness::{Complete, Incomplete, Unsure};
        for (text, expected) in [
            ("Wie heißt du?", Complete),
            ("Ich wohne in Oslo und", Unsure),
            ("Je m'appelle Anna,", Incomplete),
            ("¿Qué hora es?", Complete),
            ("我住在北京，", Incomplete),
            ("कितने बजे हैं।", Complete),
            ("ما اسمك؟", Complete),
            ("東京に住んでいます", Unsure),
            ("Gut.", Complete),
        ] {
            assert_eq!(completeness(text), expected, "{text:?}");
        }
    }

    #[test]
    fn reads_punctuation_and_last_words() {
        use Completeness::{Complete, Incomplete, Unsure};
        for (text, expected) in [
            ("My name is Anna.", Complete),
            ("What is my name?", Complete),
            ("Yes", Complete),
            ("I would like a coffee and", Incomplete),
            ("My name is", Incomplete),
            ("I live in Oslo,", Incomplete),
            ("I was thinking...", Incomplete),
            ("Um.", Unsure),
            ("What is it like?", Complete),
            ("I live in Oslo", Unsure),
            ("你好。", Complete),
            ("", Unsure),
            ("...", Unsure),
        ] {
            assert_eq!(completeness(text), expected, "{text:?}");
        }
    }
}
