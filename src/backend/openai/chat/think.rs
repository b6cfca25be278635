//! Leaves out what a model thinks before it speaks: `<think>..</think>`. Pure.
//!
//! Servers that know their model put thoughts into a field of their own; others leave the marks in the text.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// What was read of a text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Think {
    is_thinking: bool,
    /// The beginning of what may become a mark.
    held: String,
    /// White space is left out: at the text's begin, and behind thoughts.
    has_spoken: bool,
}

impl Think {
    /// What of `piece` is to be said now.
    pub(super) fn take(&mut self, piece: &str) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(piece);
        let mut said = String::new();
        let mut rest = text.as_str();
        loop {
            let mark = if self.is_thinking { CLOSE } else { OPEN };
            let (before, after) = match rest.split_once(mark) {
                Some((before, after)) => (before, Some(after)),
                None => (&rest[..rest.len() - beginning(rest, mark)], None),
            };
            if !self.is_thinking {
                self.say(before, &mut said);
            }
            match after {
                Some(after) => {
                    self.is_thinking = !self.is_thinking;
                    self.has_spoken &= self.is_thinking;
                    rest = after;
                }
                None => {
                    rest[before.len()..].clone_into(&mut self.held);
                    return said;
                }
            }
        }
    }

    /// What is left at the end.
    pub(super) fn rest(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        if self.is_thinking { String::new() } else { held }
    }

    fn say(&mut self, text: &str, said: &mut String) {
        let text = if self.has_spoken { text } else { text.trim_start() };
        self.has_spoken |= !text.is_empty();
        said.push_str(text);
    }
}

/// How many bytes at the end of `text` may be the beginning of `mark`.
fn beginning(text: &str, mark: &str) -> usize {
    (1..mark.len()).rev().find(|length| text.ends_with(&mark[..*length])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spoken<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
        let mut think = Think::default();
        let mut said: String = pieces.into_iter().map(|piece| think.take(piece)).collect();
        said.push_str(&think.rest());
        said
    }

    #[test]
    fn thoughts_are_left_out() {
        for (text, expected) in [
            ("Hello.", "Hello."),
            ("<think>Hm, a < b.</think>\n\nHello.", "Hello."),
            ("\n<think></think>Hello.", "Hello."),
            ("Well <think>no</think> yes", "Well yes"),
            ("<think>for ever", ""),
            ("1 < 2 <th", "1 < 2 <th"),
            ("<thinking>aloud", "<thinking>aloud"),
            ("<think>a</think><think>b</think>c", "c"),
        ] {
            assert_eq!(spoken([text]), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_mark_is_said_at_once() {
        let mut think = Think::default();
        assert_eq!(think.take("Good <"), "Good ");
        assert_eq!(think.take("b>"), "<b>");
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_text(text in "(<think>|</think>|<|th|a|ä|\\s){0,20}", cuts in prop::collection::vec(0usize..60, 0..8)) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(spoken(pieces), spoken([text.as_str()]));
        }
    }
}
