//! Engines behind a URL that speaks OpenAI's API: Ollama, vLLM, llama.cpp's server, Speaches, OpenAI itself, another
//! Antiphon. A call is one HTTP request; limits, retries and breakers are the pools'.
//!
//! Read [`OpenAiLlm`] first. `upstream` is what all three engines share: connections, the key, what failures mean;
//! `wait` keeps to the timeouts and hears the cancel flag. Nothing here computes: calls are plain streams.

mod address;
mod chat;
mod client;
mod config;
mod fault;
mod retry_after;
mod speech;
mod sse;
mod transcription;
mod upstream;
mod wait;

pub use address::check_url;
pub use chat::OpenAiLlm;
pub use config::{
    MaxTokensField, OpenAiLlmConfig, OpenAiSamplingConfig, OpenAiSttConfig, OpenAiTtsConfig, SpeechFormat,
    TranscriptFormat,
};
pub use speech::OpenAiTts;
pub use transcription::OpenAiStt;
