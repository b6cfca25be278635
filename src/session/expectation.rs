//! What speech-to-text is told to expect: words that the client named, and the conversation's last ones. Pure.

use serde::{Deserialize, Serialize};

use super::conversation::{Content, Item, ItemBody, Role};

/// What speech-to-text is told of a conversation.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct HearingConfig {
    /// The last words of the conversation that go before the client's own prompt. 0, none: a name that was
    /// misheard once would be misheard again, and a recogniser that repeats itself finds more to repeat.
    pub context_words: usize,
}

/// The prompt: the last `words` of what was said, then what the client `asked` for, because recognisers that can take
/// only a part of a prompt take its end.
pub(super) fn prompt<'a>(
    items: impl Iterator<Item = &'a Item>,
    words: usize,
    asked: Option<&str>,
) -> Option<String> {
    let texts: Vec<&str> = if words == 0 { Vec::new() } else { items.flat_map(said).collect() };
    let all: Vec<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
    let last = &all[all.len().saturating_sub(words)..];
    let prompt: Vec<&str> = last.iter().copied().chain(asked).collect();
    Some(prompt.join(" ")).filter(|prompt| !prompt.is_empty())
}

/// What people and the assistant said; instructions are no speech.
fn said(item: &Item) -> Vec<&str> {
    match &item.body {
        ItemBody::Message { role: Role::User | Role::Assistant, content } => {
            content.iter().map(Content::text).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::conversation::ItemStatus;
    use crate::session::id::ItemId;

    fn item(role: Role, text: &str) -> Item {
        let content = vec![Content::InputText(text.into())];
        Item {
            id: ItemId::random(),
            status: ItemStatus::Completed,
            body: ItemBody::Message { role, content },
        }
    }

    #[test]
    fn the_last_words_go_before_what_the_client_asked_for() {
        let items = [
            item(Role::System, "Be brief."),
            item(Role::User, "My name is Ingrid."),
            item(Role::Assistant, "Nice to meet you."),
        ];
        let table = [
            (0, None, None),
            (0, Some("Antiphon"), Some("Antiphon")),
            (3, None, Some("to meet you.")),
            (5, Some("Antiphon"), Some("Ingrid. Nice to meet you. Antiphon")),
            (50, None, Some("My name is Ingrid. Nice to meet you.")),
        ];
        for (words, asked, expected) in table {
            assert_eq!(prompt(items.iter(), words, asked).as_deref(), expected, "{words} {asked:?}");
        }
        assert_eq!(prompt([].iter(), 9, None), None);
    }
}
