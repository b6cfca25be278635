//! Speech-to-text: `POST {url}/audio/transcriptions` with a WAV of the utterance.

use std::sync::Arc;

use isolang::Language;
use reqwest::multipart::{Form, Part};
use serde::Deserialize;

use super::config::{OpenAiSttConfig, TranscriptFormat};
use super::upstream::{MAX_ANSWER, Upstream};
use super::wait::Patience;
use crate::audio::pcm::sample_to_i16;
use crate::audio::wav::encode_wav;
use crate::backend::LoadError;
use crate::engine::stt::{HeardWord, STT_SAMPLE_RATE, SttEngine, SttRequest, TokenLogprob, Transcript};
use crate::engine::{CancelFlag, EngineError, EngineFuture};

/// Speech-to-text behind a URL.
#[derive(Debug)]
pub struct OpenAiStt {
    upstream: Arc<Upstream>,
    config: Arc<OpenAiSttConfig>,
}

impl OpenAiStt {
    /// Reads the key and prepares connections; connects to nothing yet.
    pub fn open(config: &OpenAiSttConfig) -> Result<Self, LoadError> {
        Ok(Self { upstream: Upstream::open(config.entrance())?, config: Arc::new(config.clone()) })
    }
}

impl SttEngine for OpenAiStt {
    fn reach(&self, cancel: CancelFlag) -> Option<EngineFuture<()>> {
        Some(self.upstream.reach(cancel))
    }

    fn tells_word_times(&self) -> bool {
        self.config.response_format == TranscriptFormat::VerboseJson
    }

    fn transcribe(&self, request: SttRequest, cancel: CancelFlag) -> EngineFuture<Transcript> {
        let (upstream, config) = (Arc::clone(&self.upstream), Arc::clone(&self.config));
        Box::pin(async move {
            let mut patience = Patience::new(&upstream.engine, upstream.timeouts, cancel);
            patience.wait(transcribe(&upstream, &config, request)).await
        })
    }
}

async fn transcribe(
    upstream: &Upstream,
    config: &OpenAiSttConfig,
    request: SttRequest,
) -> Result<Transcript, EngineError> {
    let wants_words = request.word_times && config.response_format == TranscriptFormat::VerboseJson;
    let form = form(config, &request).map_err(|reason| upstream.failed(reason))?;
    let texts = [request.prompt.as_deref().unwrap_or_default()];
    let response = upstream.send(upstream.post("audio/transcriptions").multipart(form), &texts).await?;
    let body = upstream.body(response, MAX_ANSWER).await?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| upstream.failed("it answered with what is no transcript; check url".to_owned()))?;
    let transcript: Transcript = answer.into();
    if wants_words && transcript.words.is_empty() && !transcript.text.is_empty() {
        return Err(upstream.failed("it told no times of words (`words`), for which it was asked".to_owned()));
    }
    Ok(transcript)
}

fn form(config: &OpenAiSttConfig, request: &SttRequest) -> Result<Form, String> {
    let samples: Vec<i16> = request.audio.iter().copied().map(sample_to_i16).collect();
    let wav = Part::bytes(encode_wav(&samples, STT_SAMPLE_RATE)).file_name("speech.wav");
    let wav = wav.mime_str("audio/wav").map_err(|error| error.to_string())?;
    let mut form = Form::new()
        .part("file", wav)
        .text("model", config.model.clone())
        .text("response_format", config.response_format.as_str());
    if let Some(language) = request.language.clone().or_else(|| config.language.clone()) {
        form = form.text("language", language);
    }
    if request.word_times && config.response_format == TranscriptFormat::VerboseJson {
        form = form.text("timestamp_granularities[]", "word").text("timestamp_granularities[]", "segment");
    }
    if let Some(prompt) = request.prompt.clone().filter(|prompt| !prompt.is_empty()) {
        form = form.text("prompt", prompt);
    }
    Ok(form)
}

/// What servers tell; all but the text is theirs to leave out.
#[derive(Deserialize)]
struct Answer {
    text: String,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    segments: Option<Vec<Segment>>,
    #[serde(default)]
    logprobs: Option<Vec<Logprob>>,
    #[serde(default)]
    words: Option<Vec<Word>>,
}

