//! The keys of engines behind a URL (`kind = "openai"`), alike for all three lists.

use super::Allowed::{Any, Between, OneOf, Text};
use super::{Key, MINUTE_MS, key};
use crate::backend::openai::check_url;
use crate::config::check;

const URL: &str = "`openai`: the base URL, which the paths of OpenAI's API are appended to";
const KEY_ENV: &str = "`openai`: the environment variable that holds the API key";
const KEY_FILE: &str = "`openai`: a file with the API key; refused where anybody but its owner may read it";
const CA_FILE: &str = "`openai`: certificates to trust beside the system's";
const INTERVAL: &str = "`openai`: from the start of one call to the start of the next; 50 without it";
const REQUESTS: &str =
    "`openai`: calls a minute, shared fairly among those who talk; 0, as without it, for no limit";
const TOKENS: &str =
    "`openai`: tokens a minute, shared likewise; 0, as without it, for no limit; language models only";
const RETRIES: &str = "`openai`: how often a call is tried again while it has output nothing; 2 without it";
const CONNECT: &str = "`openai`: how long a connection may take; 2,000 without it";
const FIRST: &str = "`openai`: how long the first output may take, from the call on; 10,000 without it";
const PAUSE: &str = "`openai`: how long the server may pause within its answer; 5,000 without it";
const WHOLE: &str = "`openai`: how long the server may take for a whole answer; 120,000 without it";
const MOST_MS: f64 = 60.0 * MINUTE_MS;
const MOST_A_MINUTE: f64 = 1e9;

/// The rows that every list has.
macro_rules! endpoint {
    ($list:literal $(, $more:expr)* $(,)?) => {
        [
            key(concat!("engines.", $list, "[*].url"), URL, Text("an http:// or https:// URL without a password", check_url)),
            key(concat!("engines.", $list, "[*].api_key_env"), KEY_ENV, Text("a name: A-Z, 0-9, _", check::variable_name)),
            key(concat!("engines.", $list, "[*].api_key_file"), KEY_FILE, Any("a path")),
            key(concat!("engines.", $list, "[*].ca_file"), CA_FILE, Any("a path of a PEM file")),
            $($more,)*
            key(concat!("engines.", $list, "[*].limits.min_interval_ms"), INTERVAL, Between(0.0, MINUTE_MS)),
            key(concat!("engines.", $list, "[*].limits.requests_per_minute"), REQUESTS, Between(0.0, MOST_A_MINUTE)),
            key(concat!("engines.", $list, "[*].limits.tokens_per_minute"), TOKENS, Between(0.0, MOST_A_MINUTE)),
            key(concat!("engines.", $list, "[*].limits.retries"), RETRIES, Between(0.0, 10.0)),
            key(concat!("engines.", $list, "[*].timeouts.connect_ms"), CONNECT, Between(10.0, MOST_MS)),
            key(concat!("engines.", $list, "[*].timeouts.first_output_ms"), FIRST, Between(10.0, MOST_MS)),
            key(concat!("engines.", $list, "[*].timeouts.between_ms"), PAUSE, Between(10.0, MOST_MS)),
            key(concat!("engines.", $list, "[*].timeouts.whole_ms"), WHOLE, Between(10.0, MOST_MS)),
        ]
    };
}

/// Of `engines.stt`.
pub(super) const STT: &[Key] = &endpoint!(
    "stt",
    key(
        "engines.stt[*].response_format",
        "`openai`: `verbose_json` tells the language and whether there was speech too; Whisper models know it",
        OneOf(&["json", "verbose_json"]),
    ),
);

/// Of `engines.llm`.
pub(super) const LLM: &[Key] = &endpoint!(
    "llm",
    key(
        "engines.llm[*].max_tokens_field",
        "`openai`: what the server calls an answer's limit; auto: `max_completion_tokens` for OpenAI itself",
        OneOf(&["auto", "max_tokens", "max_completion_tokens"]),
    ),
    key(
        "engines.llm[*].extra",
        "`openai`: more for the body of requests, over everything else",
        Any("a table")
    ),
);

/// Of `engines.tts`.
pub(super) const TTS: &[Key] = &endpoint!(
    "tts",
    key(
        "engines.tts[*].model",
        "`piper`, `kokoro`: the graph (ONNX); `openai`: the model's name there",
        Any("a path or a name"),
    ),
    key(
        "engines.tts[*].voices",
        "`kokoro`: its voices, by default `voices` beside the graph or above; `openai`: the voices there, of which \
         the first speaks where a client asks for another, without it OpenAI's",
        Any("a folder or file; for `openai` a list of names"),
    ),
    key("engines.tts[*].response_format", "`openai`: how speech is sent", OneOf(&["pcm", "wav"])),
    key(
        "engines.tts[*].sample_rate",
        "`openai`: samples a second of `pcm`, which does not say so itself; 24,000 without it",
        Between(8_000.0, 192_000.0),
    ),
);
