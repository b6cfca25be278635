//! The three pools together.

use std::time::Duration;

use tokio::time::Instant;

use super::PoolsConfig;
use super::governor::DegradationSignal;
use super::pool::ResourcePool;
use super::queue::HolderId;
use super::scheduler::Scheduler;
use super::stats::PoolStats;
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
    /// What the server does without at the moment.
    pub degradation: DegradationSignal,
}

impl ResourcePoolManager {
    /// How long a request may wait for a slot; the same in all pools.
    pub fn max_wait(&self) -> Duration {
        Duration::from_millis(self.stt.config().max_wait_ms)
    }

    /// Longest wait of the last seconds in any pool, as a part of the one that counts as full pressure.
    pub fn pressure(&self, now: Instant) -> f64 {
        let limit = self.stt.config().governor.queue_delay_ms.max(1);
        let delays = [self.stt.queue_delay(now), self.llm.queue_delay(now), self.tts.queue_delay(now)];
        let longest = delays.into_iter().max().unwrap_or_default();
        longest.as_secs_f64() / Duration::from_millis(limit).as_secs_f64()
    }

    /// What each pool does now.
    pub fn stats(&self) -> [PoolStats; 3] {
        [self.stt.stats(), self.llm.stats(), self.tts.stats()]
    }

    /// Starts the tasks that keep the pools whole; they end at shutdown.
    pub fn supervise(&self, runtime: &Runtime) {
        let shutdown = runtime.shutdown_token().clone();
        drop(runtime.spawn("endpoint limits", self.scheduler.clone().keep_time(shutdown)));
        drop(runtime.spawn("stt supervisor", supervise(self.stt.clone(), runtime.clone())));
        drop(runtime.spawn("llm supervisor", supervise(self.llm.clone(), runtime.clone())));
        drop(runtime.spawn("tts supervisor", supervise(self.tts.clone(), runtime.clone())));
    }

    /// A session has ended: nothing of it is kept.
    pub fn forget(&self, holder: HolderId) {
        self.scheduler.forget(holder);
    }

    /// How the pools behave from now on; nobody who waits or runs is disturbed.
    pub fn reconfigure(&self, config: &PoolsConfig) {
        self.scheduler.reconfigure(config);
        self.stt.reconfigure(config);
        self.llm.reconfigure(config);
        self.tts.reconfigure(config);
    }
}
