//! `idle_timeout_ms`: nobody spoke for a while after an answer, so the assistant speaks up. Only where the client set
//! it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::SessionActor;
use crate::session::event::{SessionEvent, TurnTimings};
use crate::session::id::ItemId;
use crate::session::settings::{ResponseRequest, TurnMode};
use crate::session::turn::SAMPLES_PER_MS;
use crate::telemetry::clock::whole_ms;

/// What the model is told, for the history alone ends with its own words.
const NUDGE: &str =
    "The person has said nothing for a while. Say something short to go on with the conversation.";

/// Waits for `at`, or for ever.
pub(super) async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl SessionActor {
    /// When the silence behind the last answer becomes too long; `None` while anything is said or made.
    pub(super) fn idle_timeout_at(&self) -> Option<Instant> {
        let timeout = self.idle_timeout()?;
        let quiet = self.turn.open_turn().is_none() && self.committed.is_empty() && self.parked.is_none();
        let waits = quiet && self.responses.in_conversation().is_none();
        Some(self.silent_since.filter(|_| waits)? + timeout)
    }

    fn idle_timeout(&self) -> Option<Duration> {
        match self.settings.turn_detection.as_ref()?.mode {
            TurnMode::Server { idle_timeout_ms, .. } => Some(Duration::from_millis(idle_timeout_ms?.into())),
            TurnMode::Semantic { .. } => None,
        }
    }

    /// An answer is over: silence counts from the end of its playback.
    pub(super) fn begin_silence(&mut self) {
        let end = self.last_spoken.as_ref().and_then(|spoken| spoken.playback.ends_at());
        self.silent_since = Some(end.map_or_else(Instant::now, |end| end.max(Instant::now())));
    }

    /// Commits the silence as an item of the person and answers it.
    pub(super) fn speak_up(&mut self) {
        self.silent_since = None;
        let Some(timeout) = self.idle_timeout() else { return };
        let audio_end_ms = self.components.input.kept().to / SAMPLES_PER_MS;
        let silent_ms = whole_ms(timeout);
        let (item, audio_start_ms) = (ItemId::random(), audio_end_ms.saturating_sub(silent_ms));
        self.outbox.send(SessionEvent::IdleTimeout { item: item.clone(), audio_start_ms, audio_end_ms });
        self.commit_item(&item, Some(""));
        let instructions = [self.settings.instructions.as_str(), NUDGE].join("\n");
        let request = ResponseRequest { instructions: Some(instructions), ..ResponseRequest::default() };
        self.respond_to_turn(request, None, TurnTimings::default(), None);
    }
}
