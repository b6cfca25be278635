//! Reads an answer as it is written: text, thoughts that are not to be said, and calls of tools in the form that
//! Qwen and Hermes write, `<tool_call>{"name": .., "arguments": {..}}</tool_call>`. Pure.

use serde_json::Value;

const CALL: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";
const THOUGHT: &str = "<think>";
const THOUGHT_END: &str = "</think>";
/// A call longer than this is not one: a model that has lost itself.
const MAX_CALL_BYTES: usize = 64 * 1024;

/// What a piece of an answer turns out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Something to say; never empty.
    Text(String),
    /// A call begins.
    CallStart { index: usize, name: String },
    /// More of its arguments.
    CallArguments { index: usize, delta: String },
}

/// Reads one answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    place: Place,
    /// What is not decided yet.
    held: String,
    /// Whether something has been said: white space at the beginning is not.
    has_text: bool,
    calls: usize,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Text,
    Thought,
    /// Before the arguments.
    CallHead,
    /// Within the arguments, which are told as they come.
    CallArguments(Scan, String),
    /// After the arguments.
    CallTail,
}

impl Answer {
    /// Calls that have begun.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Reads more of the answer. The error says what is wrong with a call.
    pub(super) fn push(&mut self, text: &str) -> Result<Vec<Part>, String> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.step(&mut parts)? {}
        Ok(parts)
    }

    /// The answer is over.
    pub(super) fn finish(&mut self) -> Result<Vec<Part>, String> {
        match self.place {
            Place::Text => {
                let rest = std::mem::take(&mut self.held);
                Ok(self.say(rest.trim_end()).into_iter().collect())
            }
            Place::Thought => Ok(Vec::new()),
            _ => Err("the model broke off within a tool call".into()),
        }
    }

    /// Decides some of what is held; false when more is needed.
    fn step(&mut self, parts: &mut Vec<Part>) -> Result<bool, String> {
        if self.held.len() > MAX_CALL_BYTES {
            return Err(format!("the model's tool call is longer than {MAX_CALL_BYTES} bytes"));
        }
        match &mut self.place {
            Place::Text => Ok(self.text(parts)),
            Place::Thought => Ok(self.thought()),
            Place::CallHead => self.call_head(parts),
            Place::CallArguments(..) => self.call_arguments(parts),
            Place::CallTail => self.call_tail(),
        }
    }

    fn text(&mut self, parts: &mut Vec<Part>) -> bool {
        let tags = [(CALL, true), (THOUGHT, false)];
        let found =
            tags.iter().filter_map(|(tag, is_call)| Some((self.held.find(tag)?, *tag, *is_call))).min();
        if let Some((at, tag, is_call)) = found {
            let before = self.held[..at].trim_end().to_owned();
            parts.extend(self.say(&before));
            self.held.drain(..at + tag.len());
            self.place = if is_call { Place::CallHead } else { Place::Thought };
            return true;
        }
        // What may yet become a tag waits, and white space, which is said only before something else.
        let undecided = tags.iter().map(|(tag, _)| begun(&self.held, tag)).max().unwrap_or_default();
        let decided = self.held[..self.held.len() - undecided].trim_end().len();
        let text: String = self.held.drain(..decided).collect();
        parts.extend(self.say(&text));
        false
    }

    fn say(&mut self, text: &str) -> Option<Part> {
        let text = if self.has_text { text } else { text.trim_start() };
        self.has_text |= !text.is_empty();
        (!text.is_empty()).then(|| Part::Text(text.to_owned()))
    }

    fn thought(&mut self) -> bool {
        match self.held.find(THOUGHT_END) {
            Some(at) => {
                self.held.drain(..at + THOUGHT_END.len());
                self.place = Place::Text;
                true
            }
            None => {
                let keep = begun(&self.held, THOUGHT_END);
                self.held.drain(..self.held.len() - keep);
                false
            }
        }
    }

    fn call_head(&mut self, parts: &mut Vec<Part>) -> Result<bool, String> {
        if let Some((name, len)) = head(&self.held) {
            self.held.drain(..len);
            parts.push(self.start(name));
            self.place = Place::CallArguments(Scan::default(), String::new());
            return Ok(true);
        }
        // The keys may stand in another order; then the call is read as a whole.
        let Some(end) = self.held.find(CALL_END) else { return Ok(false) };
        let (name, arguments) = whole(&self.held[..end])?;
        parts.push(self.start(name));
        parts.push(Part::CallArguments { index: self.calls - 1, delta: arguments });
        self.held.drain(..end + CALL_END.len());
        self.place = Place::Text;
        Ok(true)
    }

    fn start(&mut self, name: String) -> Part {
        self.calls += 1;
        Part::CallStart { index: self.calls - 1, name }
    }

    fn call_arguments(&mut self, parts: &mut Vec<Part>) -> Result<bool, String> {
        let Place::CallArguments(scan, so_far) = &mut self.place else { return Ok(false) };
        let (len, is_whole) = scan.read(&self.held);
        let delta: String = self.held.drain(..len).collect();
        if so_far.is_empty() && !delta.is_empty() && !delta.starts_with('{') {
            return Err("the arguments of the model's tool call are not a JSON object".into());
        }
        so_far.push_str(&delta);
        if so_far.len() > MAX_CALL_BYTES {
            return Err(format!("the model's tool call is longer than {MAX_CALL_BYTES} bytes"));
        }
        let checked = if is_whole { serde_json::from_str::<Value>(so_far).map(drop) } else { Ok(()) };
        checked.map_err(|error| format!("the arguments of the model's tool call are not JSON: {error}"))?;
        if !delta.is_empty() {
            parts.push(Part::CallArguments { index: self.calls - 1, delta });
        }
        if is_whole {
            self.place = Place::CallTail;
        }
        Ok(is_whole)
    }

    fn call_tail(&mut self) -> Result<bool, String> {
        let rest = self.held.trim_start();
        let rest = rest.strip_prefix('}').map_or(rest, str::trim_start);
        if let Some(after) = rest.strip_prefix(CALL_END) {
            self.held = after.to_owned();
            self.place = Place::Text;
            return Ok(true);
        }
        let may_yet_end = CALL_END.starts_with(rest);
        if may_yet_end { Ok(false) } else { Err("the model's tool call does not end where it should".into()) }
    }
}

