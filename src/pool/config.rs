//! How pools behave; one for all three.

use serde::{Deserialize, Serialize};

use super::governor::GovernorConfig;

/// How pools behave; one for all three.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PoolsConfig {
    /// How long a request waits for a free slot before it is answered `overloaded`, in milliseconds.
    /// 5,000: past that a speaking person has given up.
    pub max_wait_ms: u64,
    /// How many requests may wait in one pool; one more is refused at once. 256: eight for each of 30 users.
    pub max_waiting: usize,
    /// The part of a pool's slots that one session may have at once; two it may always have. 0.5: a session that
    /// asks for everything leaves half to the others.
    pub max_share: f64,
    /// Calls that compute on this machine's CPU at once, over all pools together; 0 for as many as it has cores.
    pub cpu_permits: usize,
    /// Calls and steps that compute on one GPU at once, over all pools together. 1: a GPU works on one kernel after
    /// the other, so more at once make each slower.
    pub gpu_permits: usize,
    /// How long an engine may take to its first output before the call counts as failed, in milliseconds.
    /// 10,000: ten times what the slowest useful engine takes.
    pub first_output_ms: u64,
    /// How long it may pause between two outputs, in milliseconds.
    pub stall_ms: u64,
    /// Failed calls in a row after which an instance gets no more until a probe succeeds.
    pub breaker_failures: u32,
    /// The pause before that probe, in milliseconds; it doubles with each failed one, up to a minute.
    pub breaker_backoff_ms: u64,
    /// How long an engine may hold on to a cancelled call before it is replaced, in milliseconds. 3,000: engines
    /// promise 50 ms.
    pub stuck_after_ms: u64,
    /// An instance that nobody has used for this long is tried, in seconds.
    pub probe_interval_s: u64,
    /// How long a probe may take, in milliseconds.
    pub probe_timeout_ms: u64,
    /// A pool grows when waits stay longer than this, in milliseconds. 200: what a person notices.
    pub grow_after_ms: u64,
    /// How many instances each pool may grow to.
    pub max_instances: PoolSizes,
    /// When the server does without, step by step.
    pub governor: GovernorConfig,
}

/// A number for each pool.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PoolSizes {
    /// Speech to text.
    pub stt: usize,
    /// Language model.
    pub llm: usize,
    /// Text to speech.
    pub tts: usize,
}

impl Default for PoolSizes {
    /// No more than what is configured: each instance more loads its model once more.
    fn default() -> Self {
        Self { stt: 1, llm: 1, tts: 1 }
    }
}

impl Default for PoolsConfig {
    fn default() -> Self {
        Self {
            max_wait_ms: 5_000,
            max_waiting: 256,
            max_share: 0.5,
            cpu_permits: 0,
            gpu_permits: 1,
            first_output_ms: 10_000,
            stall_ms: 10_000,
            breaker_failures: 3,
            breaker_backoff_ms: 1_000,
            stuck_after_ms: 3_000,
            probe_interval_s: 30,
            probe_timeout_ms: 5_000,
            grow_after_ms: 200,
            max_instances: PoolSizes::default(),
            governor: GovernorConfig::default(),
        }
    }
}

impl PoolsConfig {
    /// Permits of the CPU, the machine's cores filled in.
    pub fn permits(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.cpu_permits == 0 { cores() } else { self.cpu_permits }
    }

    pub(super) fn max_instances(&self, pool: &str) -> usize {
        match pool {
            "stt" => self.max_instances.stt,
            "llm" => self.max_instances.llm,
            _ => self.max_instances.tts,
        }
    }
}
