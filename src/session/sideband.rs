//! Sidebands: further sockets of a session's owner that see all its events and may ask what its client may.
//!
//! A sideband is a tap on the session's outbox with a queue of its own. It never holds the session up: one whose
//! queue is full is let go alone. It does not keep the session open either. Knows no sockets; read [`Taps`] first.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::command::{Action, SessionCommand};
use super::event::SessionEvent;
use super::metered::{self, NotSent};
use crate::telemetry::metrics as names;

/// Sidebands of a session at once: a backend, a recorder, a supervisor, and a few to spare.
pub const SIDEBANDS_MAX: usize = 8;
/// Events that wait for the writer of a sideband's socket: as many as for that of the session's own.
pub const SIDEBAND_CAPACITY: usize = 256;

/// Names a sideband within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SidebandId(u64);

/// The sidebands of one session.
#[derive(Clone, Debug, Default)]
pub struct Taps {
    taps: Arc<Mutex<Vec<Tap>>>,
    next: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Tap {
    id: SidebandId,
    events: metered::Sender<SessionEvent>,
    /// Whether it was told that it is attached: from then on it sees all events.
    attached: bool,
    slow: Arc<AtomicBool>,
}

/// A sideband, for the two halves of its socket. It is detached when this is dropped.
#[derive(Debug)]
pub struct Sideband {
    id: SidebandId,
    taps: Taps,
    commands: metered::WeakSender<SessionCommand>,
    slow: Arc<AtomicBool>,
    /// What its writer sends on. It ends with [`SessionEvent::Closing`] when the session does.
    pub events: metered::Receiver<SessionEvent>,
}

/// Where a sideband's reader sends.
#[derive(Clone, Debug)]
pub struct SidebandCommands {
    id: SidebandId,
    commands: metered::WeakSender<SessionCommand>,
}

/// The session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnded;

impl Taps {
    /// A new sideband, if there is room; it sees nothing until it is attached.
    pub(super) fn add(&self, commands: metered::WeakSender<SessionCommand>) -> Option<Sideband> {
        let mut taps = self.lock();
        if taps.len() >= SIDEBANDS_MAX {
            return None;
        }
        let id = SidebandId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, events) = metered::channel(SIDEBAND_CAPACITY);
        let slow = Arc::new(AtomicBool::new(false));
        taps.push(Tap { id, events: sender, attached: false, slow: Arc::clone(&slow) });
        metrics::gauge!(names::SIDEBANDS_ACTIVE).increment(1.0);
        Some(Sideband { id, taps: self.clone(), commands, slow, events })
    }

    /// Tells a sideband `first`, and from now on all events.
    pub(super) fn attach(&self, id: SidebandId, first: SessionEvent) {
        let mut taps = self.lock();
        if let Some(tap) = taps.iter_mut().find(|tap| tap.id == id) {
            tap.attached = true;
            tap.events.try_send(first).ok(); // its queue is empty
        }
    }

    /// Tells every sideband an event.
    pub(super) fn tell(&self, event: &SessionEvent) {
        let mut taps = self.lock();
        if !taps.is_empty() {
            taps.retain(|tap| !tap.attached || tap.takes(event.clone()));
        }
    }

    /// Tells one sideband an event.
    pub(super) fn tell_one(&self, id: SidebandId, event: SessionEvent) {
        let mut event = Some(event);
        self.lock().retain(|tap| tap.id != id || event.take().is_none_or(|event| tap.takes(event)));
    }

    fn remove(&self, id: SidebandId) {
        self.lock().retain(|tap| tap.id != id);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Tap>> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap {
    /// Whether it keeps up.
    fn takes(&self, event: SessionEvent) -> bool {
        match self.events.try_send(event) {
            Ok(()) => true,
            Err(NotSent::Closed) => false,
            Err(NotSent::Full) => {
                self.slow.store(true, Ordering::Release);
                false
            }
        }
    }
}

impl Sideband {
    /// Where its reader sends.
    pub fn commands(&self) -> SidebandCommands {
        SidebandCommands { id: self.id, commands: self.commands.clone() }
    }

    /// Whether it was let go because it did not keep up.
    pub fn was_slow(&self) -> bool {
        self.slow.load(Ordering::Acquire)
    }
}

impl SidebandCommands {
    /// Asks to be told the session and its events from now on.
    pub(super) async fn attach(&self) -> Result<(), SessionEnded> {
        self.send(SessionCommand { client_event_id: None, action: Action::Attach(self.id) }).await
    }

    /// Asks what a client may ask; an error comes to this sideband.
    pub async fn ask(&self, command: SessionCommand) -> Result<(), SessionEnded> {
        let SessionCommand { client_event_id, action } = command;
        let action = Action::OfSideband(self.id, Box::new(action));
        self.send(SessionCommand { client_event_id, action }).await
    }

    async fn send(&self, command: SessionCommand) -> Result<(), SessionEnded> {
        // Held for the send alone: the session ends when its own client goes.
        let commands = self.commands.upgrade().ok_or(SessionEnded)?;
        commands.send(command).await.map_err(|_| SessionEnded)
    }
}

impl Drop for Sideband {
    fn drop(&mut self) {
        self.taps.remove(self.id);
        metrics::gauge!(names::SIDEBANDS_ACTIVE).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> SessionEvent {
        SessionEvent::ItemDeleted(format!("item{number}").into())
    }

    #[tokio::test]
    async fn a_sideband_sees_events_from_its_attachment_on_and_a_slow_one_goes_alone() {
        let (commands, _inbox) = metered::channel(1);
        let taps = Taps::default();
        let mut keeps_up = taps.add(commands.downgrade()).expect("there is room");
        let mut slow = taps.add(commands.downgrade()).expect("there is room");
        taps.tell(&event(0));
        for id in [keeps_up.id, slow.id] {
            taps.attach(id, event(1));
        }
        for number in 2..=SIDEBAND_CAPACITY as u64 + 10 {
            taps.tell(&event(number));
            if number > 2 {
                assert_eq!(keeps_up.events.recv().await, Some(event(number - 2)));
            }
        }
        assert!(slow.was_slow() && !keeps_up.was_slow());
        for number in 1..=SIDEBAND_CAPACITY as u64 {
            assert_eq!(slow.events.recv().await, Some(event(number)), "what it was sent, it may read");
        }
        assert_eq!(slow.events.recv().await, None);
    }

    #[tokio::test]
    async fn there_is_room_for_a_few_and_places_come_free() {
        let (commands, _inbox) = metered::channel(1);
        let taps = Taps::default();
        let mut sidebands: Vec<_> =
            (0..SIDEBANDS_MAX).filter_map(|_| taps.add(commands.downgrade())).collect();
        assert!(sidebands.len() == SIDEBANDS_MAX && taps.add(commands.downgrade()).is_none());
        drop(sidebands.pop());
        let sideband = taps.add(commands.downgrade()).expect("one left");
        drop(commands);
        let command = SessionCommand { client_event_id: None, action: Action::CommitAudio };
        assert_eq!(
            sideband.commands().ask(command).await,
            Err(SessionEnded),
            "it does not keep the session open"
        );
    }
}