/// Length of the end of `text` that is a beginning of `tag`.
fn begun(text: &str, tag: &str) -> usize {
    let longest = (tag.len() - 1).min(text.len());
    (1..=longest).rev().find(|len| text.ends_with(&tag[..*len])).unwrap_or_default()
}

/// Name and length of `{"name": "..", "arguments":`, with any white space; `None` where it is not (yet) that.
fn head(text: &str) -> Option<(String, usize)> {
    let expect = |rest: &mut &str, token: &str| {
        *rest = rest.trim_start().strip_prefix(token)?;
        Some(())
    };
    let mut rest = text;
    expect(&mut rest, "{")?;
    expect(&mut rest, "\"name\"")?;
    expect(&mut rest, ":")?;
    expect(&mut rest, "\"")?;
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

/// Name and arguments of a call that is complete.
fn whole(text: &str) -> Result<(String, String), String> {
    let value: Value = serde_json::from_str(text.trim())
        .map_err(|error| format!("the model's tool call is not JSON: {error}"))?;
    let name = value.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or("the model's tool call names no tool")?.to_owned();
    match value.get("arguments").or_else(|| value.get("parameters")) {
        None => Ok((name, "{}".into())),
        Some(arguments @ Value::Object(_)) => Ok((name, arguments.to_string())),
        Some(_) => Err("the arguments of the model's tool call are not a JSON object".into()),
    }
}

/// Finds the end of a JSON value while it is written.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Scan {
    /// How many bytes of `text` belong to the value, and whether it is over.
    fn read(&mut self, text: &str) -> (usize, bool) {
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

#[cfg(test)]
mod tests;
