//! `SnapshotWriter`: what of a session the store has, and what it is to be given next.
//!
//! It runs on the session's task, so it gives references where it can and writes JSON only of what changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::parts::{self, Head};
use crate::session::conversation::{Conversation, KeptItem};
use crate::session::id::{ItemId, SessionId};
use crate::session::response::AnswerProgress;
use crate::session::settings::SessionSettings;
use crate::store::{Begin, Change, Keep, Part, SnapshotStore};
use crate::telemetry::metrics as names;

/// How often an answer that is being given is written: soon after it began, so that little of a short one is lost,
/// then twice as late each time, up to the second.
const ANSWER_SOON: Duration = Duration::from_millis(100);
const ANSWER_EVERY: Duration = Duration::from_secs(1);
/// How long to leave a store alone that did not take a change.
const NOT_TAKEN_PAUSE: Duration = Duration::from_secs(5);

/// Raised when the session belongs to another task: what this one still writes is dropped.
#[derive(Clone, Debug, Default)]
pub(in crate::session) struct Fence(Arc<AtomicBool>);

impl Fence {
    pub(in crate::session) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How far an answer was when it was written, and when it is written next.
#[derive(Clone, Copy, Debug)]
struct WrittenAnswer {
    heard_ms: u64,
    text_bytes: usize,
    next: Instant,
    wait: Duration,
}

/// Writes the snapshot of one session.
#[derive(Debug)]
pub(in crate::session) struct SnapshotWriter {
    store: Arc<dyn SnapshotStore>,
    session: SessionId,
    begin: Begin,
    fence: Fence,
    /// When the snapshot is to be begun (anew).
    begin_at: Option<Instant>,
    head: Option<Head>,
    /// Whether the store is to be told that the session runs.
    opens: bool,
    settings_changed: bool,
    /// The answer that is being given, as it was written last.
    answer: Option<WrittenAnswer>,
    /// Turns whose audio is kept.
    turns: BTreeSet<ItemId>,
}

impl SnapshotWriter {
    /// A writer of a session that is not kept yet.
    pub(in crate::session) fn new(
        store: Arc<dyn SnapshotStore>,
        session: SessionId,
        begin: Begin,
        now: Instant,
    ) -> Self {
        Self {
            store,
            session,
            begin,
            fence: Fence::default(),
            begin_at: Some(now),
            head: None,
            opens: true,
            settings_changed: true,
            answer: None,
            turns: BTreeSet::new(),
        }
    }

    /// A writer of a session that was read from the store; `turns` are those whose audio it has.
    pub(in crate::session) fn resumed(mut self, head: Head, turns: BTreeSet<ItemId>) -> Self {
        (self.begin_at, self.head, self.settings_changed, self.turns) = (None, Some(head), false, turns);
        self
    }

    pub(in crate::session) fn fence(&self) -> Fence {
        self.fence.clone()
    }

    pub(in crate::session) fn settings_changed(&mut self) {
        self.settings_changed = true;
    }

    /// The client has the token that it was given.
    pub(in crate::session) fn confirm(&mut self) {
        self.save(Change { confirmed: true, ..Change::default() }, Instant::now());
    }

    /// Puts the items that changed into `change`, or all where the snapshot is begun.
    pub(in crate::session) fn items(
        &mut self,
        change: &mut Change,
        conversation: &mut Conversation,
        now: Instant,
    ) {
        let changed = conversation.take_changes();
        if self.begin_at.is_some_and(|at| at <= now) {
            change.begin = Some(self.begin.clone());
            (self.head, self.settings_changed, self.answer, self.opens) = (None, true, None, true);
            self.turns.clear();
            change.parts.extend(conversation.all_kept().map(|kept| item(&kept.item.id, Some(&kept))));
        } else {
            change.parts.extend(changed.iter().map(|(id, kept)| item(id, kept.as_ref())));
        }
    }

