//! The body of `POST /v1/chat/completions`: read, judged and made a call of a language model. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{WireMessage, messages};
use super::parameters::Parameters;
use crate::engine::compute::Urgency;
use crate::engine::llm::{LlmRequest, ToolChoice, ToolSpec, Truncation};
use crate::server::outside::RequestError;

/// The body.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ChatRequest {
    messages: Vec<WireMessage>,
    pub(super) model: Option<String>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    tools: Option<Vec<WireTool>>,
    #[serde(default)]
    tool_choice: Option<Value>,
    #[serde(default)]
    parallel_tool_calls: Option<bool>,
    /// As OpenAI's Responses have it; chat completions do without.
    #[serde(default)]
    truncation: Option<String>,
    #[serde(flatten)]
    parameters: Parameters,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
struct WireTool {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    function: Option<WireFunction>,
}

#[derive(Clone, Debug, Deserialize)]
struct WireFunction {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Value>,
}

/// A request that can be served.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) request: LlmRequest,
    /// More than one call of a tool may be answered.
    pub(super) parallel_calls: bool,
    pub(super) form: Form,
}

/// How the answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As one object.
    Whole,
    /// Piece by piece.
    Stream {
        /// With the tokens that it took, at its end.
        usage: bool,
    },
}

impl ChatRequest {
    /// Judges it all. Engines may begin at once with what comes out.
    pub(super) fn judged(self) -> Result<Asked, RequestError> {
        self.parameters.judge()?;
        let form = self.form()?;
        let (max_tokens, truncation) = (self.max_tokens()?, self.truncation()?);
        let tools = tools(self.tools.unwrap_or_default())?;
        let tool_choice = tool_choice(self.tool_choice.as_ref(), &tools)?;
        let request = LlmRequest {
            messages: messages(self.messages)?.into(),
            tools: tools.into(),
            tool_choice,
            max_tokens,
            truncation,
            urgency: Urgency::default(),
        };
        Ok(Asked { request, parallel_calls: self.parallel_tool_calls != Some(false), form })
    }

    fn form(&self) -> Result<Form, RequestError> {
        match (self.stream == Some(true), self.stream_options) {
            (true, options) => {
                Ok(Form::Stream { usage: options.is_some_and(|options| options.include_usage == Some(true)) })
            }
            (false, None) => Ok(Form::Whole),
            (false, Some(_)) => {
                let message = "'stream_options' is for answers with 'stream': true alone.";
                Err(RequestError::field("stream_options", message))
            }
        }
    }

    fn max_tokens(&self) -> Result<Option<u32>, RequestError> {
        let fields = [("max_completion_tokens", self.max_completion_tokens), ("max_tokens", self.max_tokens)];
        let given = fields.into_iter().find_map(|(param, value)| Some((param, value?)));
        match given {
            Some((param, 0)) => {
                Err(RequestError::field(param, format!("'{param}' is 0, it must be 1 or more.")))
            }
            given => Ok(given.map(|(_, value)| value)),
        }
    }

    /// A conversation that does not fit is refused, as by OpenAI, unless it is asked for otherwise.
    fn truncation(&self) -> Result<Truncation, RequestError> {
        match self.truncation.as_deref() {
            None | Some("disabled") => Ok(Truncation::Disabled),
            Some("auto") => Ok(Truncation::Auto),
            Some(other) => {
                let message = format!("'truncation' is '{other}'; it must be 'auto' or 'disabled'.");
                Err(RequestError::field("truncation", message))
            }
        }
    }
}

fn tools(wire: Vec<WireTool>) -> Result<Vec<ToolSpec>, RequestError> {
    let tool = |(at, tool): (usize, WireTool)| {
        let WireTool { kind, function } = tool;
        let function = function.filter(|_| kind == "function").ok_or_else(|| {
            let message =
                format!("'tools[{at}]' is of type '{kind}'; functions are the only tools there are.");
            RequestError::field("tools", message)
        })?;
        let parameters = function.parameters.filter(|parameters| !parameters.is_null());
        Ok(ToolSpec {
            name: function.name,
            description: function.description.unwrap_or_default(),
            parameters: parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        })
    };
    wire.into_iter().enumerate().map(tool).collect()
}

