//! What can be set of engines behind a URL.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::engine::EngineCost;
use crate::engine::cost::OwnCost;
use crate::engine::endpoint::{Endpoint, EndpointLimits, EndpointTimeouts};
use crate::engine::tts::OPENAI_VOICES;

/// Where an endpoint is and how it is entered: what all three kinds have alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrance<'a> {
    /// `stt`, `llm` or `tts`.
    pub(super) list: &'static str,
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    pub(super) model: &'a str,
    pub(super) api_key_env: Option<&'a str>,
    pub(super) api_key_file: Option<&'a PathBuf>,
    pub(super) ca_file: Option<&'a PathBuf>,
    pub(super) timeouts: EndpointTimeouts,
}

/// What all three configurations have alike; their fields have the same names.
macro_rules! endpoint {
    ($config:ident, $list:literal) => {
        impl $config {
            /// How often it may be called, and how long it is waited for.
            pub fn endpoint(&self) -> Endpoint {
                Endpoint { limits: self.limits, timeouts: self.timeouts }
            }

            /// It costs this machine nothing worth planning for.
            pub fn cost(&self) -> Result<EngineCost, String> {
                Ok(EngineCost::default())
            }

            pub(super) fn entrance(&self) -> Entrance<'_> {
                Entrance {
                    list: $list,
                    name: &self.name,
                    url: &self.url,
                    model: &self.model,
                    api_key_env: self.api_key_env.as_deref(),
                    api_key_file: self.api_key_file.as_ref(),
                    ca_file: self.ca_file.as_ref(),
                    timeouts: self.timeouts,
                }
            }
        }
    };
}

/// Configuration of [`OpenAiLlm`](super::OpenAiLlm).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAiLlmConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Calls that may run at once.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Base URL: `/chat/completions` is appended. It holds no user, password or query.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// A file that holds the API key, and that its owner alone may read.
    pub api_key_file: Option<PathBuf>,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The most tokens of a prompt and its answer, as 4 bytes a token are reckoned; the oldest turns of longer talks
    /// are left out. Without it, they are when the server says that a talk is too long.
    pub max_context: Option<usize>,
    /// The most tokens of an answer where the request does not say; without it, the server's own limit.
    pub max_tokens: Option<u32>,
    /// What the server calls that limit.
    pub max_tokens_field: MaxTokensField,
    /// How tokens are chosen; what is not set is left to the server.
    pub sampling: OpenAiSamplingConfig,
    /// More for the request's body, over everything else: `{ chat_template_kwargs = { enable_thinking = false } }`.
    pub extra: Map<String, Value>,
    /// How often it may be called.
    pub limits: EndpointLimits,
    /// How long it is waited for.
    pub timeouts: EndpointTimeouts,
    /// What the operator knows of its cost.
    pub cost: OwnCost,
}

endpoint!(OpenAiLlmConfig, "llm");

impl Default for OpenAiLlmConfig {
    /// Four slots: more calls at once make each of them slower on most servers that people run themselves.
    fn default() -> Self {
        Self {
            name: "openai".into(),
            slots: 4,
            fallback: false,
            url: String::new(),
            model: String::new(),
            api_key_env: None,
            api_key_file: None,
            ca_file: None,
            max_context: None,
            max_tokens: None,
            max_tokens_field: MaxTokensField::default(),
            sampling: OpenAiSamplingConfig::default(),
            extra: Map::new(),
            limits: EndpointLimits::default(),
            timeouts: EndpointTimeouts::default(),
            cost: OwnCost::default(),
        }
    }
}

/// What a server calls the limit of an answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// `max_completion_tokens` for OpenAI itself, `max_tokens` for others.
    #[default]
    Auto,
    /// `max_tokens`: what most servers know.
    MaxTokens,
    /// `max_completion_tokens`: what OpenAI's newer models ask for.
    MaxCompletionTokens,
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAiSamplingConfig {
    /// 0 takes the likeliest token, 1 draws by the model's own odds.
    pub temperature: Option<f32>,
    /// Draws among the likeliest tokens whose probabilities add up to this.
    pub top_p: Option<f32>,
}

/// Configuration of [`OpenAiStt`](super::OpenAiStt).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAiSttConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Calls that may run at once.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Base URL: `/audio/transcriptions` is appended. It holds no user, password or query.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// A file that holds the API key, and that its owner alone may read.
    pub api_key_file: Option<PathBuf>,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Language of requests that name none, as an ISO 639-1 code; without it, the server finds out.
    pub language: Option<String>,
    /// What the server is asked for.
    pub response_format: TranscriptFormat,
    /// How often it may be called.
    pub limits: EndpointLimits,
    /// How long it is waited for.
    pub timeouts: EndpointTimeouts,
    /// What the operator knows of its cost.
    pub cost: OwnCost,
}

endpoint!(OpenAiSttConfig, "stt");

impl Default for OpenAiSttConfig {
    /// Four slots, as for language models.
    fn default() -> Self {
        Self {
            name: "openai".into(),
            slots: 4,
            fallback: false,
            url: String::new(),
            model: String::new(),
            api_key_env: None,
            api_key_file: None,
            ca_file: None,
            language: None,
            response_format: TranscriptFormat::default(),
            limits: EndpointLimits::default(),
            timeouts: EndpointTimeouts::default(),
            cost: OwnCost::default(),
        }
    }
}

/// What a server is asked to tell of a transcript.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TranscriptFormat {
    /// The text: what every server and model knows.
    #[default]
    Json,
    /// The language and whether there was speech too: Whisper models.
    VerboseJson,
}

impl TranscriptFormat {
    /// As OpenAI's API names it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::VerboseJson => "verbose_json",
        }
    }
}

/// Configuration of [`OpenAiTts`](super::OpenAiTts).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAiTtsConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Calls that may run at once.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Base URL: `/audio/speech` is appended. It holds no user, password or query.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// A file that holds the API key, and that its owner alone may read.
    pub api_key_file: Option<PathBuf>,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The voices there; the first speaks where a client asks for another.
    pub voices: Vec<String>,
    /// What the server is asked for.
    pub response_format: SpeechFormat,
    /// Samples a second of `pcm`, which does not say so itself: 24,000, as OpenAI's.
    pub sample_rate: u32,
    /// How often it may be called.
    pub limits: EndpointLimits,
    /// How long it is waited for.
    pub timeouts: EndpointTimeouts,
    /// What the operator knows of its cost.
    pub cost: OwnCost,
}

endpoint!(OpenAiTtsConfig, "tts");

impl Default for OpenAiTtsConfig {
    /// Four slots, as for language models; OpenAI's voices and sample rate.
    fn default() -> Self {
        Self {
            name: "openai".into(),
            slots: 4,
            fallback: false,
            url: String::new(),
            model: String::new(),
            api_key_env: None,
            api_key_file: None,
            ca_file: None,
            voices: OPENAI_VOICES.map(str::to_owned).to_vec(),
            response_format: SpeechFormat::default(),
            sample_rate: 24_000,
            limits: EndpointLimits::default(),
            timeouts: EndpointTimeouts::default(),
            cost: OwnCost::default(),
        }
    }
}

/// How speech is sent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeechFormat {
    /// Bare 16-bit little-endian mono samples.
    #[default]
    Pcm,
    /// The same as a WAV, which tells its sample rate.
    Wav,
}

impl SpeechFormat {
    /// As OpenAI's API names it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pcm => "pcm",
            Self::Wav => "wav",
        }
    }
}
