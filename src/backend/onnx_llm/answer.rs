//! Reads an answer as it is written: text, thoughts that are not to be said, and calls of tools in the form of the
//! model's family (`call`). Pure.

mod call;

use serde_json::Value;

pub(super) use self::call::CallForm;
use self::call::{Scan, head, whole};

const CALL: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";
/// What Llama 3 may write before a call. It is a special token, which a tokenizer mostly leaves out of the text.
const BARE_CALL: &str = "<|python_tag|>";
pub(super) const THOUGHT: &str = "<think>";
pub(super) const THOUGHT_END: &str = "</think>";
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
#[derive(Debug)]
pub(super) struct Answer {
    form: CallForm,
    place: Place,
    /// What is not decided yet.
    held: String,
    /// Whether something has been said: white space at the beginning is not.
    has_text: bool,
    /// Within a list of calls.
    in_list: bool,
    calls: usize,
}

#[derive(Debug)]
enum Place {
    Text,
    Thought,
    /// Before the arguments.
    CallHead,
    /// Within the arguments, which are told as they come.
    CallArguments(Scan, String),
    /// After the arguments.
    CallTail,
    /// After a call that no tag ends.
    CallOver,
}

impl Answer {
    /// `in_thought`: the prompt has begun a thought already.
    pub(super) fn new(form: CallForm, in_thought: bool) -> Self {
        let place = if in_thought { Place::Thought } else { Place::Text };
        Self { form, place, held: String::new(), has_text: false, in_list: false, calls: 0 }
    }

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
            Place::CallOver => Ok(Vec::new()), // no more than white space and a semicolon is held

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
            Place::CallOver => self.call_over(),
        }
    }

    fn text(&mut self, parts: &mut Vec<Part>) -> bool {
        if self.form == CallForm::Bare && !self.has_text && self.held.trim_start().starts_with('{') {
            self.place = Place::CallHead;
            return true;
        }
        let call = if self.form == CallForm::Bare { BARE_CALL } else { CALL };
        let tags = [(call, true), (THOUGHT, false)];
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
        if self.form == CallForm::Tagged && !self.in_list && self.held.trim_start().starts_with('[') {
            self.held = self.held.trim_start()[1..].to_owned();
            self.in_list = true;
        }
        if let Some((name, len)) = head(&self.held) {
            self.held.drain(..len);
            parts.push(self.start(name));
            self.place = Place::CallArguments(Scan::default(), String::new());
            return Ok(true);
        }
        // The keys may stand in another order; then the call is read as a whole.
        let Some((end, after)) = self.call_end() else { return Ok(false) };
        let list = if self.in_list { "[" } else { "" };
        for (name, arguments) in whole(&format!("{list}{}", &self.held[..end]))? {
            parts.push(self.start(name));
            parts.push(Part::CallArguments { index: self.calls - 1, delta: arguments });
        }
        self.held.drain(..after);
        self.in_list = false;
        self.place = if self.form == CallForm::Bare { Place::CallOver } else { Place::Text };
        Ok(true)
    }

    /// Where the call that has begun ends, and where what follows begins.
    fn call_end(&self) -> Option<(usize, usize)> {
        if self.form == CallForm::Tagged {
            return self.held.find(CALL_END).map(|end| (end, end + CALL_END.len()));
        }
        let begin = self.held.find(|c: char| !c.is_whitespace())?;
        let (len, is_whole) = Scan::default().read(&self.held[begin..]);
        is_whole.then_some((begin + len, begin + len))
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
        let wrong = || Err("the model's tool call does not end where it should".into());
        let rest = self.held.trim_start();
        let is_closed = rest.starts_with('}');
        let rest = rest.strip_prefix('}').map_or(rest, str::trim_start);
        if self.form == CallForm::Bare {
            return match (is_closed, rest.is_empty()) {
                (true, _) => Ok(self.go_on(rest.to_owned(), Place::CallOver)),
                (false, true) => Ok(false),
                (false, false) => wrong(),
            };
        }
        if let (true, Some(next)) = (self.in_list, rest.strip_prefix(',')) {
            return Ok(self.go_on(next.to_owned(), Place::CallHead));
        }
        let rest = rest.strip_prefix(']').filter(|_| self.in_list).map_or(rest, str::trim_start);
        if let Some(after) = rest.strip_prefix(CALL_END) {
            let after = after.to_owned();
            self.in_list = false;
            return Ok(self.go_on(after, Place::Text));
        }
        if CALL_END.starts_with(rest) { Ok(false) } else { wrong() }
    }

    /// After a bare call only another may come, behind a semicolon or a comma.
    fn call_over(&mut self) -> Result<bool, String> {
        let rest = self.held.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == ',');
        match rest.chars().next() {
            None => Ok(false),
            Some('{') => Ok(self.go_on(rest.to_owned(), Place::CallHead)),
            Some(_) => Err("the model's tool call does not end where it should".into()),
        }
    }

    fn go_on(&mut self, rest: String, place: Place) -> bool {
        self.held = rest;
        self.place = place;
        true
    }
}

/// Length of the end of `text` that is a beginning of `tag`.
fn begun(text: &str, tag: &str) -> usize {
    let longest = (tag.len() - 1).min(text.len());
    (1..=longest).rev().find(|len| text.ends_with(&tag[..*len])).unwrap_or_default()
}

#[cfg(test)]
mod tests;
