//! The three pools together.

use super::PoolsConfig;
use super::pool::{PoolStats, ResourcePool};
use super::scheduler::Scheduler;
use super::supervisor::supervise;
use crate::engine::llm::LlmEngine;
use crate::engine::stt::SttEngine;
use crate::engine::tts::TtsEngine;
use crate::runtime::Runtime;

/// The engines that sessions share. Clones are handles to the same pools.
#[derive(Clone, Debug)]
pub struct ResourcePoolManager {
    /// Speech to text.
    pub stt: ResourcePool<dyn SttEngine>,
    /// Language model.
    pub llm: ResourcePool<dyn LlmEngine>,
    /// Text to speech.
    pub tts: ResourcePool<dyn TtsEngine>,
    /// What all three share.
    pub scheduler: Scheduler,
}

impl ResourcePoolManager {
    /// What each pool does now.
    pub fn stats(&self) -> [PoolStats; 3] {
        [self.stt.stats(), self.llm.stats(), self.tts.stats()]
    }

    /// Starts the tasks that keep the pools whole; they end at shutdown.
    pub fn supervise(&self, runtime: &Runtime) {
        drop(runtime.spawn("stt supervisor", supervise(self.stt.clone(), runtime.clone())));
        drop(runtime.spawn("llm supervisor", supervise(self.llm.clone(), runtime.clone())));
        drop(runtime.spawn("tts supervisor", supervise(self.tts.clone(), runtime.clone())));
    }

    /// How the pools behave from now on; nobody who waits or runs is disturbed.
    pub fn reconfigure(&self, config: &PoolsConfig) {
        self.scheduler.reconfigure(config);
        self.stt.reconfigure(config);
        self.llm.reconfigure(config);
        self.tts.reconfigure(config);
    }
}
