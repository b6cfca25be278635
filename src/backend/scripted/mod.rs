//! Engines that follow a script: texts, latencies and faults that are known beforehand. Tests use them, and so
//! do measurements of the server without models.
//!
//! They are plain streams over tokio's clock: no thread, no process, and paused time works. Nothing here
//! computes anything worth a worker thread.
//!
//! Read [`Step`] first, then [`ScriptedLlm`].

mod llm;
mod log;
mod play;
mod script;
mod stt;
mod tts;
mod vad;

pub use llm::{ScriptedLlm, ScriptedLlmConfig};
pub use log::CallStats;
pub use script::{Act, Hang, ScriptedToolCall, Step};
pub use stt::{ScriptedStt, ScriptedSttConfig, SttCall};
pub use tts::{ScriptedTts, ScriptedTtsConfig};
pub use vad::{ScriptedVad, ScriptedVadConfig};