    /// Puts head and settings into `change`, where they changed.
    pub(in crate::session) fn head(&mut self, change: &mut Change, head: Head, settings: &SessionSettings) {
        if std::mem::take(&mut self.opens) {
            change.keep = Some(Keep::Open { until_ms: head.expires_at.saturating_mul(1_000) });
        }
        if self.head.as_ref().is_none_or(|written| head.differs(written)) {
            change.parts.insert(parts::HEAD.to_owned(), json(&head));
            self.head = Some(head);
        }
        if std::mem::take(&mut self.settings_changed) {
            change.parts.insert(parts::SETTINGS.to_owned(), json(settings));
        }
    }

    /// The same at the end: with the audio clock as it is.
    pub(in crate::session) fn last_head(
        &mut self,
        change: &mut Change,
        head: Head,
        settings: &SessionSettings,
    ) {
        self.head = None;
        self.head(change, head, settings);
    }

    /// Puts the audio of turns that are not transcribed into `change`, and takes away that of turns that are.
    pub(in crate::session) fn turns<'a>(
        &mut self,
        change: &mut Change,
        waiting: impl Iterator<Item = (&'a ItemId, &'a Arc<[f32]>)>,
    ) {
        let mut over = std::mem::take(&mut self.turns);
        for (id, audio) in waiting {
            if !over.remove(id) {
                change.parts.insert(parts::turn_part(id), Some(Part::Samples(Arc::clone(audio))));
            }
            self.turns.insert(id.clone());
        }
        change.parts.extend(over.iter().map(|id| (parts::turn_part(id), None)));
    }

    /// Puts the answer that is being given into `change`, at least once a second; `at_once` at the end.
    pub(in crate::session) fn answer(
        &mut self,
        change: &mut Change,
        now: Instant,
        at_once: bool,
        progress: impl FnOnce() -> Option<AnswerProgress>,
    ) {
        if self.answer.is_some_and(|written| now < written.next) && !at_once {
            return;
        }
        let Some(progress) = progress() else { return };
        let (heard_ms, text_bytes) = (progress.heard_ms, progress.text.len());
        let is_news =
            |written: WrittenAnswer| (written.heard_ms, written.text_bytes) != (heard_ms, text_bytes);
        if self.answer.is_none_or(is_news) {
            change.parts.insert(parts::ANSWER.to_owned(), json(&progress));
            let wait = self.answer.map_or(ANSWER_SOON, |written| (written.wait * 2).min(ANSWER_EVERY));
            self.answer = Some(WrittenAnswer { heard_ms, text_bytes, next: now + wait, wait });
        }
    }

    /// No answer is being given: takes the last one away.
    pub(in crate::session) fn no_answer(&mut self, change: &mut Change) {
        if self.answer.take().is_some() {
            change.parts.insert(parts::ANSWER.to_owned(), None);
        }
    }

    /// Hands the change to the store. One that is not taken makes the snapshot worthless: it is begun anew later.
    pub(in crate::session) fn save(&mut self, change: Change, now: Instant) {
        let waits = self.begin_at.is_some() && change.begin.is_none();
        if change.is_empty() || waits || self.fence.is_raised() {
            return;
        }
        metrics::counter!(names::SNAPSHOT_BYTES_TOTAL).increment(change.bytes() as u64);
        self.begin_at = match self.store.save(self.session.as_str(), change) {
            Ok(()) => None,
            Err(_) => {
                self.store.delete(self.session.as_str()); // what it has is of no use
                Some(now + NOT_TAKEN_PAUSE)
            }
        };
    }
}

fn item(id: &ItemId, kept: Option<&KeptItem>) -> (String, Option<Part>) {
    (parts::item_part(id), kept.and_then(json))
}

/// Types of this crate with text keys: this does not fail.
fn json(value: &impl Serialize) -> Option<Part> {
    serde_json::to_vec(value).ok().map(Part::Bytes)
}
