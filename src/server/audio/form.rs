//! The form of `POST /v1/audio/transcriptions`: its fields read and judged.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError};
use axum::http::StatusCode;
use tokio::time::timeout;

use super::formats::{FORMATS, TextFormat, Times, Wanted};
use crate::server::outside::RequestError;

/// How long a client may take to send its file.
const SENDING: Duration = Duration::from_secs(300);
/// OpenAI's formats that are not made, and why.
const DIARIZED: &str = "diarized_json";

/// What is asked.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) file: Bytes,
    pub(super) model: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) wanted: Wanted,
    pub(super) stream: bool,
}

#[derive(Default)]
struct Fields {
    file: Option<Bytes>,
    model: Option<String>,
    language: Option<String>,
    prompt: Option<String>,
    format: Option<TextFormat>,
    stream: bool,
    logprobs: bool,
    times: Times,
}

impl Form {
    /// Reads the form. `max_bytes` is the limit of its file.
    pub(super) async fn read(mut multipart: Multipart, max_bytes: usize) -> Result<Self, RequestError> {
        let read = async {
            let mut fields = Fields::default();
            while let Some(field) = multipart.next_field().await.map_err(|error| broken(&error, max_bytes))? {
                fields.take(field, max_bytes).await?;
            }
            fields.judge(max_bytes)
        };
        timeout(SENDING, read).await.unwrap_or(Err(RequestError::Invalid {
            status: StatusCode::REQUEST_TIMEOUT,
            code: "request_timeout",
            message: format!("The form did not come whole within {} s.", SENDING.as_secs()),
            param: None,
        }))
    }
}

impl Fields {
    async fn take(&mut self, field: Field<'_>, max_bytes: usize) -> Result<(), RequestError> {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            self.file = Some(field.bytes().await.map_err(|error| broken(&error, max_bytes))?);
            return Ok(());
        }
        let text = field.text().await.map_err(|error| broken(&error, max_bytes))?;
        let given = Some(text.clone()).filter(|text| !text.trim().is_empty());
        match name.as_str() {
            "model" => self.model = given,
            "language" => self.language = given,
            "prompt" => self.prompt = given,
            "response_format" => self.format = Some(format(&text)?),
            "temperature" => temperature(&text)?,
            "stream" => self.stream = flag(&text)?,
            "timestamp_granularities" | "timestamp_granularities[]" => granularity(&text, &mut self.times)?,
            "include" | "include[]" if text == "logprobs" => self.logprobs = true,
            "include" | "include[]" => {
                let message = format!("'include' holds '{text}'; 'logprobs' is all there is.");
                return Err(RequestError::field("include", message));
            }
            // What this server does not know, as elsewhere.
            _ => {}
        }
        Ok(())
    }

    fn judge(self, max_bytes: usize) -> Result<Form, RequestError> {
        let Some(file) = self.file else {
            return Err(RequestError::field(
                "file",
                "'file' is missing; send the audio as a part of this name.",
            ));
        };
        if file.is_empty() {
            return Err(RequestError::field("file", "'file' is empty."));
        }
        if file.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        let format = self.format.unwrap_or(TextFormat::Json);
        if self.stream && !matches!(format, TextFormat::Json | TextFormat::Text) {
            let message =
                "With 'stream', 'response_format' is 'json' or 'text'; subtitles and segments come whole.";
            return Err(RequestError::field("response_format", message));
        }
        let Self { model, language, prompt, stream, logprobs, times, .. } = self;
        if logprobs && format != TextFormat::Json {
            let message = "'include' holds 'logprobs', which 'response_format' 'json' alone has.";
            return Err(RequestError::field("include", message));
        }
        if times.words && format != TextFormat::VerboseJson {
            let message =
                "'timestamp_granularities' holds 'word', which 'response_format' 'verbose_json' alone has.";
            return Err(RequestError::field("timestamp_granularities", message));
        }
        Ok(Form { file, model, prompt, wanted: Wanted { format, language, logprobs, times }, stream })
    }
}

fn format(text: &str) -> Result<TextFormat, RequestError> {
    if let Some((_, format)) = FORMATS.iter().find(|(name, _)| *name == text) {
        return Ok(*format);
    }
    let names: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
    let why = if text == DIARIZED { "the engine does not tell speakers apart" } else { "it is unknown" };
    let message = format!("'response_format' is '{text}': {why}. Use one of: {}.", names.join(", "));
    Err(RequestError::field("response_format", message))
}

