//! A conversation arranged anew for templates that refuse it as it is: voice talks have turns that were given up,
//! answers nobody asked for, and several calls at once, and some families' templates know none of these. Pure.

use crate::engine::llm::{ChatMessage, ChatRole};

/// Another arrangement of the same conversation.
pub(super) type Arrange = fn(Vec<ChatMessage>) -> Vec<ChatMessage>;

/// Tried in this order, each upon the ones before.
pub(super) const ARRANGEMENTS: [Arrange; 3] = [one_call_each, take_turns, without_system];

/// Llama 3: a message makes one call, and its result follows.
fn one_call_each(messages: Vec<ChatMessage>) -> Vec<ChatMessage> {
    let mut out: Vec<ChatMessage> = Vec::with_capacity(messages.len());
    for mut message in messages {
        if message.role == ChatRole::Tool
            && let Some(asks) = asking(&out, &message)
        {
            out.insert(asks + 1, message);
            continue;
        }
        let calls = std::mem::take(&mut message.tool_calls);
        let empty = ChatMessage { content: String::new(), ..message.clone() };
        let (first, rest) = calls.split_first().map_or((&[][..], &[][..]), |(_, rest)| (&calls[..1], rest));
        out.push(ChatMessage { tool_calls: first.to_vec(), ..message });
        out.extend(rest.iter().map(|call| ChatMessage { tool_calls: vec![call.clone()], ..empty.clone() }));
    }
    out
}

/// The message that asked for a tool's result.
fn asking(messages: &[ChatMessage], result: &ChatMessage) -> Option<usize> {
    let id = result.tool_call_id.as_ref()?;
    messages.iter().rposition(|message| message.tool_calls.iter().any(|call| call.id == *id))
}

/// Gemma: the user begins, and the roles take turns. Who speaks twice is heard at once.
fn take_turns(messages: Vec<ChatMessage>) -> Vec<ChatMessage> {
    let mut out: Vec<ChatMessage> = Vec::with_capacity(messages.len());
    for mut message in messages {
        let talks = out.iter().any(|before| before.role != ChatRole::System);
        if talks && message.role == ChatRole::System {
            message.role = ChatRole::User;
        }
        if !talks && message.role == ChatRole::Assistant {
            out.push(ChatMessage::text(ChatRole::User, ""));
        }
        match out.last_mut() {
            Some(before) if before.role == message.role && message.role != ChatRole::Tool => {
                join(&mut before.content, &message.content, "\n");
                before.tool_calls.extend(message.tool_calls);
            }
            _ => out.push(message),
        }
    }
    out
}

/// Gemma 2: what a system message says stands at the beginning of the first question.
fn without_system(mut messages: Vec<ChatMessage>) -> Vec<ChatMessage> {
    if messages.first().is_none_or(|first| first.role != ChatRole::System) {
        return messages;
    }
    let mut system = messages.remove(0);
    match messages.first_mut().filter(|first| first.role == ChatRole::User) {
        Some(first) => {
            join(&mut system.content, &first.content, "\n\n");
            first.content = system.content;
        }
        None => messages.insert(0, ChatMessage { role: ChatRole::User, ..system }),
    }
    messages
}

fn join(text: &mut String, more: &str, between: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push_str(between);
    }
    text.push_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::llm::ToolCall;

    /// `s` system, `u` user, `a` assistant, `A` an assistant with calls 1 and 2, `1` and `2` their results.
    fn talk(roles: &str) -> Vec<ChatMessage> {
        let message = |c: char| {
            let role = match c {
                's' => ChatRole::System,
                'u' => ChatRole::User,
                'a' | 'A' => ChatRole::Assistant,
                _ => ChatRole::Tool,
            };
            let mut message = ChatMessage::text(role, c.to_string());
            if role == ChatRole::Tool {
                message.tool_call_id = Some(c.to_string());
            }
            if c == 'A' {
                let call = |id: &str| ToolCall { id: id.into(), name: "x".into(), arguments: "{}".into() };
                message.tool_calls = vec![call("1"), call("2")];
            }
            message
        };
        roles.chars().map(message).collect()
    }

    fn shown(messages: &[ChatMessage]) -> String {
        let one = |message: &ChatMessage| {
            let calls: String = message.tool_calls.iter().map(|call| call.id.as_str()).collect();
            format!("{}:{}{calls}", &message.role.as_str()[..1], message.content.replace('\n', "+"))
        };
        messages.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn conversations_are_arranged_as_templates_want_them() {
        let table: [(Arrange, &str, &str); 9] = [
            (one_call_each, "suA12a", "s:s u:u a:A1 t:1 a:2 t:2 a:a"),
            (one_call_each, "suA21a", "s:s u:u a:A1 t:1 a:2 t:2 a:a"),
            (one_call_each, "1u", "t:1 u:u"),
            (take_turns, "suuau", "s:s u:u+u a:a u:u"),
            (take_turns, "sau", "s:s u: a:a u:u"),
            (take_turns, "susaau", "s:s u:u+s a:a+a u:u"),
            (without_system, "suau", "u:s++u a:a u:u"),
            (without_system, "s", "u:s"),
            (without_system, "ua", "u:u a:a"),
        ];
        for (arrange, roles, expected) in table {
            assert_eq!(shown(&arrange(talk(roles))), expected, "{roles}");
        }
        assert!(take_turns(Vec::new()).is_empty() && without_system(Vec::new()).is_empty());
    }
}
