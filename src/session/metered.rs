//! Bounded queues that know how many bytes wait in them, for a session's memory account.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// What has a size.
pub trait Payload {
    /// Bytes that it holds, about.
    fn payload_bytes(&self) -> usize;
}

/// What waits in a queue. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct QueueMeter {
    bytes: Arc<AtomicU64>,
    count: Arc<AtomicU64>,
}

impl QueueMeter {
    /// Bytes that wait.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Entries that wait.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The other side of the queue is gone.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the other side of the queue is gone")]
pub struct Closed;

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotSent {
    /// There is no room.
    #[error("the queue is full")]
    Full,
    /// The other side is gone.
    #[error("the other side of the queue is gone")]
    Closed,
}

/// A queue of at most `capacity` entries.
pub fn channel<T: Payload>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(capacity);
    let meter = QueueMeter::default();
    (Sender { sender, meter: meter.clone() }, Receiver { receiver, meter })
}

/// Where entries go in.
#[derive(Debug)]
pub struct Sender<T> {
    sender: mpsc::Sender<T>,
    meter: QueueMeter,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), meter: self.meter.clone() }
    }
}

impl<T: Payload> Sender<T> {
    /// Sends, waiting for room.
    pub async fn send(&self, entry: T) -> Result<(), Closed> {
        let place = self.sender.reserve().await.map_err(|_| Closed)?;
        self.meter.add(entry.payload_bytes() as u64);
        place.send(entry);
        Ok(())
    }

    /// Sends if there is room.
    pub fn try_send(&self, entry: T) -> Result<(), NotSent> {
        let place = self.sender.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => NotSent::Full,
            TrySendError::Closed(()) => NotSent::Closed,
        })?;
        self.meter.add(entry.payload_bytes() as u64);
        place.send(entry);
        Ok(())
    }
}

impl<T> Sender<T> {
    /// Whether there is room for so many entries.
    pub fn has_room(&self, entries: usize) -> bool {
        self.sender.capacity() >= entries || self.sender.is_closed()
    }

    /// Waits until there is room for so many entries, or the other side is gone. Safe to cancel.
    pub async fn room(&self, entries: usize) {
        drop(self.sender.reserve_many(entries).await);
    }

    /// Whether the other side is gone.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// What waits.
    pub fn meter(&self) -> &QueueMeter {
        &self.meter
    }

    /// A sender that does not keep the queue open.
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender { sender: self.sender.downgrade(), meter: self.meter.clone() }
    }
}

/// A sender that does not keep the queue open.
#[derive(Debug)]
pub struct WeakSender<T> {
    sender: mpsc::WeakSender<T>,
    meter: QueueMeter,
}

impl<T> WeakSender<T> {
    /// The sender, while the queue is open.
    pub fn upgrade(&self) -> Option<Sender<T>> {
        Some(Sender { sender: self.sender.upgrade()?, meter: self.meter.clone() })
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), meter: self.meter.clone() }
    }
}

/// Where entries come out.
#[derive(Debug)]
pub struct Receiver<T> {
    receiver: mpsc::Receiver<T>,
    meter: QueueMeter,
}

impl<T: Payload> Receiver<T> {
    /// The next entry; `None` when all senders are gone. Safe to cancel.
    pub async fn recv(&mut self) -> Option<T> {
        let entry = self.receiver.recv().await?;
        self.meter.remove(entry.payload_bytes() as u64);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Payload for Vec<u8> {
        fn payload_bytes(&self) -> usize {
            self.len()
        }
    }

    #[tokio::test]
    async fn the_meter_shows_what_waits() {
        let (sender, mut receiver) = channel::<Vec<u8>>(2);
        sender.send(vec![0; 10]).await.expect("there is room");
        sender.try_send(vec![0; 5]).expect("there is room");
        assert_eq!(sender.try_send(vec![0; 100]), Err(NotSent::Full));
        assert_eq!((sender.meter().bytes(), sender.meter().count()), (15, 2));
        receiver.recv().await.expect("it waits");
        assert_eq!((sender.meter().bytes(), sender.meter().count()), (5, 1));
        receiver.recv().await.expect("it waits");
        let weak = sender.downgrade();
        drop(receiver);
        assert_eq!(sender.send(vec![1]).await, Err(Closed));
        assert_eq!((sender.meter().bytes(), sender.is_closed()), (0, true));
        drop(sender);
        assert!(weak.upgrade().is_none());
    }
}
