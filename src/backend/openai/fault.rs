//! What a server's refusal means to the caller. Pure.
//!
//! Servers put all sorts of things into their errors: the key, pieces of the prompt, whole pages of HTML. What goes
//! on into an [`EngineError`] is short, on one line, and holds neither the key nor the words of the request.

use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::Value;

use crate::engine::EngineError;
use crate::secret::redact;

/// The longest piece of a server's own words that is passed on, in characters.
const MAX_SAID: usize = 200;
/// So many characters in a row that stand in the request too are an echo of it.
const ECHO: usize = 12;

/// What a server said beside its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// `error.code`, or `error.type` where there is none.
    code: String,
    message: String,
    /// Tokens of the prompt and of the context, where it tells them.
    tokens: Option<(usize, usize)>,
}

/// What must not get into an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Private<'a> {
    pub(super) key: Option<&'a SecretString>,
    /// Texts of the request.
    pub(super) texts: &'a [&'a str],
}

impl Private<'_> {
    /// One line of a server's words without the key; nothing where it repeats the request.
    pub(super) fn line(self, text: &str) -> String {
        if text.is_empty() || echoes(text, self.texts) {
            return String::new();
        }
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = self.key.map_or_else(|| line.clone(), |key| redact(&line, key));
        let mut clean: String = line.chars().filter(|c| !c.is_control()).take(MAX_SAID).collect();
        if clean.chars().count() == MAX_SAID {
            clean.push('…');
        }
        clean
    }
}

impl Said {
    /// Reads the body of a refusal: OpenAI's `{"error": {..}}`, `{"error": "text"}` (Ollama), the bare object of older
    /// vLLM, `{"detail": ..}` (FastAPI). Anything else says nothing.
    pub(super) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).map(|value: Value| Self::of(&value)).unwrap_or_default()
    }

    /// The same of a value that was read already.
    pub(super) fn of(value: &Value) -> Self {
        let error = value.get("error").unwrap_or(value);
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let code = [text("code"), text("type")].into_iter().find(|code| !code.is_empty()).unwrap_or_default();
        let message = [error.as_str().unwrap_or_default().to_owned(), text("message"), text("detail")];
        let message = message.into_iter().find(|message| !message.is_empty()).unwrap_or_default();
        let number = |key: &str| error.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let tokens = number("n_prompt_tokens").zip(number("n_ctx")).or_else(|| numbers(&message));
        Self { code, message, tokens }
    }

    /// Whether the prompt is longer than the model's context.
    pub(super) fn is_too_long(&self) -> bool {
        matches!(self.code.as_str(), "context_length_exceeded" | "exceed_context_size_error")
            || ["maximum context length", "context size", "context window", "context length"]
                .iter()
                .any(|words| self.message.to_lowercase().contains(words))
    }

    /// Tokens of the prompt and of the context; 0 for what is not known.
    pub(super) fn tokens(&self) -> (usize, usize) {
        self.tokens.unwrap_or_default()
    }

    /// What may be passed on: ` (code: message)`, or nothing.
    pub(super) fn fit_to_tell(&self, private: Private<'_>) -> String {
        let (code, message) = (private.line(&self.code), private.line(&self.message));
        match (code.is_empty(), message.is_empty()) {
            (true, true) => String::new(),
            (false, true) => format!(" ({code})"),
            (true, false) => format!(" ({message})"),
            (false, false) => format!(" ({code}: {message})"),
        }
    }
}

/// The first two numbers of a message about the context are its limit and what was asked: "maximum context length is
/// 8192 tokens. However, your messages resulted in 9050 tokens" (OpenAI, vLLM).
fn numbers(message: &str) -> Option<(usize, usize)> {
    let (_, rest) = message.split_once("maximum context length")?;
    let mut found = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    let limit = found.next()?;
    Some((found.next()?, limit))
}

/// Whether `said` repeats words of the request. Escaped text cannot be compared and counts as an echo.
fn echoes(said: &str, texts: &[&str]) -> bool {
    if said.contains("\\u") {
        return true;
    }
    let said: String = said.chars().take(4 * MAX_SAID).collect();
    let places: Vec<usize> = said.char_indices().map(|(at, _)| at).chain([said.len()]).collect();
    let windows = || places.windows(ECHO + 1).map(|window| &said[window[0]..window[ECHO]]);
    let has_short = |text: &str| {
        let text = text.trim();
        !text.is_empty() && text.chars().count() < ECHO && said.contains(text)
    };
    texts.iter().any(|text| has_short(text) || windows().any(|window| text.contains(window)))
}

