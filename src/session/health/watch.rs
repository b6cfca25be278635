//! Looks at all sessions now and then and ends the unhealthy ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::gauge::SessionGauge;
use crate::session::command::{Action, SessionCommand};
use crate::session::config::HealthConfig;
use crate::session::event::CloseReason;
use crate::session::router::{SessionRouter, Watched};
use crate::telemetry::metrics as names;

/// What is wrong with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illness {
    /// Its task does nothing.
    Stuck,
    /// It stays over its memory limit although it should have ended itself.
    Leaking,
    /// Its socket shows no life.
    Silent,
}

impl Illness {
    /// Value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Leaking => "leaking",
            Self::Silent => "silent",
        }
    }

    fn close_reason(self) -> CloseReason {
        match self {
            Self::Stuck => CloseReason::Unhealthy,
            Self::Leaking => CloseReason::OutOfMemory,
            Self::Silent => CloseReason::Silent,
        }
    }
}

/// What is seen of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// How long its task has done nothing.
    pub stillness: Duration,
    /// How long its client has shown no life.
    pub silence: Duration,
    /// Looks in a row that found it over its memory limit.
    pub looks_over: u32,
}

/// Whether a session with these signs is to be ended, and why. Pure.
pub fn judge(signs: &Signs, config: &HealthConfig) -> Option<Illness> {
    let longer = |time: Duration, seconds: u64| time > Duration::from_secs(seconds);
    if longer(signs.stillness, config.stuck_s) {
        Some(Illness::Stuck)
    } else if signs.looks_over > 2 {
        Some(Illness::Leaking)
    } else if longer(signs.silence, config.max_silence_s) {
        Some(Illness::Silent)
    } else {
        None
    }
}

/// The background look at all sessions.
#[derive(Clone, Debug)]
pub struct SessionHealth {
    router: SessionRouter,
    ended: Arc<AtomicU64>,
}

impl SessionHealth {
    /// Looks at the sessions of `router`, by its limits.
    pub fn new(router: SessionRouter) -> Self {
        Self { router, ended: Arc::default() }
    }

    /// How many sessions it has ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Looks every `session.health.interval_s` until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            let interval = Duration::from_secs(self.router.health_config().interval_s);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(interval) => self.look(),
            }
        }
    }

    /// Looks once: ends who is unhealthy, and says what all of them hold.
    pub fn look(&self) {
        let config = self.router.health_config();
        let limit = self.router.quotas().limits().session.max_memory_bytes;
        let (mut total, mut most) = (0, 0);
        for session in self.router.watched() {
            let bytes = session.gauge.memory().total();
            (total, most) = (total + bytes, most.max(bytes));
            let signs = signs(&session.gauge, bytes > limit);
            if let Some(illness) = judge(&signs, &config) {
                self.end(&session, illness);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "bytes of one machine are less than 2^52")]
        for (of, bytes) in [("all", total), ("largest", most)] {
            metrics::gauge!(names::SESSION_MEMORY_BYTES, "of" => of).set(bytes as f64);
        }
    }

    /// A session that still runs is told to end, so that its client hears why; one that does not is taken down.
    fn end(&self, session: &Watched, illness: Illness) {
        let told = session.gauge.told_to_end.swap(true, Ordering::Relaxed);
        if !told {
            self.ended.fetch_add(1, Ordering::Relaxed);
            metrics::counter!(names::UNHEALTHY_TOTAL, "reason" => illness.as_str()).increment(1);
            tracing::warn!(session = %session.id, reason = illness.as_str(), "an unhealthy session is ended");
        }
        let command = SessionCommand { client_event_id: None, action: Action::End(illness.close_reason()) };
        let asked = illness != Illness::Stuck
            && !told
            && session.commands.upgrade().is_some_and(|commands| commands.try_send(command).is_ok());
        if !asked {
            self.router.evict(&session.id, illness.close_reason());
        }
    }
}

fn signs(gauge: &SessionGauge, over: bool) -> Signs {
    let now = Instant::now();
    let looks_over = if over { gauge.looks_over.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
    gauge.looks_over.store(looks_over, Ordering::Relaxed);
    Signs { stillness: gauge.stillness(now), silence: gauge.silence(now), looks_over }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sign_has_its_limit_and_the_gravest_counts() {
        let config = HealthConfig { interval_s: 5, stuck_s: 30, max_silence_s: 120 };
        let seconds = Duration::from_secs;
        for (stillness, silence, looks_over, expected) in [
            (0, 0, 0, None),
            (30, 120, 2, None),
            (31, 0, 0, Some(Illness::Stuck)),
            (0, 121, 0, Some(Illness::Silent)),
            (0, 0, 3, Some(Illness::Leaking)),
            (0, 200, 3, Some(Illness::Leaking)),
            (40, 200, 3, Some(Illness::Stuck)),
        ] {
            let signs = Signs { stillness: seconds(stillness), silence: seconds(silence), looks_over };
            assert_eq!(judge(&signs, &config), expected, "{signs:?}");
        }
    }
}