fn tool_choice(wire: Option<&Value>, tools: &[ToolSpec]) -> Result<ToolChoice, RequestError> {
    let wrong = |message: String| Err(RequestError::field("tool_choice", message));
    let choice = match wire {
        None | Some(Value::Null) => return Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => return Ok(ToolChoice::Auto),
            "none" => return Ok(ToolChoice::None),
            "required" => ToolChoice::Required,
            other => {
                return wrong(format!(
                    "'tool_choice' is '{other}'; it must be 'auto', 'none', 'required' or a function."
                ));
            }
        },
        Some(object) => match object["function"]["name"].as_str() {
            Some(name) if object["type"] == "function" => ToolChoice::Function(name.to_owned()),
            _ => return wrong(
                "'tool_choice' names no function: {\"type\": \"function\", \"function\": {\"name\": ..}}."
                    .to_owned(),
            ),
        },
    };
    match &choice {
        ToolChoice::Function(name) if !tools.iter().any(|tool| tool.name == *name) => {
            wrong(format!("'tool_choice' is the function '{name}', which is not among 'tools'."))
        }
        _ if tools.is_empty() => wrong("'tool_choice' wants a call, and 'tools' is empty.".to_owned()),
        _ => Ok(choice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(mut wire: Value) -> Result<Asked, RequestError> {
        if wire["messages"].is_null() {
            wire["messages"] = json!([{"role": "user", "content": "Hello."}]);
        }
        serde_json::from_value::<ChatRequest>(wire).expect("the shape is right").judged()
    }

    fn clock() -> Value {
        json!([{"type": "function", "function": {"name": "clock", "strict": null}}])
    }

    #[test]
    fn a_request_becomes_a_call() {
        let named = json!({"type": "function", "function": {"name": "clock"}});
        let asked = judge(json!({
            "model": "onnx", "tools": clock(), "tool_choice": named, "stream": true, "max_tokens": 9,
            "max_completion_tokens": 5, "stream_options": {"include_usage": true}, "parallel_tool_calls": false,
        }))
        .expect("all is well");
        assert_eq!((asked.form, asked.parallel_calls), (Form::Stream { usage: true }, false));
        let request = asked.request;
        assert_eq!((request.max_tokens, request.truncation), (Some(5), Truncation::Disabled));
        assert_eq!(request.tool_choice, ToolChoice::Function("clock".to_owned()));
        assert_eq!(request.tools[0].parameters, json!({"type": "object", "properties": {}}));
        let plain =
            judge(json!({"truncation": "auto", "tools": null, "tool_choice": "none"})).expect("all is well");
        assert_eq!((plain.form, plain.parallel_calls), (Form::Whole, true));
        assert_eq!(
            (plain.request.truncation, plain.request.tool_choice),
            (Truncation::Auto, ToolChoice::None)
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let rocket = json!({"type": "function", "function": {"name": "rocket"}});
        for (wire, field) in [
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_completion_tokens": 0, "max_tokens": 5}), "max_completion_tokens"),
            (json!({"truncation": "middle"}), "truncation"),
            (json!({"stream_options": {"include_usage": true}}), "stream_options"),
            (json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}), "tools"),
            (json!({"tools": clock(), "tool_choice": "perhaps"}), "tool_choice"),
            (json!({"tools": clock(), "tool_choice": {"type": "allowed_tools"}}), "tool_choice"),
            (json!({"tools": clock(), "tool_choice": rocket}), "tool_choice"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"messages": []}), "messages"),
            (json!({"n": 3}), "n"),
        ] {
            match judge(wire.clone()) {
                Err(RequestError::Invalid { param, .. }) => assert_eq!(param, Some(field), "{wire}"),
                other => panic!("{wire}: {other:?}"),
            }
        }
    }
}
