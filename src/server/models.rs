//! `GET /v1/models` and `GET /v1/models/{id}`: the engines' models, in the shape of OpenAI's list.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::access::{caller, field_error};
use super::router::ServerState;
use crate::engine::Device;
use crate::engine::model::{ModelInfo, ModelKind};

/// Begins of OpenAI's names of models that hear. Clients that were written for them send nothing else.
const OPENAI_HEARING: [&str; 2] = ["whisper-", "gpt-"];
/// The same for those that speak.
const OPENAI_SPEAKING: [&str; 2] = ["tts-", "gpt-"];
/// The same for those that converse.
const OPENAI_CONVERSING: [&str; 2] = ["gpt-", "chatgpt-"];
/// The name of the server as a whole: what a session is told that names no model.
pub(super) const WHOLE: &str = "antiphon";

#[derive(Debug, Serialize)]
pub(super) struct ModelList {
    object: &'static str,
    data: Vec<ModelView>,
}

#[derive(Debug, Serialize)]
pub(super) struct ModelView {
    id: String,
    object: &'static str,
    /// When the server loaded it, in unix seconds.
    created: u64,
    owned_by: &'static str,
    antiphon: Details,
}

/// What OpenAI's shape has no place for; stock clients ignore it.
#[derive(Debug, Serialize)]
struct Details {
    kind: ModelKind,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    languages: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    voices: Vec<String>,
    /// Where it computes; absent for one behind a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
}

/// All models.
pub(super) async fn list(
    State(state): State<ServerState>,
    headers: HeaderMap,
) -> Result<Json<ModelList>, Response> {
    caller(&headers, &state.config).map_err(|refusal| *refusal)?;
    let data = state.models.iter().map(|model| view(&state, model)).collect();
    Ok(Json(ModelList { object: "list", data }))
}

/// One of them.
pub(super) async fn one(
    State(state): State<ServerState>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<ModelView>, Response> {
    caller(&headers, &state.config).map_err(|refusal| *refusal)?;
    let found = state.models.iter().find(|model| model.name == id);
    found.map(|model| Json(view(&state, model))).ok_or_else(|| {
        let names: Vec<&str> = state.models.iter().map(|model| model.name.as_str()).collect();
        unknown(&id, &names)
    })
}

/// Whether a request may name this model for work of `kind`. The name is checked for slips of the pen; which
/// engine works is the pool's choice.
pub(super) fn check(models: &[ModelInfo], name: Option<&str>, kind: ModelKind) -> Result<(), Box<Response>> {
    let openai: &[&str] = match kind {
        ModelKind::SpeechToText => &OPENAI_HEARING,
        ModelKind::TextToSpeech => &OPENAI_SPEAKING,
        ModelKind::LanguageModel => &OPENAI_CONVERSING,
    };
    let names: Vec<&str> =
        models.iter().filter(|model| model.kind == kind).map(|model| model.name.as_str()).collect();
    let Some(name) = name else { return Ok(()) };
    if name == WHOLE || names.contains(&name) || openai.iter().any(|begin| name.starts_with(begin)) {
        return Ok(());
    }
    Err(Box::new(unknown(name, &names)))
}

fn unknown(name: &str, names: &[&str]) -> Response {
    let message = format!("There is no model '{name}' for this here. There is: {}.", names.join(", "));
    field_error(StatusCode::NOT_FOUND, "model_not_found", &message, Some("model"))
}

fn view(state: &ServerState, model: &ModelInfo) -> ModelView {
    let ModelInfo { name, kind, languages, voices, device, .. } = model.clone();
    ModelView {
        id: name,
        object: "model",
        created: state.sessions.requests().clock().unix_ms(std::time::Duration::ZERO) / 1_000,
        owned_by: WHOLE,
        antiphon: Details { kind, languages, voices, device },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openais_names_are_taken_and_slips_of_the_pen_are_not() {
        let model = |name: &str, kind| {
            let (languages, voices, device) = (vec![], vec![], Some(Device::Cpu));
            ModelInfo { name: name.to_owned(), kind, languages, voices, word_times: false, device }
        };
        let models = [
            model("whisper", ModelKind::SpeechToText),
            model("espeak", ModelKind::TextToSpeech),
            model("onnx", ModelKind::LanguageModel),
        ];
        for (name, hears, speaks, converses) in [
            (None, true, true, true),
            (Some("antiphon"), true, true, true),
            (Some("whisper"), true, false, false),
            (Some("espeak"), false, true, false),
            (Some("onnx"), false, false, true),
            (Some("whisper-1"), true, false, false),
            (Some("gpt-4o-mini-tts"), true, true, true),
            (Some("chatgpt-4o-latest"), false, false, true),
            (Some("tts-1"), false, true, false),
            (Some("espaek"), false, false, false),
        ] {
            assert_eq!(check(&models, name, ModelKind::SpeechToText).is_ok(), hears, "{name:?}");
            assert_eq!(check(&models, name, ModelKind::TextToSpeech).is_ok(), speaks, "{name:?}");
            assert_eq!(check(&models, name, ModelKind::LanguageModel).is_ok(), converses, "{name:?}");
        }
    }
}
