//! How the families write calls of tools, and reading one while it is written. Pure.

use serde_json::Value;

/// How a model writes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum CallForm {
    /// Qwen, Hermes, SmolLM: `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, or a list of such objects.
    Tagged,
    /// Llama 3: an answer that is nothing but `{"name": .., "parameters": {..}}`.
    Bare,
}

impl CallForm {
    /// The form that a chat template shows to its model; `None` where it shows none that is known here.
    pub(in super::super) fn of_template(source: &str) -> Option<Self> {
        if source.contains("tool_call>") {
            return Some(Self::Tagged);
        }
        (source.contains("\"parameters\":") && source.contains("tools")).then_some(Self::Bare)
    }

    /// How an answer begins that must call a tool: any, or the one of that name.
    pub(in super::super) fn begin(self, tool: Option<&str>) -> String {
        match (self, tool) {
            (Self::Tagged, None) => "<tool_call>\n".to_owned(),
            (Self::Tagged, Some(name)) => format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": "),
            (Self::Bare, None) => "{\"name\": \"".to_owned(),
            (Self::Bare, Some(name)) => format!("{{\"name\": \"{name}\", \"parameters\": "),
        }
    }
}

/// Name and length of `{"name": "..", "arguments":`, with any white space; `None` where it is not (yet) that.
pub(super) fn head(text: &str) -> Option<(String, usize)> {
    let expect = |rest: &mut &str, token: &str| {
        *rest = rest.trim_start().strip_prefix(token)?;
        Some(())
    };
    let mut rest = text;
    expect(&mut rest, "{")?;
    if rest.trim_start().starts_with("\"type\"") {
        for token in ["\"type\"", ":", "\"function\"", ","] {
            expect(&mut rest, token)?;
        }
    }
    for token in ["\"name\"", ":", "\""] {
        expect(&mut rest, token)?;
    }
    let end = rest.find(['"', '\\']).filter(|end| rest.as_bytes()[*end] == b'"')?;
    let name = rest[..end].to_owned();
    rest = &rest[end + 1..];
    expect(&mut rest, ",")?;
    let key = ["\"arguments\"", "\"parameters\""].iter().find(|key| rest.trim_start().starts_with(**key))?;
    expect(&mut rest, key)?;
    expect(&mut rest, ":")?;
    let rest = rest.trim_start();
    // The first character of the arguments must be there, so that no white space is told.
    (!rest.is_empty() && !name.is_empty()).then(|| (name, text.len() - rest.len()))
}

/// Names and arguments of calls that are complete: an object, or a list of them.
pub(super) fn whole(text: &str) -> Result<Vec<(String, String)>, String> {
    let value: Value = serde_json::from_str(text.trim())
        .map_err(|error| format!("the model's tool call is not JSON: {error}"))?;
    match value {
        Value::Array(calls) => calls.iter().map(one).collect(),
        call => Ok(vec![one(&call)?]),
    }
}

fn one(call: &Value) -> Result<(String, String), String> {
    let name = call.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or("the model's tool call names no tool")?.to_owned();
    match call.get("arguments").or_else(|| call.get("parameters")) {
        None => Ok((name, "{}".into())),
        Some(arguments @ Value::Object(_)) => Ok((name, arguments.to_string())),
        Some(_) => Err("the arguments of the model's tool call are not a JSON object".into()),
    }
}

/// Finds the end of a JSON value while it is written.
#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Scan {
    /// How many bytes of `text` belong to the value, and whether it is over.
    pub(super) fn read(&mut self, text: &str) -> (usize, bool) {
        for (at, c) in text.char_indices() {
            match c {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' if self.in_string => self.is_escaped = true,
                '"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                '{' | '[' => self.depth += 1,
                '}' | ']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 && !self.in_string {
                return (at + c.len_utf8(), true);
            }
        }
        (text.len(), false)
    }
}
