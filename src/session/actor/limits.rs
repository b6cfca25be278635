//! What keeps a session within its limits: memory, ending with a reason, requests cancelled from outside.

use tokio::time::Instant;

use super::SessionActor;
use crate::session::command::Action;
use crate::session::error::{EndError, SessionError};
use crate::session::event::{CloseReason, ResponseStatus, SessionEvent};
use crate::session::id::RequestId;
use crate::session::quota::{MEMORY_GRACE, MemoryUse, QuotaError, Verdict, refused};
use crate::session::{callbacks, size};

impl SessionActor {
    /// Says that the session lives, and sees to its memory. Due after whatever happened.
    pub(super) fn look_after(&mut self) {
        let now = Instant::now();
        let limit = self.limits().session.max_memory_bytes;
        self.trim_to(limit);
        let memory = self.memory_use();
        let gauge = &self.shares.gauge;
        gauge.beat(now);
        gauge.set_memory(memory);
        if self.memory_guard.judge(memory.total(), limit, now) == Verdict::End {
            self.ending.get_or_insert(CloseReason::OutOfMemory);
        }
    }

    /// Refuses what would put the session over its memory limit, after trimming what nothing needs.
    pub(super) fn make_room(&mut self, action: &Action) -> Result<(), SessionError> {
        let incoming = size::incoming(action, self.settings.input_format) as u64;
        if incoming == 0 {
            return Ok(());
        }
        let limit = self.limits().session.max_memory_bytes;
        self.trim_to(limit.saturating_sub(incoming));
        let used = self.memory_use().total();
        if used.saturating_add(incoming) <= limit {
            return Ok(());
        }
        let retry_after_s = MEMORY_GRACE.as_secs();
        Err(refused(QuotaError::Memory { limit, used, incoming, retry_after_s }).into())
    }

    /// Gives up a request of this session, wherever it is.
    pub(super) fn cancel_request(&mut self, id: &RequestId) {
        let is = |request: &crate::session::lifecycle::RequestTracker| request.id() == id;
        let running = self.responses.iter().find(|running| is(&running.request));
        if let Some(id) = running.map(|running| running.response.id.clone()) {
            self.end_response(&id, ResponseStatus::Cancelled);
            self.answer_what_waited();
        } else if self.attempt.as_ref().is_some_and(|attempt| is(&attempt.work.request)) {
            self.attempt = None; // the turn's end asks again
        } else if let Some(key) =
            self.committed.iter().find(|(_, turn)| is(&turn.work.request)).map(|(key, _)| *key)
        {
            if let Some(turn) = self.committed.remove(&key) {
                self.components.callbacks.on_failed(&turn.item, SessionError::RequestCancelled);
            }
            self.continue_waiting_responses();
        } else if self.cancel_translation(id) {
            tracing::debug!(session = %self.id, "a translation was given up");
        } else if let Some(attempt) = &mut self.attempt {
            attempt.reply.take_if(|begun| is(&begun.request));
        }
    }

    /// Why the session ends, as its client is told before the close frame; `None` where that says it all.
    pub(super) fn end_error(&self, reason: CloseReason) -> Option<SessionEvent> {
        let limits = self.limits();
        let error = match reason {
            CloseReason::ClientGone | CloseReason::Shutdown | CloseReason::TakenOver => return None,
            CloseReason::Idle => EndError::Idle { limit_s: limits.session.idle_s },
            CloseReason::Expired => EndError::Expired { limit_s: self.config.limits.max_session_s },
            CloseReason::SlowClient => EndError::SlowClient { waiting: callbacks::EVENTS_CAPACITY },
            CloseReason::OutOfMemory => EndError::OutOfMemory {
                limit: limits.session.max_memory_bytes,
                used: self.memory_use().total(),
            },
            CloseReason::Silent => EndError::Silent,
            CloseReason::Unhealthy => EndError::Unhealthy { limit_s: self.shares.stuck_s },
        };
        Some(SessionEvent::Error { error: error.into(), client_event_id: None })
    }

    pub(super) fn memory_use(&self) -> MemoryUse {
        let attempt = self.attempt.as_ref().map_or(0, |attempt| attempt.work.bytes);
        let committed = self.committed.values().map(|turn| turn.work.bytes).sum::<usize>();
        let partial = self.hearing.bytes();
        let running = self.responses.iter().map(|running| running.response.audio_bytes()).sum::<usize>();
        let spoken = self.last_spoken.as_ref().map_or(0, |spoken| spoken.sent.bytes());
        let sent = running + spoken + self.parked.as_ref().map_or(0, |parked| parked.sent.bytes());
        let gauge = &self.shares.gauge;
        MemoryUse {
            audio: (self.components.input.bytes() + attempt + committed + partial + sent) as u64,
            history: self.conversation.bytes() as u64,
            settings: (self.settings_bytes + self.interpreting.bytes()) as u64,
            queues: gauge.commands().bytes() + gauge.events().bytes(),
        }
    }

    /// Lets go of audio that nothing needs, then of the oldest items, until `target` bytes are left or nothing
    /// more can go. Items that wait for their transcript or are being spoken stay.
    fn trim_to(&mut self, target: u64) {
        if self.memory_use().total() <= target {
            return;
        }
        if self.settings.turn_detection.is_some() {
            self.forget_silence();
        }
        let excess = self.memory_use().total().saturating_sub(target);
        let (committed, open, spoken) = (&self.committed, self.responses.open_item(), &self.last_spoken);
        self.conversation.trim(usize::try_from(excess).unwrap_or(usize::MAX), |id| {
            committed.values().any(|turn| turn.item == *id)
                || open == Some(id)
                || spoken.as_ref().is_some_and(|spoken| spoken.item == *id)
        });
    }
}
