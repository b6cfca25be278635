//! Makes any text safe to hand to espeak-ng. Pure.

/// `word` as espeak-ng may read it: it takes U+0001 for an embedded command and `[[..]]` for phonemes, and reads
/// the brackets of markup aloud. Never holds white space at its ends; empty where nothing is left to speak.
pub(in crate::backend) fn speakable(word: &str) -> String {
    let lone_sign = word.chars().count() == 1;
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        match c {
            '<' | '>' if lone_sign => out.push(c),
            '<' | '>' | '[' | ']' | '{' | '}' => out.push(' '),
            c if c.is_control() || is_invisible(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Marks that show nothing but steer direction, joining or reading.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{fff0}'..='\u{ffff}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e007f}')
}

/// How a word ends, as far as the voice pauses there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend) enum Ending {
    /// The next word follows at once.
    None,
    /// A comma, colon or dash.
    Clause,
    /// A full stop, question or exclamation mark.
    Sentence,
}

impl Ending {
    /// The ending of `word`; quotes and brackets after the mark do not hide it.
    pub(in crate::backend) fn of(word: &str) -> Self {
        let bare = word.trim_end_matches(['"', '\'', '”', '’', '»', ')', ']', '*', '_']);
        match bare.chars().next_back() {
            Some('.' | '!' | '?' | '…' | '。' | '！' | '？' | '।' | '؟') => Self::Sentence,
            Some(',' | ';' | ':' | '—' | '–' | '，' | '、' | '；' | '：' | '،') => Self::Clause,
            Some('-') if bare == "-" || bare.ends_with("--") => Self::Clause,
            _ => Self::None,
        }
    }

    /// The silence that follows at normal speed, in milliseconds. espeak-ng itself pauses for 150 and 300;
    /// a conversation is quicker.
    pub(in crate::backend) fn pause_ms(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Clause => 120,
            Self::Sentence => 250,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_markup_are_defused() {
        let table = [
            ("hello,", "hello,"),
            ("[[w3:ld]]", "w3:ld"),
            ("<break/>", "break/"),
            ("a\u{1}5b", "a 5b"),
            ("\u{200b}", ""),
            ("<", "<"),
            ("don’t", "don’t"),
        ];
        for (word, expected) in table {
            assert_eq!(speakable(word), expected, "{word:?}");
        }
    }

    #[test]
    fn endings() {
        let table = [
            ("word", Ending::None),
            ("word,", Ending::Clause),
            ("—", Ending::Clause),
            ("state-of", Ending::None),
            ("end.\"", Ending::Sentence),
            ("(really?)", Ending::Sentence),
            ("。", Ending::Sentence),
            ("", Ending::None),
        ];
        for (word, expected) in table {
            assert_eq!(Ending::of(word), expected, "{word:?}");
        }
    }
}
