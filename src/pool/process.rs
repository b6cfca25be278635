//! Instances that run in processes of their own. A process that has ended does not come back: its instance is built
//! anew at once, before anybody has to fail for it, and whoever has no other instance waits for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::instance::Instance;
use super::pool::Shared;
use super::schedule::{MemberId, Standing};
use crate::engine::EngineProcess;

impl<E: ?Sized> Instance<E> {
    /// How it says which process it runs in.
    #[must_use]
    pub fn in_process(mut self, process: fn(&E) -> Option<EngineProcess>) -> Self {
        self.process = Some(process);
        self
    }

    /// The process that it runs in, where that is not this one.
    pub(super) fn process(&self) -> Option<EngineProcess> {
        self.process.and_then(|process| process(&self.engine))
    }
}

impl<E: ?Sized> Shared<E> {
    /// Takes instances out of service whose process has ended, and has the supervisor build them anew.
    pub(super) fn bury(&self, now: Instant) {
        let backoff = Duration::from_millis(self.config().breaker_backoff_ms);
        let mut dead = Vec::new();
        for (id, member) in self.lock().iter_mut() {
            let process = member.instance.process().filter(|process| !process.is_running);
            let Some(process) = process.filter(|_| member.breaker.is_closed() && !member.draining) else {
                continue;
            };
            // One that was built anew and died before it did anything will do so again: after a pause.
            let is_hopeless = member.instance.restarts > 0 && member.has_done_nothing();
            if is_hopeless {
                member.breaker.on_failure(1, backoff, now);
            } else {
                member.breaker.condemn(backoff, now);
            }
            dead.push((*id, Arc::clone(&member.instance.name), process.pid, is_hopeless));
        }
        for (id, name, pid, is_hopeless) in dead {
            self.mourn(id, is_hopeless);
            tracing::error!(
                pool = self.name, instance = %name, pid, again_soon = !is_hopeless,
                "the process of an engine has ended; it is built anew"
            );
        }
    }

    fn mourn(&self, id: MemberId, is_hopeless: bool) {
        self.scheduler.set_standing(id, if is_hopeless { Standing::Stopped } else { Standing::Awaited });
        self.troubled.notify_one();
    }
}