#[derive(Deserialize)]
struct Word {
    word: String,
    start: f64,
    end: f64,
}

#[derive(Deserialize)]
struct Segment {
    #[serde(default)]
    no_speech_prob: Option<f32>,
}

#[derive(Deserialize)]
struct Logprob {
    #[serde(default)]
    token: String,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    logprob: f32,
}

impl From<Answer> for Transcript {
    fn from(answer: Answer) -> Self {
        let segments = answer.segments.unwrap_or_default();
        // Where one segment surely holds speech, so does the whole.
        let no_speech = segments.iter().filter_map(|segment| segment.no_speech_prob).reduce(f32::min);
        let token = |Logprob { token, bytes, logprob }| TokenLogprob {
            bytes: bytes.unwrap_or_else(|| token.into_bytes()),
            logprob,
        };
        Self {
            text: answer.text.trim().to_owned(),
            language: answer.language.as_deref().and_then(language_code),
            no_speech_probability: no_speech.map(|probability| probability.clamp(0.0, 1.0)),
            tokens: answer.logprobs.unwrap_or_default().into_iter().map(token).collect(),
            words: words(answer.words.unwrap_or_default()),
            guarded: None,
        }
    }
}

/// Times in order, whatever was told.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number that saturates")]
fn words(told: Vec<Word>) -> Vec<HeardWord> {
    let ms = |seconds: f64| (seconds * 1_000.0).round() as u32;
    let mut before = 0;
    let mut word = |Word { word, start, end }: Word| {
        let start_ms = ms(start).max(before);
        before = ms(end).max(start_ms);
        HeardWord { text: word.trim().to_owned(), start_ms, end_ms: before }
    };
    told.into_iter().map(&mut word).collect()
}

/// The ISO 639-1 code of a language that is told as a code, or, as OpenAI does, by its English name.
fn language_code(told: &str) -> Option<String> {
    let told = told.trim().to_lowercase();
    let mut name = told.clone();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let language = Language::from_639_1(&told).or_else(|| Language::from_name(&name))?;
    language.to_639_1().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: serde_json::Value) -> Transcript {
        serde_json::from_value::<Answer>(body).expect("a transcript").into()
    }

    #[test]
    fn short_and_long_answers_are_read() {
        assert_eq!(
            read(json!({"text": " Hello. \n"})),
            Transcript { text: "Hello.".into(), ..Transcript::default() }
        );
        let verbose = read(json!({
            "task": "transcribe", "language": "german", "duration": 1.2, "text": "Guten Tag.",
            "segments": [{"no_speech_prob": 0.4, "avg_logprob": -0.2}, {"no_speech_prob": 0.1}, {}],
            "logprobs": [{"token": "Guten", "bytes": [71, 117], "logprob": -0.5}, {"token": "ä", "logprob": -1.0}],
        }));
        assert_eq!(verbose.language.as_deref(), Some("de"));
        assert_eq!(verbose.no_speech_probability, Some(0.1));
        assert_eq!(verbose.tokens[0], TokenLogprob { bytes: vec![71, 117], logprob: -0.5 });
        assert_eq!(verbose.tokens[1].bytes, "ä".as_bytes());
        let words = read(json!({"text": "Hi you", "words": [
            {"word": " Hi", "start": 0.12, "end": 0.4}, {"word": "you", "start": 0.3, "end": 0.25}]}));
        let word = |text: &str, start_ms, end_ms| HeardWord { text: text.into(), start_ms, end_ms };
        assert_eq!(words.words, [word("Hi", 120, 400), word("you", 400, 400)]);
    }

    #[test]
    fn languages_are_codes() {
        for (told, code) in [
            ("english", Some("en")),
            ("English", Some("en")),
            ("de", Some("de")),
            ("FR", Some("fr")),
            ("klingon", None),
            ("", None),
            ("中文", None),
        ] {
            assert_eq!(language_code(told).as_deref(), code, "{told}");
        }
    }
}
