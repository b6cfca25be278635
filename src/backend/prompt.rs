//! Makes a conversation fit a model's context, whatever counts its tokens. Pure.

use crate::engine::llm::{ChatMessage, ChatRole, Truncation};

/// The share of the room that stays when turns must go and the client says nothing. With less than all of it, the
/// prompts of some turns in a row begin alike, and what was read of them is of use (`prefix`).
const RETAINED: f64 = 0.8;

/// Why a conversation does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It cannot be made tokens.
    Unreadable(String),
    /// It is too long, and nothing (more) of it may go.
    TooLong { tokens: usize },
}

impl From<String> for Misfit {
    fn from(reason: String) -> Self {
        Self::Unreadable(reason)
    }
}

/// A conversation, or a part of it, as a model reads it.
pub(super) trait Prompt {
    /// How many tokens it has.
    fn tokens(&self) -> usize;
}

impl<T> Prompt for Vec<T> {
    fn tokens(&self) -> usize {
        self.len()
    }
}

/// The conversation as `read` makes a prompt of it, with its oldest turns left out by the rule until it fits
/// `budget` tokens. System messages at the beginning stay, and so does the last turn.
///
/// A turn begins with a user's message, so that no tool's result is left without its call.
pub(super) fn fit<'a, P: Prompt>(
    messages: &'a [ChatMessage],
    budget: usize,
    rule: Truncation,
    mut read: impl FnMut(&[&'a ChatMessage]) -> Result<P, String>,
) -> Result<P, Misfit> {
    let whole = read(&messages.iter().collect::<Vec<_>>())?;
    let (ratio, most) = match rule {
        Truncation::Disabled if whole.tokens() > budget => {
            return Err(Misfit::TooLong { tokens: whole.tokens() });
        }
        Truncation::Disabled => return Ok(whole),
        Truncation::Auto => (RETAINED, None),
        Truncation::Retain { ratio, max_tokens } => (ratio, max_tokens),
    };
    if whole.tokens() <= budget && most.is_none() {
        return Ok(whole);
    }
    let (system, talk) = split(messages);
    // A template that takes no system message alone costs a turn more than must go.
    let instructions = read(&system.iter().collect::<Vec<_>>()).map_or(0, |prompt| prompt.tokens());
    let limit = budget.saturating_sub(instructions).min(most.map_or(usize::MAX, |most| most as usize));
    if whole.tokens() <= budget && whole.tokens().saturating_sub(instructions) <= limit {
        return Ok(whole);
    }
    let turns = turns(talk);
    let mut sizes = Vec::with_capacity(turns.len());
    for turn in &turns {
        let with_system: Vec<&'a ChatMessage> = system.iter().chain(*turn).collect();
        sizes.push(read(&with_system)?.tokens().saturating_sub(instructions));
    }
    // What the template adds between turns is not in the sizes: the first that fits is looked for from there on.
    for start in first_kept(&sizes, limit, ratio)..turns.len() {
        let kept: Vec<&'a ChatMessage> =
            system.iter().chain(turns[start..].iter().copied().flatten()).collect();
        let prompt = read(&kept)?;
        if prompt.tokens() <= budget {
            return Ok(prompt);
        }
    }
    Err(Misfit::TooLong { tokens: whole.tokens() })
}

/// The first turn that stays, of turns of these `sizes`: as if at each turn that went over the limit so many had
/// gone that a share of the limit was left. The last always stays.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a token count")]
fn first_kept(sizes: &[usize], limit: usize, ratio: f64) -> usize {
    let target = (limit as f64 * ratio.clamp(0.0, 1.0)) as usize;
    let (mut start, mut kept) = (0, 0_usize);
    for (turn, size) in sizes.iter().enumerate() {
        kept += size;
        if kept <= limit {
            continue;
        }
        while start < turn && kept > target {
            kept -= sizes[start];
            start += 1;
        }
    }
    start
}

/// System messages at the beginning, and the rest.
fn split(messages: &[ChatMessage]) -> (&[ChatMessage], &[ChatMessage]) {
    let system = messages.iter().take_while(|message| message.role == ChatRole::System).count();
    messages.split_at(system)
}

/// A talk cut before each message of the user.
fn turns(talk: &[ChatMessage]) -> Vec<&[ChatMessage]> {
    let mut turns: Vec<&[ChatMessage]> = Vec::new();
    let mut begin = 0;
    for at in 1..=talk.len() {
        if at == talk.len() || talk[at].role == ChatRole::User {
            turns.push(&talk[begin..at]);
            begin = at;
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn talk(roles: &str) -> Vec<ChatMessage> {
        let role = |(at, c): (usize, char)| {
            let role = match c {
                's' => ChatRole::System,
                'u' => ChatRole::User,
                't' => ChatRole::Tool,
                _ => ChatRole::Assistant,
            };
            ChatMessage::text(role, format!("{c}{at}"))
        };
        roles.chars().enumerate().map(role).collect()
    }

    /// One token a message.
    fn fitted(roles: &str, budget: usize, rule: Truncation) -> Option<String> {
        let tokens =
            |messages: &[&ChatMessage]| Ok(messages.iter().map(|message| message.content.clone()).collect());
        fit(&talk(roles), budget, rule, tokens).ok().map(|kept: Vec<String>| kept.join(" "))
    }

    const fn retain(ratio: f64, max_tokens: Option<u32>) -> Truncation {
        Truncation::Retain { ratio, max_tokens }
    }

    #[test]
    fn the_oldest_turns_go_and_the_system_message_stays() {
        let table = [
            ("suaua", 5, Truncation::Auto, Some("s0 u1 a2 u3 a4")),
            ("suaua", 4, Truncation::Auto, Some("s0 u3 a4")),
            ("suatau", 5, Truncation::Auto, Some("s0 u5")),
            ("uaau", 1, Truncation::Auto, Some("u3")),
            ("su", 1, Truncation::Auto, None),
            ("aau", 2, Truncation::Auto, Some("u2")),
            ("", 0, Truncation::Auto, Some("")),
            ("suaua", 5, Truncation::Disabled, Some("s0 u1 a2 u3 a4")),
            ("suaua", 4, Truncation::Disabled, None),
            ("suauaua", 6, retain(1.0, None), Some("s0 u3 a4 u5 a6")),
            ("suauaua", 6, retain(0.5, None), Some("s0 u5 a6")),
            ("suauaua", 6, retain(0.0, None), Some("s0 u5 a6")),
            ("suauaua", 99, retain(1.0, Some(4)), Some("s0 u3 a4 u5 a6")),
            ("suaua", 99, retain(0.5, Some(4)), Some("s0 u1 a2 u3 a4")),
            ("suau", 99, retain(1.0, Some(0)), Some("s0 u3")),
        ];
        for (roles, budget, rule, expected) in table {
            assert_eq!(fitted(roles, budget, rule).as_deref(), expected, "{roles} in {budget}, {rule:?}");
        }
    }

    #[test]
    fn long_talks_begin_alike_for_some_turns() {
        let first = |turns: usize, rule| {
            fitted(&"ua".repeat(turns), 60, rule).expect("it fits").split(' ').next().map(str::to_owned)
        };
        let begins =
            |rule| (40..60).map(|turns| first(turns, rule)).collect::<std::collections::BTreeSet<_>>();
        assert!(begins(Truncation::Auto).len() <= 4, "{:?}", begins(Truncation::Auto));
        assert!(begins(retain(0.5, None)).len() <= 2, "{:?}", begins(retain(0.5, None)));
        assert!(begins(retain(1.0, None)).len() > 15, "a rule that keeps all it can cuts at each turn");
    }

    proptest! {
        #[test]
        fn what_is_kept_fits_and_the_last_turn_is_never_lost(
            roles in "s?[uuat]{0,30}", budget in 0usize..32, ratio in 0.0..1.0,
        ) {
            let kept = fitted(&roles, budget, retain(ratio, None));
            if let Some(kept) = &kept {
                let kept = kept.split_whitespace().count();
                prop_assert!(kept <= budget);
                prop_assert!(roles.len() <= budget || kept < roles.len());
            } else {
                let last_turn = roles.len() - roles.rfind('u').unwrap_or_default().max(usize::from(roles.starts_with('s')));
                prop_assert!(last_turn + usize::from(roles.starts_with('s')) > budget);
            }
        }
    }
}
