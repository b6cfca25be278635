//! The language model: `POST {url}/chat/completions`, streamed.
//!
//! Read [`OpenAiLlm`] first. `request` writes the body, `answer` reads what comes back piece by piece, `calls` puts
//! tool calls together, `think` leaves out what is not to be spoken, `fitting` shortens talks that are too long; all of
//! these are pure.

mod answer;
mod call;
mod calls;
mod fitting;
mod request;
mod think;

use std::sync::Arc;

use futures::stream;

use self::call::Call;
use super::config::OpenAiLlmConfig;
use super::upstream::Upstream;
use crate::backend::LoadError;
use crate::engine::llm::{LlmEngine, LlmEvent, LlmRequest};
use crate::engine::{CancelFlag, EngineFuture, EngineStream};

/// A language model behind a URL.
#[derive(Debug)]
pub struct OpenAiLlm {
    upstream: Arc<Upstream>,
    config: Arc<OpenAiLlmConfig>,
}

impl OpenAiLlm {
    /// Reads the key and prepares connections; connects to nothing yet.
    pub fn open(config: &OpenAiLlmConfig) -> Result<Self, LoadError> {
        Ok(Self { upstream: Upstream::open(config.entrance())?, config: Arc::new(config.clone()) })
    }
}

impl LlmEngine for OpenAiLlm {
    fn reach(&self, cancel: CancelFlag) -> Option<EngineFuture<()>> {
        Some(self.upstream.reach(cancel))
    }

    fn generate(&self, request: LlmRequest, cancel: CancelFlag) -> EngineStream<LlmEvent> {
        let call = Call::new(Arc::clone(&self.upstream), Arc::clone(&self.config), request, cancel);
        // The call, its connection and its flag go with the last event, not with the stream.
        Box::pin(stream::unfold(Some(call), async |call| {
            let mut call = call?;
            match call.next().await {
                Ok(event) => {
                    let goes_on = !matches!(event, LlmEvent::Done { .. });
                    Some((Ok(event), goes_on.then_some(call)))
                }
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}
