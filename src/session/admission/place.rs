//! What one who came holds: a permit, a place in line, or a refusal. Each is given back when dropped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::gate::Shared;
use super::line::Ticket;
use super::meter::FirstAudioMeter;

/// A place for one session. It lives in the session's task; when that ends, by a panic too, the next in line is
/// let in.
#[derive(Debug)]
#[must_use = "the place is given back as soon as the permit is dropped"]
pub struct Permit(Arc<Shared>);

impl Permit {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Where the session records how fast it is answered.
    pub fn first_audio(&self) -> FirstAudioMeter {
        self.0.first_audio.clone()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.free();
    }
}

/// One who is being told to come back; counted among the sockets until dropped.
#[derive(Debug)]
#[must_use = "it stops counting as soon as it is dropped"]
pub struct Refusal {
    shared: Arc<Shared>,
    retry_after: Duration,
}

impl Refusal {
    pub(super) fn new(shared: Arc<Shared>, retry_after: Duration) -> Self {
        Self { shared, retry_after }
    }

    /// When to come back, in whole seconds.
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        self.shared.refused();
    }
}

/// What became of one who waited.
#[derive(Debug)]
pub enum Outcome {
    /// It may begin.
    Admitted(Permit),
    /// It waited too long.
    Expired(Refusal),
}

/// A place in line, as the one who waits is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// 1 for the next.
    pub place: usize,
    /// How long it will take, where that can be told.
    pub estimated_wait: Option<Duration>,
}

/// One who waits; leaves the line when dropped.
#[derive(Debug)]
#[must_use = "the place in line is given up as soon as it is dropped"]
pub struct Waiting {
    shared: Arc<Shared>,
    ticket: Ticket,
    granted: oneshot::Receiver<Outcome>,
    moved: watch::Receiver<()>,
    told: Option<usize>,
}

/// What happens to one who waits.
#[derive(Debug)]
pub enum WaitStep {
    /// It is at another place in line than it was told, or at its first.
    Moved(Position),
    /// It waits no longer.
    Over(Outcome),
}

impl Waiting {
    pub(super) fn new(
        shared: Arc<Shared>,
        ticket: Ticket,
        granted: oneshot::Receiver<Outcome>,
        moved: watch::Receiver<()>,
    ) -> Self {
        Self { shared, ticket, granted, moved, told: None }
    }

    /// What happens next: its place in line only where `positions` are wanted. Safe to cancel. After
    /// [`WaitStep::Over`] nothing does.
    pub async fn next(&mut self, positions: bool) -> WaitStep {
        loop {
            if let Ok(outcome) = self.granted.try_recv() {
                return WaitStep::Over(outcome);
            }
            if positions && let Some(position) = self.news() {
                return WaitStep::Moved(position);
            }
            tokio::select! {
                biased;
                outcome = &mut self.granted => match outcome {
                    Ok(outcome) => return WaitStep::Over(outcome),
                    // Taken before: `next` was called once too often.
                    Err(_) => std::future::pending().await,
                },
                _ = self.moved.changed(), if positions => {}
            }
        }
    }

    /// The position, if it is another than last time.
    fn news(&mut self) -> Option<Position> {
        let (place, estimated_wait) = self.shared.position(self.ticket)?;
        (self.told.replace(place) != Some(place)).then_some(Position { place, estimated_wait })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.leave(self.ticket);
    }
}
