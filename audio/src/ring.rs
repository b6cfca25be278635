//! The audio a session keeps of its user, addressed by position since the session began.

use std::collections::VecDeque;
use std::ops::Range;

use super::pcm::sample_to_f32;

/// The ring holds as much as it may; what is not needed any more must be discarded first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the audio buffer is full ({limit} samples)")]
pub struct Full {
    /// The most samples the ring holds.
    pub limit: usize,
}

/// A bounded window on an endless stream of 16 kHz mono samples.
///
/// Positions are absolute: the first sample of the session is 0, for ever, whatever was discarded since. Memory
/// grows with what is held, not with the limit.
#[derive(Debug)]
pub struct SampleRing {
    samples: VecDeque<i16>,
    start: u64,
    limit: usize,
}

impl SampleRing {
    /// An empty ring at position 0 that holds at most `limit` samples.
    pub const fn new(limit: usize) -> Self {
        Self { samples: VecDeque::new(), start: 0, limit }
    }

    /// Holds at most so many samples from now on; those that are held stay.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Counts on from `position`, as if that many samples had come and gone; what is held is forgotten.
    pub fn start_at(&mut self, position: u64) {
        self.clear();
        self.start = position;
    }

    /// Appends samples, all or none.
    pub fn push(&mut self, samples: &[i16]) -> Result<(), Full> {
        if samples.len() > self.limit.saturating_sub(self.samples.len()) {
            return Err(Full { limit: self.limit });
        }
        self.samples.extend(samples);
        Ok(())
    }

    /// Position of the oldest sample held.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// Position after the newest sample: how many were ever pushed.
    pub fn end(&self) -> u64 {
        self.start + self.samples.len() as u64
    }

    /// How many samples are held.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether no sample is held.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The samples of `range` as floats in [-1, 1]; what of the range is not held is left out.
    pub fn slice(&self, range: Range<u64>) -> Vec<f32> {
        let first = self.offset(range.start);
        let last = self.offset(range.end).max(first);
        self.samples.range(first..last).copied().map(sample_to_f32).collect()
    }

    /// Forgets everything before `position`.
    pub fn discard_before(&mut self, position: u64) {
        let count = self.offset(position);
        self.samples.drain(..count);
        self.start += count as u64;
        self.give_memory_back();
    }

    /// Forgets everything held; positions go on from [`end`](Self::end).
    pub fn clear(&mut self) {
        self.discard_before(self.end());
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<i16>()
    }

    /// Index of `position` in what is held, the nearest end if it is outside.
    fn offset(&self, position: u64) -> usize {
        let offset = position.saturating_sub(self.start);
        usize::try_from(offset).map_or(self.samples.len(), |offset| offset.min(self.samples.len()))
    }

    /// One long utterance must not keep its memory for the rest of the session.
    fn give_memory_back(&mut self) {
        if self.samples.is_empty() {
            self.samples = VecDeque::new();
        } else if self.samples.capacity() / 4 > self.samples.len() {
            self.samples.shrink_to(self.samples.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn positions_are_absolute() {
        let mut ring = SampleRing::new(8);
        ring.push(&[1, 2, 3, 4, 5]).unwrap();
        ring.discard_before(3);
        assert_eq!((ring.start(), ring.end()), (3, 5));
        ring.push(&[i16::MIN]).unwrap();
        assert_eq!(ring.slice(5..6), [-1.0]);
        assert_eq!(ring.slice(0..99).len(), 3);
        assert!(ring.slice(0..3).is_empty() && ring.slice(6..9).is_empty());
        ring.discard_before(1);
        assert_eq!(ring.start(), 3, "what is gone stays gone");
        ring.clear();
        assert_eq!((ring.start(), ring.end(), ring.bytes()), (6, 6, 0));
    }

    #[test]
    fn a_full_ring_takes_nothing_of_what_does_not_fit() {
        let mut ring = SampleRing::new(3);
        ring.push(&[1, 2]).unwrap();
        assert_eq!(ring.push(&[3, 4]), Err(Full { limit: 3 }));
        assert_eq!(ring.end(), 2);
        ring.push(&[3]).unwrap();
    }

    #[test]
    fn memory_follows_what_is_held() {
        let mut ring = SampleRing::new(1_000_000);
        assert_eq!(ring.bytes(), 0);
        ring.push(&vec![7; 960_000]).unwrap();
        ring.discard_before(ring.end() - 16_000);
        assert!(ring.bytes() <= 4 * 16_000 * size_of::<i16>(), "{} bytes", ring.bytes());
    }

    proptest! {
        /// Whatever is pushed and discarded, a slice is what the endless stream holds there.
        #[test]
        fn slices_agree_with_the_stream(steps in prop::collection::vec((0usize..50, 0u64..60), 1..30)) {
            let mut ring = SampleRing::new(200);
            let mut stream: Vec<i16> = Vec::new();
            for (count, back) in steps {
                let new: Vec<i16> = (0..count).map(|i| (stream.len() + i) as i16).collect();
                if ring.push(&new).is_ok() {
                    stream.extend(&new);
                }
                prop_assert_eq!(ring.end(), stream.len() as u64);
                let held: Vec<f32> = stream[ring.start() as usize..].iter().copied().map(sample_to_f32).collect();
                prop_assert_eq!(ring.slice(0..u64::MAX), held);
                ring.discard_before(ring.end().saturating_sub(back));
            }
        }
    }
}
