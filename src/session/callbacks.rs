//! `TranscriptionCallbacks`: tells one client what was heard of its speech. And [`Outbox`], by which all parts of
//! a session tell their client anything.

use super::error::SessionError;
use super::event::{SessionEvent, TranscribedAudio};
use super::id::ItemId;
use super::metered::{self, NotSent, QueueMeter};
use super::partials::Settled;
use super::sideband::Taps;
use super::turn::SAMPLES_PER_MS;

/// Events that wait for the writer of a session's socket. Audio is paced at 1.5 s ahead in chunks of 100 ms, so
/// 256 is reached only by a client that has stopped reading.
pub const EVENTS_CAPACITY: usize = 256;
/// Room that there must be before the next command is taken: far more than the events that one causes. A client that
/// sends faster than it reads is held up by this, not ended.
const ROOM_FOR_A_COMMAND: usize = 64;

/// Where a session's events leave. It never waits: a client that does not read is found by
/// [`Outbox::overflowed`], and its session is ended.
#[derive(Clone, Debug)]
pub struct Outbox {
    sender: metered::Sender<SessionEvent>,
    overflowed: std::sync::Arc<std::sync::atomic::AtomicBool>,
    taps: Taps,
}

impl Outbox {
    /// An outbox, and where its events arrive.
    pub fn new() -> (Self, metered::Receiver<SessionEvent>) {
        let (sender, receiver) = metered::channel(EVENTS_CAPACITY);
        (Self { sender, overflowed: std::sync::Arc::default(), taps: Taps::default() }, receiver)
    }

    /// Sends an event, to the sidebands too, or notes that the client does not keep up.
    pub fn send(&self, event: SessionEvent) {
        self.taps.tell(&event);
        self.send_to_client(event);
    }

    /// Sends an event to the client alone.
    pub fn send_to_client(&self, event: SessionEvent) {
        if let Err(NotSent::Full) = self.sender.try_send(event) {
            self.overflowed.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Sends the last event, waiting for room; a writer that is gone needs none.
    pub async fn send_last(&self, event: SessionEvent) {
        self.taps.tell(&event);
        if self.sender.send(event).await.is_err() {
            tracing::debug!("the client's writer ended first");
        }
    }

    /// Whether there is room for what a command may cause.
    pub fn has_room(&self) -> bool {
        self.sender.has_room(ROOM_FOR_A_COMMAND)
    }

    /// Waits until there is. Safe to cancel.
    pub async fn room(&self) {
        self.sender.room(ROOM_FOR_A_COMMAND).await;
    }

    /// Whether an event was lost because the client does not read.
    pub fn overflowed(&self) -> bool {
        self.overflowed.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The session's sidebands.
    pub fn taps(&self) -> &Taps {
        &self.taps
    }

    /// What waits to be sent.
    pub fn meter(&self) -> &QueueMeter {
        self.sender.meter()
    }

    /// Whether the writer is gone.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// Tells one client about its speech. Made for one session and owned by it: there is nothing that another
/// connection could put in its place.
#[derive(Debug)]
pub struct TranscriptionCallbacks {
    outbox: Outbox,
    wanted: bool,
}

impl TranscriptionCallbacks {
    /// Callbacks that tell `outbox`. `wanted`: whether the client asked for transcripts.
    pub fn new(outbox: Outbox, wanted: bool) -> Self {
        Self { outbox, wanted }
    }

    /// Whether the client wants transcripts, from now on.
    pub fn set_wanted(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// The person began to speak at this sample.
    pub fn on_speech_started(&self, item: &ItemId, from: u64) {
        let audio_start_ms = from / SAMPLES_PER_MS;
        self.outbox.send(SessionEvent::SpeechStarted { item: item.clone(), audio_start_ms });
    }

    /// The person's turn ended at this sample.
    pub fn on_speech_stopped(&self, item: &ItemId, to: u64) {
        let audio_end_ms = to / SAMPLES_PER_MS;
        self.outbox.send(SessionEvent::SpeechStopped { item: item.clone(), audio_end_ms });
    }

    /// Words of an item that will stand.
    pub fn on_partial(&self, item: &ItemId, delta: String) {
        if self.wanted {
            self.outbox.send(SessionEvent::TranscriptionDelta { item: item.clone(), delta });
        }
    }

    /// The final transcript of an item: what of it was not told yet, then the whole.
    pub fn on_final(&self, item: &ItemId, settled: Settled, audio: TranscribedAudio) {
        if !self.wanted {
            return;
        }
        if !settled.rest.is_empty() {
            self.on_partial(item, settled.rest);
        }
        let (item, transcript) = (item.clone(), settled.told);
        self.outbox.send(SessionEvent::TranscriptionCompleted { item, transcript, audio });
    }

    /// An item could not be transcribed.
    pub fn on_failed(&self, item: &ItemId, error: SessionError) {
        if self.wanted {
            self.outbox.send(SessionEvent::TranscriptionFailed { item: item.clone(), error });
        }
    }
}
