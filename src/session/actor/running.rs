//! The responses that run: at most one in the conversation, and others out of band. Knows nothing of turns.

use std::time::Duration;

use futures::future::select_all;
use tokio::time::{Instant, sleep_until};

use crate::engine::EngineError;
use crate::session::id::{ItemId, ResponseId};
use crate::session::lifecycle::RequestTracker;
use crate::session::quota::RequestPermit;
use crate::session::response::ActiveResponse;
use crate::session::settings::{ResponseInput, ResponseRequest};
use crate::session::speech_pipeline::{ClauseWords, Reply, ReplyEvent};

/// A response that runs, and its source.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) response: ActiveResponse,
    /// `None` while transcripts that it needs are under way.
    pub(super) reply: Option<Reply>,
    pub(super) wanted: ResponseRequest,
    pub(super) request: RequestTracker,
    /// It counts as under way while this is held; a response that only tells a failure has none.
    pub(super) permit: Option<RequestPermit>,
    /// When the turn that it answers had ended, for the latency metric.
    pub(super) turn_ended: Option<(Instant, Duration)>,
    /// Nothing is sent for the moment: somebody may be interrupting.
    pub(super) held: bool,
}

impl Running {
    /// Whether what it answers may depend on transcripts that are under way.
    pub(super) fn needs_history(&self) -> bool {
        let of_history = |input: &ResponseInput| matches!(input, ResponseInput::Reference(_));
        self.wanted.input.as_ref().is_none_or(|input| input.iter().any(of_history))
    }

    /// What comes next: word times at once, the rest when playback has room for it. Safe to cancel.
    async fn next(&mut self, max_ahead: Duration) -> (ResponseId, Piece) {
        let Self { response, reply: Some(reply), .. } = self else {
            return std::future::pending().await;
        };
        let (room_at, held) = (response.playback().resume_at(max_ahead, Instant::now()), self.held);
        let events = &mut reply.events;
        let event = async {
            if held {
                std::future::pending::<()>().await;
            }
            if let Some(at) = room_at {
                sleep_until(at).await;
            }
            events.recv().await
        };
        let piece = tokio::select! {
            biased;
            Some(words) = reply.words.recv() => Piece::Words(words),
            event = event => Piece::Event(event.unwrap_or_else(broken_off)),
        };
        (response.id.clone(), piece)
    }
}

fn broken_off() -> ReplyEvent {
    let reason = "the task that made the answer ended".to_owned();
    ReplyEvent::Failed(EngineError::Unavailable { engine: "speech pipeline".to_owned(), reason }.into())
}

/// What comes from a reply.
#[derive(Debug)]
pub(super) enum Piece {
    Words(ClauseWords),
    Event(ReplyEvent),
}

/// All that run, oldest first. A session's quota bounds how many.
#[derive(Debug, Default)]
pub(super) struct Responses(Vec<Running>);

impl Responses {
    pub(super) fn add(&mut self, running: Running) {
        self.0.push(running);
    }

    pub(super) fn take(&mut self, id: &ResponseId) -> Option<Running> {
        let at = self.0.iter().position(|running| running.response.id == *id)?;
        Some(self.0.remove(at))
    }

    /// The one that writes to the conversation.
    pub(super) fn in_conversation(&self) -> Option<&Running> {
        self.0.iter().find(|running| running.response.settings.in_history)
    }

    /// Holds back what the answer of the conversation sends, or lets it go on.
    pub(super) fn hold(&mut self, held: bool) {
        for running in self.0.iter_mut().filter(|running| running.response.settings.in_history) {
            running.held = held;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Running> {
        self.0.iter()
    }

    pub(super) fn get_mut(&mut self, id: &ResponseId) -> Option<&mut Running> {
        self.0.iter_mut().find(|running| running.response.id == *id)
    }

    pub(super) fn contains(&self, id: &ResponseId) -> bool {
        self.0.iter().any(|running| running.response.id == *id)
    }

    pub(super) fn ids(&self) -> Vec<ResponseId> {
        self.0.iter().map(|running| running.response.id.clone()).collect()
    }

    /// The item of the conversation that is being written.
    pub(super) fn open_item(&self) -> Option<&ItemId> {
        self.in_conversation().and_then(|running| running.response.open_item())
    }

    /// The next piece of any of them. Safe to cancel.
    pub(super) async fn next(&mut self, max_ahead: Duration) -> (ResponseId, Piece) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let next = self.0.iter_mut().map(|running| Box::pin(running.next(max_ahead)));
        select_all(next).await.0
    }
}
