//! What a scripted engine does, call by call. Pure but for the cursor.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One step of a call: wait, then act. In TOML: `{ after_ms = 50, text = "hello" }`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Step {
    /// Milliseconds from the step before (or from the call) to this one.
    #[serde(default)]
    pub after_ms: u64,
    /// What happens then.
    #[serde(flatten)]
    pub act: Act,
}

/// What happens at a [`Step`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// The engine's product, made from this text, in which `{call}` stands for the number of the call from 1.
    /// Speech-to-text also fills in `{ms}` (length of the audio) and `{hz}` (its dominant frequency to 10 Hz,
    /// by zero crossings), the language model `{user}` (last user message), `{system}` (system message) and
    /// `{messages}` (their number), text-to-speech `{text}` (what was asked for).
    Text(String),
    /// A call of a tool; language model only.
    ToolCall(ScriptedToolCall),
    /// The call fails with `EngineError::Failed`.
    Error(String),
    /// The call fails with `EngineError::Unavailable`.
    Unavailable(String),
    /// The call does not go on.
    Hang(Hang),
    /// The call panics in the task that polls it.
    Panic(String),
}

/// How a hanging call takes the cancel flag.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hang {
    /// It ends with `EngineError::Cancelled`.
    UntilCancelled,
    /// It goes on hanging; only dropping it ends it.
    IgnoringCancel,
    /// Nothing ends it: it keeps its cancel flag for ever, as a thread does that is caught in native code.
    Stuck,
}

/// A call of a tool by [`ScriptedLlm`](super::ScriptedLlm).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ScriptedToolCall {
    /// The tool's name.
    pub name: String,
    /// Arguments as a JSON object in text.
    pub arguments: String,
}

impl Step {
    /// The engine's product, made from `text`, after `after_ms`.
    pub fn text(after_ms: u64, text: impl Into<String>) -> Self {
        Self { after_ms, act: Act::Text(text.into()) }
    }

    /// A call of the tool `name` after `after_ms`.
    pub fn tool_call(after_ms: u64, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        let call = ScriptedToolCall { name: name.into(), arguments: arguments.into() };
        Self { after_ms, act: Act::ToolCall(call) }
    }

    /// A failure after `after_ms`.
    pub fn error(after_ms: u64, reason: impl Into<String>) -> Self {
        Self { after_ms, act: Act::Error(reason.into()) }
    }

    /// A call that does not end by itself.
    pub fn hang(hang: Hang) -> Self {
        Self { after_ms: 0, act: Act::Hang(hang) }
    }

    /// A panic after `after_ms`.
    pub fn panic(after_ms: u64) -> Self {
        Self { after_ms, act: Act::Panic("scripted panic".into()) }
    }
}

/// The steps of each call in turn; the last call's steps repeat for ever.
#[derive(Debug)]
pub(super) struct Script(Mutex<Cursor>);

#[derive(Debug)]
struct Cursor {
    calls: Vec<Vec<Step>>,
    at: usize,
    count: u64,
}

impl Script {
    pub(super) fn new(calls: Vec<Vec<Step>>) -> Self {
        Self(Mutex::new(Cursor { calls, at: 0, count: 0 }))
    }

    /// Number of this call from 1, and its steps.
    pub(super) fn next_call(&self) -> (u64, Vec<Step>) {
        let mut cursor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cursor.count += 1;
        let steps = cursor.calls.get(cursor.at).cloned().unwrap_or_default();
        cursor.at = (cursor.at + 1).min(cursor.calls.len().saturating_sub(1));
        (cursor.count, steps)
    }

    /// Starts over with other calls; the numbers of calls go on.
    pub(super) fn replace(&self, calls: Vec<Vec<Step>>) {
        let mut cursor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cursor.calls = calls;
        cursor.at = 0;
    }
}

/// `template` with each `{name}` of `values` filled in. Values are not searched for names.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let known = values
            .iter()
            .find(|(name, _)| rest[1..].strip_prefix(name).is_some_and(|after| after.starts_with('}')));
        let skip = match known {
            Some((name, value)) => {
                out.push_str(value);
                name.len() + 2
            }
            None => {
                out.push('{');
                1
            }
        };
        rest = &rest[skip..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_call_repeats() {
        let script = Script::new(vec![vec![Step::error(0, "a")], vec![Step::text(1, "b")]]);
        assert_eq!(script.next_call(), (1, vec![Step::error(0, "a")]));
        assert_eq!(script.next_call(), (2, vec![Step::text(1, "b")]));
        assert_eq!(script.next_call(), (3, vec![Step::text(1, "b")]));
        script.replace(Vec::new());
        assert_eq!(script.next_call(), (4, Vec::new()));
    }

    #[test]
    fn placeholders_are_filled_once() {
        let values = [("user", "I say {call}"), ("call", "7")];
        assert_eq!(fill("{call}: {user} {unknown} {", &values), "7: I say {call} {unknown} {");
        assert_eq!(fill("", &values), "");
    }

    #[test]
    fn steps_read_as_toml() {
        #[derive(Deserialize)]
        struct Config {
            calls: Vec<Vec<Step>>,
        }
        let text = r#"calls = [
            [{ after_ms = 5, text = "hi" }, { error = "gone" }],
            [{ hang = "until_cancelled" }], [{ panic = "on purpose" }],
            [{ tool_call = { name = "clock", arguments = "{}" } }],
        ]"#;
        let config: Config = toml::from_str(text).expect("the documented form");
        assert_eq!(config.calls[0], [Step::text(5, "hi"), Step::error(0, "gone")]);
        assert_eq!(config.calls[1], [Step::hang(Hang::UntilCancelled)]);
        assert_eq!(config.calls[3], [Step::tool_call(0, "clock", "{}")]);
        assert!(toml::from_str::<Config>(r#"calls = [[{ after_ms = 5, txet = "hi" }]]"#).is_err());
    }
}
