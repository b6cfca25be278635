//! The three pools together.

use super::pool::{PoolStats, ResourcePool};
use crate::engine::llm::LlmEngine;
use crate::engine::stt::SttEngine;
use crate::engine::tts::TtsEngine;

/// The engines that sessions share. Clones are handles to the same pools.
#[derive(Clone, Debug)]
pub struct ResourcePoolManager {
    /// Speech to text.
    pub stt: ResourcePool<dyn SttEngine>,
    /// Language model.
    pub llm: ResourcePool<dyn LlmEngine>,
    /// Text to speech.
    pub tts: ResourcePool<dyn TtsEngine>,
}

impl ResourcePoolManager {
    /// What each pool does now.
    pub fn stats(&self) -> [PoolStats; 3] {
        [self.stt.stats(), self.llm.stats(), self.tts.stats()]
    }
}