/// It has no effect: the engine takes the likeliest words.
fn temperature(text: &str) -> Result<(), RequestError> {
    match text.trim().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(()),
        _ => Err(RequestError::field(
            "temperature",
            format!("'temperature' is '{text}', it must be from 0 to 1."),
        )),
    }
}

fn flag(text: &str) -> Result<bool, RequestError> {
    match text.trim() {
        "true" | "True" | "1" => Ok(true),
        "false" | "False" | "0" | "" => Ok(false),
        _ => Err(RequestError::field("stream", format!("'stream' is '{text}', it must be true or false."))),
    }
}

fn granularity(text: &str, times: &mut Times) -> Result<(), RequestError> {
    match text {
        "segment" => times.segments = true,
        "word" => times.words = true,
        _ => {
            let message = format!("'timestamp_granularities' holds '{text}'; use 'word' or 'segment'.");
            return Err(RequestError::field("timestamp_granularities", message));
        }
    }
    Ok(())
}

fn broken(error: &MultipartError, max_bytes: usize) -> RequestError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large(max_bytes);
    }
    let (status, code) = (StatusCode::BAD_REQUEST, "invalid_request");
    let message = format!("The form cannot be read: {}.", error.body_text());
    RequestError::Invalid { status, code, message, param: None }
}

fn too_large(max_bytes: usize) -> RequestError {
    let message = format!(
        "The file is larger than {max_bytes} bytes (server.uploads.max_bytes). Send it in parts, or compressed: \
         mp3, ogg or m4a."
    );
    let (status, code) = (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large");
    RequestError::Invalid { status, code, message, param: Some("file") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: &RequestError) -> (Option<&'static str>, String) {
        let RequestError::Invalid { param, message, .. } = error else {
            panic!("not about a field: {error}")
        };
        (*param, message.clone())
    }

    #[test]
    fn what_is_not_possible_names_what_is() {
        for (result, param, part) in [
            (format("diarized_json").map(drop), "response_format", "json, text, verbose_json, srt, vtt"),
            (format("yaml").map(drop), "response_format", "unknown"),
            (granularity("letter", &mut Times::default()), "timestamp_granularities", "'word' or 'segment'"),
            (temperature("7"), "temperature", "from 0 to 1"),
            (temperature("warm"), "temperature", "'warm'"),
            (flag("maybe").map(drop), "stream", "true or false"),
        ] {
            let (found, message) = message(&result.expect_err("not possible"));
            assert_eq!(found, Some(param));
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(format("srt"), Ok(TextFormat::Srt));
        assert_eq!((flag("True"), flag("false"), temperature("0.2")), (Ok(true), Ok(false), Ok(())));
        let mut times = Times::default();
        assert_eq!((granularity("segment", &mut times), granularity("word", &mut times)), (Ok(()), Ok(())));
        assert_eq!(times, Times { words: true, segments: true });
    }

    #[test]
    fn fields_are_judged_together() {
        let file = || Some(Bytes::from_static(b"12345"));
        let judge = |fields: Fields, max| fields.judge(max).map_err(|error| message(&error).0);
        assert_eq!(judge(Fields::default(), 9).err(), Some(Some("file")));
        assert_eq!(
            judge(Fields { file: Some(Bytes::new()), ..Fields::default() }, 9).err(),
            Some(Some("file"))
        );
        assert_eq!(judge(Fields { file: file(), ..Fields::default() }, 4).err(), Some(Some("file")));
        let streamed =
            |format| Fields { file: file(), format: Some(format), stream: true, ..Fields::default() };
        assert_eq!(judge(streamed(TextFormat::Srt), 9).err(), Some(Some("response_format")));
        assert!(judge(streamed(TextFormat::Text), 9).is_ok_and(|form| form.stream));
        let words = |format| Fields {
            file: file(),
            format: Some(format),
            times: Times { words: true, segments: false },
            ..Fields::default()
        };
        assert_eq!(judge(words(TextFormat::Json), 9).err(), Some(Some("timestamp_granularities")));
        assert!(judge(words(TextFormat::VerboseJson), 9).is_ok_and(|form| form.wanted.times.words));
    }
}
