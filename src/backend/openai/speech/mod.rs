//! Text-to-speech: `POST {url}/audio/speech`, read as it comes.
//!
//! Read [`OpenAiTts`] first. `samples` makes samples of bytes, `words` says when each word is heard; both are pure.

mod samples;
mod words;

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use reqwest::Response;
use serde_json::{Map, Value, json};

use self::samples::Samples;
use self::words::words;
use super::config::{OpenAiTtsConfig, SpeechFormat};
use super::upstream::{Upstream, media_type};
use super::wait::Patience;
use crate::backend::LoadError;
use crate::engine::tts::{SpeechChunk, TtsEngine, TtsEvent, TtsRequest};
use crate::engine::{CancelFlag, EngineError, EngineFuture, EngineStream};

/// The longest text of one call: the limit of OpenAI's `/v1/audio/speech`.
const MAX_TEXT_CHARS: usize = 4096;

/// Text-to-speech behind a URL.
#[derive(Debug)]
pub struct OpenAiTts {
    upstream: Arc<Upstream>,
    config: Arc<OpenAiTtsConfig>,
}

impl OpenAiTts {
    /// Reads the key and prepares connections; connects to nothing yet.
    pub fn open(config: &OpenAiTtsConfig) -> Result<Self, LoadError> {
        if config.voices.is_empty() {
            return Err(LoadError::Config {
                key: format!("tts.{}.voices", config.name),
                value: "[]".to_owned(),
                reason: "name one voice at least, or leave the list out".to_owned(),
            });
        }
        Ok(Self { upstream: Upstream::open(config.entrance())?, config: Arc::new(config.clone()) })
    }
}

impl TtsEngine for OpenAiTts {
    fn reach(&self, cancel: CancelFlag) -> Option<EngineFuture<()>> {
        Some(self.upstream.reach(cancel))
    }

    fn synthesize(&self, request: TtsRequest, cancel: CancelFlag) -> EngineStream<TtsEvent> {
        let chars = request.text.chars().count();
        if chars > MAX_TEXT_CHARS {
            let reason = format!("the text has {chars} characters, the limit is {MAX_TEXT_CHARS}");
            let error = EngineError::BadRequest { engine: self.config.name.clone(), reason };
            return Box::pin(stream::iter([Err(error)]));
        }
        let call = Call {
            patience: Patience::new(&self.upstream.engine, self.upstream.timeouts, cancel),
            upstream: Arc::clone(&self.upstream),
            samples: Samples::new(match self.config.response_format {
                SpeechFormat::Pcm => Some(self.config.sample_rate),
                SpeechFormat::Wav => None,
            }),
            config: Arc::clone(&self.config),
            request,
            bytes: None,
        };
        Box::pin(stream::unfold(Some(call), async |call| {
            let mut call = call?;
            match call.next().await {
                Ok(Some(event)) => Some((Ok(event), Some(call))),
                Ok(None) => Some((Ok(call.words()), None)),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    fn voices(&self) -> Vec<String> {
        self.config.voices.clone()
    }
}

type Bytes = Pin<Box<dyn Stream<Item = Result<Vec<u8>, EngineError>> + Send>>;

/// One call.
struct Call {
    upstream: Arc<Upstream>,
    config: Arc<OpenAiTtsConfig>,
    request: TtsRequest,
    patience: Patience,
    bytes: Option<Bytes>,
    samples: Samples,
}

impl Call {
    /// The next audio; `None` at its end.
    async fn next(&mut self) -> Result<Option<TtsEvent>, EngineError> {
        let Self { upstream, config, request, patience, bytes, samples } = self;
        let work = async {
            let bytes = match bytes {
                Some(bytes) => bytes,
                None => bytes.insert(open(upstream, config, request).await?),
            };
            while let Some(piece) = bytes.next().await {
                let heard = samples.push(&piece?).map_err(|reason| upstream.failed(reason))?;
                if !heard.is_empty() {
                    return Ok(Some(heard));
                }
            }
            samples.end().map_err(|reason| upstream.failed(reason)).map(|()| None)
        };
        let Some(samples) = patience.wait(work).await? else { return Ok(None) };
        self.patience.output();
        let sample_rate = self.samples.rate();
        Ok(Some(TtsEvent::Audio(SpeechChunk { samples, sample_rate })))
    }

    fn words(&self) -> TtsEvent {
        TtsEvent::Words(words(&self.request.text, self.samples.heard_ms()))
    }
}

async fn open(
    upstream: &Arc<Upstream>,
    config: &OpenAiTtsConfig,
    request: &TtsRequest,
) -> Result<Bytes, EngineError> {
    let body = body(config, request);
    let response = upstream.send(upstream.post("audio/speech").json(&body), &[&request.text]).await?;
    check_type(upstream, &response)?;
    let upstream = Arc::clone(upstream);
    let pieces = response.bytes_stream();
    Ok(Box::pin(pieces.map(move |piece| piece.map(Vec::from).map_err(|error| upstream.broken(&error)))))
}

fn check_type(upstream: &Upstream, response: &Response) -> Result<(), EngineError> {
    let found = media_type(response);
    let is_raw = matches!(found.as_str(), "" | "application/octet-stream" | "binary/octet-stream");
    let is_samples = found.starts_with("audio/")
        && ["pcm", "wav", "wave", "l16", "raw", "basic"].iter().any(|kind| found.contains(kind));
    if is_raw || is_samples {
        return Ok(());
    }
    let found = upstream.private(&[]).line(&found);
    Err(upstream
        .failed(format!("it answered with {found} in place of samples; check url and response_format")))
}

fn body(config: &OpenAiTtsConfig, request: &TtsRequest) -> Value {
    // A voice that the server does not have is spoken in the first one.
    let known = config.voices.iter().find(|voice| **voice == request.voice).or(config.voices.first());
    let mut body = Map::new();
    body.insert("model".into(), json!(config.model));
    body.insert("input".into(), json!(request.text));
    body.insert("voice".into(), json!(known));
    body.insert("response_format".into(), json!(config.response_format.as_str()));
    // Not every server knows other speeds; none needs to be told of the normal one.
    if request.speed.is_finite() && (request.speed - 1.0).abs() > f32::EPSILON {
        body.insert("speed".into(), json!(f64::from((request.speed * 1000.0).round()) / 1000.0));
    }
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_names_a_voice_that_there_is() {
        let voices = vec!["anna".to_owned(), "bert".to_owned()];
        let config = OpenAiTtsConfig { model: "m".into(), voices, ..OpenAiTtsConfig::default() };
        let ask = |voice: &str, speed| {
            body(&config, &TtsRequest { text: "Hi.".into(), voice: voice.into(), speed })
        };
        let plain = json!({"model": "m", "input": "Hi.", "voice": "anna", "response_format": "pcm"});
        assert_eq!(ask("alloy", 1.0), plain);
        assert_eq!(ask("alloy", f32::NAN), plain);
        assert_eq!(ask("bert", 1.2)["voice"], "bert");
        assert_eq!(ask("bert", 1.2)["speed"], 1.2);
    }

    #[test]
    fn there_is_one_voice_at_least() {
        let config = OpenAiTtsConfig { voices: Vec::new(), ..OpenAiTtsConfig::default() };
        assert!(OpenAiTts::open(&config).expect_err("no voice").to_string().contains("voices"));
    }
}
