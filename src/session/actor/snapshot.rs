//! Keeping the session, so that it can be resumed: beginning from a snapshot, writing it along the way, leaving
//! off at a cut.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::SessionActor;
use crate::session::event::{CloseReason, SessionEvent};
use crate::session::id::ItemId;
use crate::session::snapshot::{Head, Restored, ResumeView, ResumedView, SnapshotWriter};
use crate::session::turn::SAMPLES_PER_MS;
use crate::store::Change;
use crate::telemetry::clock::unix_now;
use crate::telemetry::metrics as names;

/// How long transcriptions may go on when the client is cut off. What is not done by then is kept as audio.
const FINISH_TRANSCRIPTS: Duration = Duration::from_secs(5);

/// How a session is kept to be resumed.
#[derive(Debug, Default)]
pub(in crate::session) struct Keeping {
    /// `None` where nothing keeps sessions.
    pub(in crate::session) writer: Option<SnapshotWriter>,
    /// What it goes on from.
    pub(in crate::session) restored: Option<Box<Restored>>,
    /// What its client is told first.
    pub(in crate::session) view: Option<Box<ResumeView>>,
    /// Raised when another socket resumes the session.
    pub(in crate::session) takeover: CancellationToken,
}

impl Keeping {
    pub(super) fn settings_changed(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.settings_changed();
        }
    }

    pub(super) fn confirm(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.confirm();
        }
    }
}

/// Committed turns without a transcript, and their audio.
type Untranscribed = Vec<(ItemId, Arc<[f32]>)>;

impl SessionActor {
    /// The session begins: from its snapshot, if there is one.
    pub(super) fn begin(&mut self) {
        let mut resume = self.shares.keeping.view.take();
        let restored = self.shares.keeping.restored.take();
        let untranscribed = restored.map(|restored| {
            let (resumed, untranscribed) = self.restore(*restored);
            if let Some(view) = &mut resume {
                view.resumed = Some(resumed);
            }
            untranscribed
        });
        if self.shares.keeping.writer.is_some() {
            self.conversation.watch_changes();
        }
        let mut view = self.view();
        view.resume = resume;
        self.outbox.send(SessionEvent::Created(Box::new(view)));
        for (item, audio) in untranscribed.into_iter().flatten() {
            self.transcribe_again(item, audio);
        }
        self.keep_snapshot();
    }

    fn restore(&mut self, restored: Restored) -> (ResumedView, Untranscribed) {
        let Restored { head, items, interrupted, untranscribed, .. } = restored;
        self.conversation_id = head.conversation;
        self.voice_locked = head.voice_locked;
        self.shares.gauge.set_turns(head.turns);
        self.expires_at = head.expires_at;
        self.expires = Instant::now() + remaining(head.expires_at);
        self.components.input.start_at(head.audio_clock);
        self.follow_turn_detection();
        self.conversation.restore(items);
        let resumed = ResumedView {
            last_item: self.conversation.last_id(),
            interrupted,
            awaits_response: self.conversation.awaits_response(),
            input_audio_ms: head.audio_clock / SAMPLES_PER_MS,
        };
        (resumed, untranscribed)
    }

    /// Hands the store what changed. Due after whatever happened; nearly always nothing did.
    pub(super) fn keep_snapshot(&mut self) {
        self.write_snapshot(false);
    }

    /// The answers are about to end with the connection: keeps how far the one of the conversation was heard.
    pub(super) fn keep_last_answer(&mut self) {
        self.write_snapshot(true);
    }

    fn write_snapshot(&mut self, last_answer: bool) {
        let Some(mut writer) = self.shares.keeping.writer.take() else { return };
        let (started, mut change) = (Instant::now(), Change::default());
        writer.items(&mut change, &mut self.conversation, started);
        writer.head(&mut change, self.head(), &self.settings);
        writer.turns(&mut change, self.committed.values().map(|turn| (&turn.item, &turn.work.audio)));
        match self.responses.in_conversation() {
            Some(running) => {
                writer.answer(&mut change, started, last_answer, || running.response.progress(started));
            }
            None => writer.no_answer(&mut change),
        }
        if !change.is_empty() {
            writer.save(change, started);
            metrics::histogram!(names::SNAPSHOT_SECONDS).record(started.elapsed().as_secs_f64());
        }
        self.shares.keeping.writer = Some(writer);
    }

    /// The connection has ended: lets transcriptions come to their end, and writes the last of the snapshot. No
    /// answer is begun any more. Another socket that resumes the session waits for nothing of this.
    pub(super) async fn leave_off(&mut self, reason: CloseReason) {
        if self.shares.keeping.writer.is_none() || !reason.leaves_it_open() {
            return;
        }
        (self.attempt, self.unanswered, self.parked, self.suspicion) = (None, None, None, None);
        for turn in self.committed.values_mut() {
            turn.respond = false;
        }
        if matches!(reason, CloseReason::ClientGone | CloseReason::Silent | CloseReason::SlowClient) {
            self.finish_transcripts().await;
        }
        let Some(mut writer) = self.shares.keeping.writer.take() else { return };
        let (now, mut change) = (Instant::now(), Change::default());
        writer.items(&mut change, &mut self.conversation, now);
        writer.last_head(&mut change, self.head(), &self.settings);
        writer.turns(&mut change, self.committed.values().map(|turn| (&turn.item, &turn.work.audio)));
        writer.save(change, now);
    }

    async fn finish_transcripts(&mut self) {
        let (until, takeover) = (Instant::now() + FINISH_TRANSCRIPTS, self.shares.keeping.takeover.clone());
        while !self.committed.is_empty() {
            tokio::select! {
                biased;
                () = takeover.cancelled() => return,
                Some(event) = self.components.transcripts.recv() => self.on_transcript(event),
                () = sleep_until(until) => return,
            }
        }
    }

    fn head(&self) -> Head {
        let mut head = Head::new(self.conversation_id.clone(), self.expires_at);
        head.voice_locked = self.voice_locked;
        head.turns = self.shares.gauge.turns();
        head.audio_clock = self.components.input.kept().to;
        head
    }
}

/// Until this time in seconds since 1970.
fn remaining(expires_at: u64) -> Duration {
    Duration::from_secs(expires_at).saturating_sub(unix_now())
}
