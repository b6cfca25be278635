//! The parameters of a chat completion that the engines here do not know: which of them change nothing, and which are
//! refused because the answer would not be what was asked for. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::server::outside::RequestError;

/// What is left of a request's fields, as far as anything depends on them. Fields that are not here are left unread:
/// they steer how OpenAI's own service samples, stores and bills.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    temperature: Option<f64>,
    top_p: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    n: Option<u32>,
    stop: Option<Value>,
    response_format: Option<Value>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    modalities: Option<Vec<String>>,
    audio: Option<Value>,
    functions: Option<Value>,
    function_call: Option<Value>,
    web_search_options: Option<Value>,
}

impl Parameters {
    /// Whether an answer here is what they ask for.
    pub(super) fn judge(&self) -> Result<(), RequestError> {
        between("temperature", self.temperature, (0.0, 2.0))?;
        between("top_p", self.top_p, (0.0, 1.0))?;
        between("frequency_penalty", self.frequency_penalty, (-2.0, 2.0))?;
        between("presence_penalty", self.presence_penalty, (-2.0, 2.0))?;
        let format = self.response_format.as_ref().and_then(|format| format["type"].as_str());
        let modality = self.modalities.iter().flatten().find(|modality| *modality != "text");
        for (param, is_asked, why) in [
            ("n", self.n.is_some_and(|n| n != 1), "one answer is made; ask again for another"),
            ("stop", self.stop.as_ref().is_some_and(asks), "answers are not cut at words; cut what comes"),
            (
                "response_format",
                self.response_format.is_some() && format != Some("text"),
                "answers are plain text ('text'); offer a tool for values in a given shape",
            ),
            ("logprobs", self.logprobs == Some(true), "the models here do not tell them"),
            ("top_logprobs", self.top_logprobs.is_some_and(|n| n > 0), "the models here do not tell them"),
            ("modalities", modality.is_some(), "answers are text; /v1/audio/speech speaks it"),
            ("audio", self.audio.as_ref().is_some_and(asks), "answers are text; /v1/audio/speech speaks it"),
            ("functions", self.functions.as_ref().is_some_and(asks), "it is out of date; use 'tools'"),
            (
                "function_call",
                self.function_call.as_ref().is_some_and(asks),
                "it is out of date; use 'tool_choice'",
            ),
            ("web_search_options", self.web_search_options.as_ref().is_some_and(asks), "nothing is searched"),
        ] {
            if is_asked {
                return Err(unsupported(param, why));
            }
        }
        Ok(())
    }
}

/// Whether a value asks for anything.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(entries) => !entries.is_empty(),
        _ => true,
    }
}

fn between(param: &'static str, value: Option<f64>, (least, most): (f64, f64)) -> Result<(), RequestError> {
    match value.filter(|value| !(least..=most).contains(value)) {
        None => Ok(()),
        Some(value) => Err(RequestError::field(
            param,
            format!("'{param}' is {value}, it must be from {least} to {most}."),
        )),
    }
}

fn unsupported(param: &'static str, why: &str) -> RequestError {
    RequestError::Invalid {
        status: axum::http::StatusCode::BAD_REQUEST,
        code: "unsupported_parameter",
        message: format!("'{param}' is not served with this value: {why}."),
        param: Some(param),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(wire: Value) -> Result<(), RequestError> {
        serde_json::from_value::<Parameters>(wire).expect("the shape is right").judge()
    }

    #[test]
    fn what_changes_nothing_is_taken() {
        for wire in [
            json!({}),
            json!({"temperature": 0, "top_p": 1.0, "frequency_penalty": -2, "presence_penalty": 2, "seed": 7}),
            json!({"n": 1, "stop": null, "logprobs": false, "top_logprobs": 0, "modalities": ["text"]}),
            json!({"response_format": {"type": "text"}, "stop": [], "user": "anna", "whatever": {"a": 1}}),
        ] {
            assert_eq!(judge(wire.clone()), Ok(()), "{wire}");
        }
    }

    #[test]
    fn what_would_not_be_served_is_refused_by_name() {
        for (wire, field, reason) in [
            (json!({"temperature": 2.5}), "temperature", "invalid_value"),
            (json!({"top_p": -1}), "top_p", "invalid_value"),
            (json!({"n": 2}), "n", "unsupported_parameter"),
            (json!({"stop": "\n"}), "stop", "unsupported_parameter"),
            (json!({"response_format": {"type": "json_object"}}), "response_format", "unsupported_parameter"),
            (json!({"logprobs": true}), "logprobs", "unsupported_parameter"),
            (json!({"modalities": ["text", "audio"]}), "modalities", "unsupported_parameter"),
            (json!({"functions": [{"name": "f"}]}), "functions", "unsupported_parameter"),
        ] {
            let Err(RequestError::Invalid { status, code, param, message }) = judge(wire.clone()) else {
                panic!("{wire} is taken");
            };
            assert_eq!((status.as_u16(), code, param), (400, reason, Some(field)), "{message}");
        }
    }
}
