//! `Translator`: one session's way to the desk.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::desk::{Source, Terms, TranslationDesk};
use crate::pool::{CallObserver, HolderId, WorkClass};
use crate::runtime::Runtime;
use crate::session::error::SessionError;
use crate::session::lifecycle::{Outcome, RequestTracker};

/// Translations that wait for the session's task.
pub const TRANSLATIONS_CAPACITY: usize = 64;

/// Has texts translated for one session.
#[derive(Clone, Debug)]
pub struct Translator {
    desk: TranslationDesk,
    runtime: Runtime,
    holder: HolderId,
    events: mpsc::Sender<TranslationEvent>,
}

/// What to translate.
pub struct TranslationRequest {
    /// Its name in the session.
    pub number: u64,
    /// The text, and what to do with it.
    pub source: Source,
    /// Its place in line.
    pub class: WorkClass,
    /// Follows the call.
    pub observer: Box<dyn CallObserver>,
    /// Follows the request, if it is one of its own.
    pub tracker: Option<RequestTracker>,
    /// `session.translation.cache_bytes`.
    pub cache_bytes: usize,
}

impl std::fmt::Debug for TranslationRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TranslationRequest").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The outcome of one translation.
#[derive(Debug)]
pub struct TranslationEvent {
    /// Its name in the session.
    pub number: u64,
    /// The text, or why there is none.
    pub result: Result<Arc<str>, SessionError>,
}

/// A translation under way; dropping it gives it up.
#[derive(Debug)]
#[must_use = "dropping the job gives it up"]
pub struct TranslationJob {
    _guard: DropGuard,
}

impl Translator {
    /// A session's way to the desk, and where its translations arrive.
    pub fn new(
        desk: TranslationDesk,
        runtime: Runtime,
        holder: HolderId,
    ) -> (Self, mpsc::Receiver<TranslationEvent>) {
        let (events, receiver) = mpsc::channel(TRANSLATIONS_CAPACITY);
        (Self { desk, runtime, holder, events }, receiver)
    }

    /// Translates a text; the outcome arrives as a [`TranslationEvent`] with its number.
    pub fn translate(&self, request: TranslationRequest) -> TranslationJob {
        let TranslationRequest { number, source, class, observer, tracker, cache_bytes } = request;
        let (this, stop) = (self.clone(), CancellationToken::new());
        let guard = stop.clone().drop_guard();
        let terms = Terms { holder: self.holder, class, observer, cache_bytes };
        drop(self.runtime.spawn("translation wait", async move {
            let work = async {
                let result = this.desk.translate(source, terms).await;
                finish(tracker.as_ref(), &Outcome::of_result(&result));
                this.events.send(TranslationEvent { number, result }).await
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => finish(tracker.as_ref(), &Outcome::Cancelled),
                // The receiver is gone only when the session is.
                _sent = work => {}
            }
        }));
        TranslationJob { _guard: guard }
    }
}

fn finish(tracker: Option<&RequestTracker>, outcome: &Outcome) {
    if let Some(tracker) = tracker {
        tracker.finish(outcome);
    }
}
