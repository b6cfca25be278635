//! L2: the engines behind the traits of `engine`, and the catalog that builds them from configuration.
//!
//! A backend knows its model and its library, and nothing of pools, sessions or the wire. What runs inference
//! owns threads of its own; what waits for a process or a clock is a plain stream.
//!
//! Read [`catalog`] first: it names every backend and its configuration.

pub mod catalog;
mod costs;
mod cuts;
mod described;
pub mod earshot;
pub mod espeak;
mod growth;
pub mod guards;
pub mod kokoro;
pub mod load_error;
pub mod moonshine;
mod onnx;
pub mod onnx_llm;
mod onnx_voice;
pub mod openai;
mod phonemes;
pub mod piper;
pub mod placement;
pub mod process;
mod prompt;
pub mod scripted;
pub mod silero;
pub mod smart_turn;
mod stt_calls;
pub mod whisper;
mod word_times;
mod worker;

pub use catalog::{EngineSet, EnginesConfig, Loaded, load};
pub use load_error::LoadError;
/// ONNX Runtime as the engines use it, for programs that measure them beside it.
pub use onnx::environment as onnx_environment;
pub use placement::Placement;
