//! Hands the events of a reply to the session without making an engine wait for the pace of playback.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::reply::ReplyEvent;

/// The session has let go of the reply.
#[derive(Debug)]
pub(super) struct Abandoned;

/// Sends at once what there is room for and keeps the rest, in order. While an engine's slot is held,
/// [`offer`](Self::offer) never waits; [`flush`](Self::flush) does, when the slot has been given back. What is
/// kept is bounded by one clause of speech.
#[derive(Debug)]
pub(super) struct Outbound {
    sender: mpsc::Sender<ReplyEvent>,
    kept: VecDeque<ReplyEvent>,
}

impl Outbound {
    pub(super) fn new(sender: mpsc::Sender<ReplyEvent>) -> Self {
        Self { sender, kept: VecDeque::new() }
    }

    pub(super) fn offer(&mut self, event: ReplyEvent) -> Result<(), Abandoned> {
        self.kept.push_back(event);
        while let Some(next) = self.kept.pop_front() {
            match self.sender.try_send(next) {
                Ok(()) => {}
                Err(TrySendError::Full(next)) => {
                    self.kept.push_front(next);
                    return Ok(());
                }
                Err(TrySendError::Closed(_)) => return Err(Abandoned),
            }
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), Abandoned> {
        while let Some(next) = self.kept.pop_front() {
            self.sender.send(next).await.map_err(|_| Abandoned)?;
        }
        Ok(())
    }

    pub(super) async fn send(&mut self, event: ReplyEvent) -> Result<(), Abandoned> {
        self.kept.push_back(event);
        self.flush().await
    }
}
