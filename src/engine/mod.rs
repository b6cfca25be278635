//! What an engine is: speech-to-text, language model, text-to-speech and voice activity, as four small traits
//! with their request and event types.
//!
//! Nothing here knows a runtime, a pool, a session or the wire. Engines answer with plain futures and streams;
//! dropping one abandons the call, and its [`CancelFlag`] stops the work behind it within 50 ms.
//!
//! Read [`stt::SttEngine`] first; the others have the same shape.

pub mod cancel;
pub mod compute;
pub mod cost;
pub mod device;
pub mod endpoint;
pub mod error;
pub mod llm;
pub mod model;
pub mod process;
pub mod stt;
pub mod tts;
pub mod turn;
pub mod vad;

pub use cancel::CancelFlag;
pub use cost::EngineCost;
pub use device::Device;
pub use error::EngineError;
pub use process::EngineProcess;

use std::pin::Pin;

/// A call that ends in one value.
pub type EngineFuture<T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send>>;

/// A call that answers piece by piece. It ends after its first error.
pub type EngineStream<T> = Pin<Box<dyn futures::Stream<Item = Result<T, EngineError>> + Send>>;
