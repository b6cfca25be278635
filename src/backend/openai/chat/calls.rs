//! Tool calls of an answer, put together from what servers make of them. Pure.
//!
//! Engines promise each call's arguments in one row. The first call is told as it comes; calls beside it, whose pieces
//! may come in between, are kept until the end.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;

use super::answer::Fault;
use crate::engine::llm::LlmEvent;

/// A piece of a call.
#[derive(Default, Deserialize)]
pub(super) struct ToolDelta {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    #[serde(default)]
    name: Option<String>,
    /// Text in pieces, or, from some servers, the object itself.
    #[serde(default)]
    arguments: Option<Value>,
}

/// The calls so far.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// Text that came behind the first call's begin.
    late: String,
}

#[derive(Debug, Default)]
struct Call {
    /// Its place as the server counts.
    place: Option<u64>,
    id: String,
    name: String,
    /// What was not told yet.
    arguments: String,
    is_told: bool,
    has_arguments: bool,
}

impl Calls {
    /// Adds a piece; says how many bytes it has.
    pub(super) fn take(&mut self, delta: ToolDelta, ready: &mut VecDeque<LlmEvent>) -> usize {
        let function = delta.function.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let arguments = match function.arguments {
            Some(Value::String(text)) => text,
            Some(Value::Null) | None => String::new(),
            Some(object) => object.to_string(),
        };
        let id = delta.id.unwrap_or_default();
        let at = self.find(delta.index, &id, &name);
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id = id;
        }
        if call.name.is_empty() {
            call.name.clone_from(&name);
        }
        call.arguments.push_str(&arguments);
        if at == 0 {
            call.tell(0, ready);
        }
        name.len() + arguments.len()
    }

    /// The call that a piece belongs to; a new one where it begins one.
    fn find(&mut self, place: Option<u64>, id: &str, name: &str) -> usize {
        // Some servers count none of their calls, or all of them as the first: then a new id begins a new call, and
        // a name where there is no id.
        let is_other = |call: &Call| {
            let has_other_id = !id.is_empty() && !call.id.is_empty() && call.id != id;
            let is_whole = id.is_empty() && !call.name.is_empty() && call.has_arguments();
            let is_next = is_whole && (place.is_none() || call.name != name);
            !name.is_empty() && (has_other_id || is_next)
        };
        let found = match place {
            Some(_) => self.calls.iter().rposition(|call| call.place == place && !is_other(call)),
            None => self.calls.len().checked_sub(1).filter(|last| !is_other(&self.calls[*last])),
        };
        found.unwrap_or_else(|| {
            self.calls.push(Call { place, ..Call::default() });
            self.calls.len() - 1
        })
    }

    /// Keeps text that comes behind a call's begin; says whether it did.
    pub(super) fn hold(&mut self, text: &str) -> bool {
        let holds = !self.calls.is_empty();
        if holds {
            self.late.push_str(text);
        }
        holds
    }

    /// Tells what was kept. Says how many calls there are, and what text came behind them.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<LlmEvent>) -> Result<(usize, String), Fault> {
        for (index, call) in self.calls.iter_mut().enumerate() {
            if call.name.is_empty() {
                return Err(Fault::Broken("it called a tool without a name"));
            }
            call.tell(index, ready);
            if !call.has_arguments {
                // A call without arguments is one with an empty object to those who read it.
                ready.push_back(LlmEvent::ToolCallArguments { index, delta: "{}".to_owned() });
            }
        }
        Ok((self.calls.len(), std::mem::take(&mut self.late)))
    }
}

impl Call {
    fn has_arguments(&self) -> bool {
        self.has_arguments || !self.arguments.is_empty()
    }

    /// Tells what is known, once there is a name.
    fn tell(&mut self, index: usize, ready: &mut VecDeque<LlmEvent>) {
        if self.name.is_empty() {
            return;
        }
        if !self.is_told {
            self.is_told = true;
            if self.id.is_empty() {
                self.id = format!("call_{:016x}", rand::random::<u64>());
            }
            ready.push_back(LlmEvent::ToolCallStart { index, id: self.id.clone(), name: self.name.clone() });
        }
        if !self.arguments.is_empty() {
            self.has_arguments = true;
            let delta = std::mem::take(&mut self.arguments);
            ready.push_back(LlmEvent::ToolCallArguments { index, delta });
        }
    }
}
