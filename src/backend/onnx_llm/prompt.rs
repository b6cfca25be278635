//! Makes the conversation fit the model's context. Pure.

use crate::engine::llm::{ChatMessage, ChatRole};

/// Turns that go together.
const BLOCK: usize = 8;

/// The conversation as `tokens_of` makes tokens of it, with its oldest turns left out until it fits `budget` tokens,
/// of a long talk a few more. System messages at the beginning stay, and so does the last turn. `None` where even that
/// is too long.
///
/// A turn begins with a user's message, so that no tool's result is left without its call.
pub(super) fn fit<T>(
    messages: &[ChatMessage],
    budget: usize,
    mut tokens_of: impl FnMut(&[&ChatMessage]) -> Result<Vec<T>, String>,
) -> Result<Option<Vec<T>>, String> {
    let system = messages.iter().take_while(|message| message.role == ChatRole::System).count();
    let starts = (system..messages.len()).filter(|at| *at == system || messages[*at].role == ChatRole::User);
    let starts: Vec<usize> = starts.collect();
    let mut kept = |start: usize| {
        let kept: Vec<&ChatMessage> = messages[..system].iter().chain(&messages[start..]).collect();
        tokens_of(&kept)
    };
    let whole = kept(system)?;
    if whole.len() <= budget {
        return Ok(Some(whole));
    }
    // The fewer turns, the fewer tokens: the first start that fits is found by halving.
    let (mut low, mut high, mut best) = (1, starts.len(), None);
    while low < high {
        let middle = usize::midpoint(low, high);
        let tokens = kept(starts[middle])?;
        if tokens.len() <= budget {
            (high, best) = (middle, Some(tokens));
        } else {
            low = middle + 1;
        }
    }
    // Of a long talk whole blocks go, so that its prompt begins alike for some turns and what was read of it is of
    // use (`prefix`).
    let in_blocks = low.next_multiple_of(BLOCK);
    if best.is_some() && in_blocks > low && starts.len() >= in_blocks + 2 * BLOCK {
        return kept(starts[in_blocks]).map(Some);
    }
    Ok(best)
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
    fn fitted(roles: &str, budget: usize) -> Option<Vec<String>> {
        let tokens =
            |messages: &[&ChatMessage]| Ok(messages.iter().map(|message| message.content.clone()).collect());
        fit(&talk(roles), budget, tokens).expect("no error")
    }

    #[test]
    fn the_oldest_turns_go_and_the_system_message_stays() {
        let table = [
            ("suaua", 5, Some("s0 u1 a2 u3 a4")),
            ("suaua", 4, Some("s0 u3 a4")),
            ("suatau", 5, Some("s0 u5")),
            ("uaau", 1, Some("u3")),
            ("su", 1, None),
            ("aau", 2, Some("u2")),
            ("", 0, Some("")),
        ];
        for (roles, budget, expected) in table {
            assert_eq!(
                fitted(roles, budget).map(|kept| kept.join(" ")).as_deref(),
                expected,
                "{roles} in {budget}"
            );
        }
    }

    #[test]
    fn long_talks_begin_alike_for_some_turns() {
        let first = |turns: usize| fitted(&"ua".repeat(turns), 60).expect("it fits")[0].clone();
        let begins: Vec<String> = (40..56).map(first).collect();
        assert_eq!(begins[0..6], ["u32", "u32", "u32", "u32", "u32", "u32"].map(str::to_owned).to_vec()[..]);
        assert!(begins.iter().collect::<std::collections::BTreeSet<_>>().len() <= 3, "{begins:?}");
    }

    proptest! {
        #[test]
        fn what_is_kept_fits_and_the_last_turn_is_never_lost(roles in "s?[uuat]{0,30}", budget in 0usize..32) {
            let kept = fitted(&roles, budget);
            if let Some(kept) = &kept {
                prop_assert!(kept.len() <= budget);
                prop_assert!(roles.len() <= budget || kept.len() < roles.len());
            } else {
                let last_turn = roles.len() - roles.rfind('u').unwrap_or_default().max(usize::from(roles.starts_with('s')));
                prop_assert!(last_turn + usize::from(roles.starts_with('s')) > budget);
            }
        }
    }
}
