//! What a scripted engine was asked, so that tests can look.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many requests an engine remembers; older ones are forgotten.
const REMEMBERED_CALLS: usize = 256;

/// Counts of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Calls that began.
    pub started: u64,
    /// Of these, calls that ended as scripted, faults included.
    pub finished: u64,
    /// Of these, calls that ended because their flag was raised.
    pub cancelled: u64,
    /// Calls that run now. What is left of `started` was dropped by its caller.
    pub in_flight: u64,
    /// The most calls that ever ran at once.
    pub peak_in_flight: u64,
}

/// A bounded record of requests with counts. Clones share it.
#[derive(Debug)]
pub(super) struct CallLog<R>(Arc<Mutex<Entries<R>>>);

#[derive(Debug)]
struct Entries<R> {
    requests: VecDeque<R>,
    stats: CallStats,
}

impl<R> Default for CallLog<R> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Entries { requests: VecDeque::new(), stats: CallStats::default() })))
    }
}

impl<R: Clone + Send + 'static> CallLog<R> {
    /// Counts a call until the guard is dropped.
    pub(super) fn begin(&self, request: R) -> CallGuard {
        let mut entries = lock(&self.0);
        if entries.requests.len() == REMEMBERED_CALLS {
            entries.requests.pop_front();
        }
        entries.requests.push_back(request);
        let stats = &mut entries.stats;
        stats.started += 1;
        stats.in_flight += 1;
        stats.peak_in_flight = stats.peak_in_flight.max(stats.in_flight);
        drop(entries);
        CallGuard { log: Arc::clone(&self.0) as Arc<dyn Ended>, end: End::Dropped }
    }

    pub(super) fn requests(&self) -> Vec<R> {
        lock(&self.0).requests.iter().cloned().collect()
    }

    pub(super) fn stats(&self) -> CallStats {
        lock(&self.0).stats
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Finished,
    Cancelled,
    Dropped,
}

trait Ended: Send + Sync {
    fn ended(&self, end: End);
}

impl<R: Send> Ended for Mutex<Entries<R>> {
    fn ended(&self, end: End) {
        let stats = &mut lock(self).stats;
        stats.in_flight -= 1;
        match end {
            End::Finished => stats.finished += 1,
            End::Cancelled => stats.cancelled += 1,
            End::Dropped => {}
        }
    }
}

/// A call that runs.
pub(super) struct CallGuard {
    log: Arc<dyn Ended>,
    end: End,
}

impl CallGuard {
    pub(super) fn end(&mut self, end: End) {
        self.end = end;
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.log.ended(self.end);
    }
}

fn lock<R>(entries: &Mutex<Entries<R>>) -> MutexGuard<'_, Entries<R>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_bounded_and_counts_go_on() {
        let log = CallLog::default();
        for call in 0..REMEMBERED_CALLS + 10 {
            log.begin(call).end(End::Finished);
        }
        let running = log.begin(0);
        assert_eq!(log.requests().len(), REMEMBERED_CALLS);
        assert_eq!(log.requests()[0], 11);
        assert_eq!(log.stats().started, 267);
        assert_eq!(log.stats().finished, 266);
        assert_eq!(log.stats().in_flight, 1);
        drop(running);
        assert_eq!(log.stats().in_flight, 0);
        assert_eq!(log.stats().peak_in_flight, 1);
    }
}