/// What a refusal means. A key that is wrong, or a model that is not there, is a fault of this endpoint alone: calls
/// go on elsewhere, and its breaker opens. What is wrong with the request is wrong everywhere.
pub(super) fn refusal(
    engine: &str,
    status: StatusCode,
    said: &Said,
    retry_after_ms: Option<u64>,
    private: Private<'_>,
) -> EngineError {
    let engine = engine.to_owned();
    let told = || format!("HTTP {}{}", status.as_u16(), said.fit_to_tell(private));
    let failed = |reason: String| EngineError::Failed { engine: engine.clone(), reason };
    match status.as_u16() {
        400 | 413 | 422 | 500 if said.is_too_long() => {
            let (tokens, limit) = said.tokens();
            EngineError::ContextExceeded { engine, tokens, limit }
        }
        429 => EngineError::RateLimited { engine, reason: told(), retry_after_ms },
        503 if retry_after_ms.is_some() => {
            EngineError::RateLimited { engine, reason: told(), retry_after_ms }
        }
        // What a server says of a wrong key is, as a rule, the key.
        401 => failed("HTTP 401: it does not take the key; check api_key_env or api_key_file".to_owned()),
        403 => failed(format!("{}: the key may not do this; check api_key_env or api_key_file", told())),
        404 | 405 => failed(format!("{}: check url and model", told())),
        408 | 409 | 425 => failed(told()),
        300..=399 => failed(format!("{}: it sends callers elsewhere; check url", told())),
        400..=499 => EngineError::BadRequest { engine, reason: told() },
        _ => failed(told()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOTHING: Private<'_> = Private { key: None, texts: &[] };

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).expect("a status")
    }

    fn told(code: u16, body: &Value, private: Private<'_>) -> EngineError {
        refusal("e", status(code), &Said::of(body), Some(2_000), private)
    }

    #[test]
    fn each_status_has_its_meaning() {
        let body = json!({"error": {"code": "some_code", "message": "Some text."}});
        let table = [
            (400, "bad_request", "HTTP 400 (some_code: Some text.)"),
            (401, "failed", "api_key_env"),
            (403, "failed", "api_key_env"),
            (404, "failed", "check url and model"),
            (408, "failed", "HTTP 408"),
            (422, "bad_request", "HTTP 422"),
            (429, "rate_limited", "HTTP 429"),
            (500, "failed", "HTTP 500"),
            (502, "failed", "HTTP 502"),
            (503, "rate_limited", "HTTP 503"),
            (307, "failed", "check url"),
        ];
        for (code, kind, part) in table {
            let error = told(code, &body, NOTHING);
            assert_eq!(error.kind(), kind, "{code}");
            assert!(error.to_string().contains(part), "{error}");
        }
        let bare = refusal("e", status(503), &Said::default(), None, NOTHING);
        assert_eq!(bare.kind(), "failed", "without a time to come back it is a failure like any other");
    }

    #[test]
    fn the_shapes_of_many_servers_are_read() {
        for (body, expected) in [
            (json!({"error": {"code": "c", "type": "t", "message": "m"}}), " (c: m)"),
            (json!({"error": {"code": null, "type": "t", "message": "m"}}), " (t: m)"),
            (json!({"error": {"code": 400, "type": "t", "message": "m"}}), " (t: m)"),
            (json!({"error": "model not loaded"}), " (model not loaded)"),
            (json!({"object": "error", "message": "m", "type": "BadRequestError"}), " (BadRequestError: m)"),
            (json!({"detail": "Not Found"}), " (Not Found)"),
            (json!({"detail": [{"msg": "x", "input": "secret words"}]}), ""),
            (json!("<html>"), " (<html>)"),
            (json!(7), ""),
        ] {
            assert_eq!(Said::of(&body).fit_to_tell(NOTHING), expected, "{body}");
        }
        assert_eq!(Said::read(b"<html>not json"), Said::default());
    }

    #[test]
    fn prompts_that_are_too_long_are_known_with_their_numbers() {
        let openai = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9050 tokens.";
        for (body, expected) in [
            (json!({"error": {"code": "context_length_exceeded", "message": openai}}), (9_050, 8_192)),
            (json!({"message": openai, "type": "BadRequestError", "code": 400}), (9_050, 8_192)),
            (
                json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "the request exceeds",
                                 "n_prompt_tokens": 700, "n_ctx": 512}}),
                (700, 512),
            ),
            (json!({"error": {"code": "context_length_exceeded"}}), (0, 0)),
        ] {
            let (tokens, limit) = expected;
            let error = EngineError::ContextExceeded { engine: "e".into(), tokens, limit };
            assert_eq!(told(400, &body, NOTHING), error, "{body}");
        }
    }

    #[test]
    fn words_of_the_request_do_not_come_back() {
        let texts = ["Please tell my doctor that I feel dizzy.", "Grüße", "ja"];
        let private = Private { key: None, texts: &texts };
        for message in [
            "validation failed for input 'Please tell my doctor that I feel dizzy.'",
            "bad value: tell my doctor th",
            "cannot parse: Grüße",
            "input: \"Gr\\u00fc\\u00dfe\"",
            "said: ja",
        ] {
            let error =
                told(400, &json!({"error": {"code": "bad", "message": message}}), private).to_string();
            assert_eq!(error, "e: HTTP 400 (bad)", "{message}");
        }
        let harmless = json!({"error": {"message": "temperature must be\n at most 2"}});
        assert_eq!(told(400, &harmless, private).to_string(), "e: HTTP 400 (temperature must be at most 2)");
    }

    #[test]
    fn the_key_does_not_come_back_and_long_texts_are_cut() {
        let key = SecretString::from("sk-0123456789abcdef");
        let private = Private { key: Some(&key), texts: &[] };
        for code in [400, 401, 403, 404, 429, 500] {
            let body =
                json!({"error": {"code": "sk-0123456789abcdef", "message": "key sk-012345***cdef is wrong"}});
            let error = told(code, &body, private).to_string();
            assert!(!error.contains("sk-0123") && !error.contains("cdef"), "{error}");
        }
        let long = told(500, &json!({"error": {"message": "x".repeat(10_000)}}), private).to_string();
        assert!(long.len() < 300, "{long}");
    }
}
