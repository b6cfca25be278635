//! Threads that run inference: jobs come over one bounded channel, a panic ends its job and not the thread, and
//! the threads are joined when the engine is dropped.
//!
//! Knows nothing of what a job is. A job carries the channel of its own answer; one that is dropped unanswered
//! tells its caller so by closing it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::LoadError;
use crate::engine::{CancelFlag, EngineError};

/// Jobs that may wait for an engine. A pool hands out no more calls than there are slots, so what waits here is
/// what takes the place of calls that were just given up.
const QUEUE_CAPACITY: usize = 64;
/// Panics after which a thread is not worth going on with.
const MAX_PANICS: usize = 32;
/// How often a waiting caller looks at its cancel flag; engines promise 50 ms.
const CANCEL_POLL: Duration = Duration::from_millis(20);

/// Threads that share one queue of jobs.
#[derive(Debug)]
pub(super) struct Worker<J> {
    engine: String,
    jobs: Option<Sender<J>>,
    alive: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static> Worker<J> {
    /// Starts one thread for each of `bodies`. A body takes jobs until the channel closes; after a panic it is
    /// called again, so it must keep what it needs and trust nothing that a panic may have left half done.
    pub(super) fn start<B>(engine: &str, bodies: Vec<B>) -> Result<Self, LoadError>
    where
        B: FnMut(&Receiver<J>) + Send + 'static,
    {
        let (sender, receiver) = crossbeam_channel::bounded(QUEUE_CAPACITY);
        let alive = Arc::new(AtomicUsize::new(0));
        let mut worker = Self { engine: engine.to_owned(), jobs: Some(sender), alive, threads: Vec::new() };
        for (index, body) in bodies.into_iter().enumerate() {
            let (jobs, name) = (receiver.clone(), format!("{engine}-{index}"));
            worker.alive.fetch_add(1, Ordering::AcqRel);
            let alive = Arc::clone(&worker.alive);
            let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
                survive(&name, body, &jobs);
                if alive.fetch_sub(1, Ordering::AcqRel) == 1 {
                    // A bounded channel keeps its messages when its last receiver goes, and their callers would
                    // wait for ever: the last thread stays to turn jobs away.
                    jobs.iter().for_each(drop);
                }
            });
            let start = |error: std::io::Error| LoadError::Start {
                engine: engine.to_owned(),
                reason: format!("no thread: {error}"),
            };
            worker.threads.push(thread.map_err(start)?);
        }
        Ok(worker)
    }

    /// Hands a job to the threads; never waits.
    pub(super) fn submit(&self, job: J) -> Result<(), EngineError> {
        let engine = self.engine.clone();
        let gone = || EngineError::Unavailable {
            engine: self.engine.clone(),
            reason: "its threads ended after repeated panics".into(),
        };
        if self.alive.load(Ordering::Acquire) == 0 {
            return Err(gone());
        }
        match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => {
                let reason = format!("{QUEUE_CAPACITY} calls wait already");
                Err(EngineError::Failed { engine, reason })
            }
            Some(Err(TrySendError::Disconnected(_))) | None => Err(gone()),
        }
    }

    /// What a caller is told whose job was dropped unanswered.
    pub(super) fn dropped(engine: &str) -> EngineError {
        let reason = "its thread gave the call up; the log says why".to_owned();
        EngineError::Failed { engine: engine.to_owned(), reason }
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(engine = self.engine, "an engine thread ended by a panic");
            }
        }
    }
}

/// Calls `body` until it returns; again after each panic.
fn survive<J>(name: &str, mut body: impl FnMut(&Receiver<J>), jobs: &Receiver<J>) {
    for count in 1..=MAX_PANICS {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(jobs))) else { return };
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let reason = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(thread = name, count, reason, "an engine call panicked");
    }
    tracing::error!(thread = name, "the engine thread panicked too often and ends");
}

/// Ends when the flag is raised.
pub(super) async fn raised(cancel: &CancelFlag) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(CANCEL_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    type Job = (u32, oneshot::Sender<u32>);

    fn doubling(jobs: &Receiver<Job>) {
        for (number, answer) in jobs {
            assert_ne!(number, 13, "on purpose");
            answer.send(number * 2).ok();
        }
    }

    async fn ask(worker: &Worker<Job>, number: u32) -> Result<u32, EngineError> {
        let (answer, answered) = oneshot::channel();
        worker.submit((number, answer))?;
        answered.await.map_err(|_| Worker::<Job>::dropped("test"))
    }

    #[tokio::test]
    async fn a_panic_ends_its_job_alone() {
        let worker = Worker::start("test", vec![doubling]).expect("a thread");
        assert_eq!(ask(&worker, 2).await, Ok(4));
        assert!(ask(&worker, 13).await.expect_err("it panicked").is_retryable());
        assert_eq!(ask(&worker, 3).await, Ok(6));
    }

    #[tokio::test]
    async fn a_thread_that_only_panics_ends_and_says_so() {
        let worker = Worker::start("test", vec![doubling]).expect("a thread");
        // Every caller is answered, in the moment of the thread's end too, and in the end at once.
        for _ in 0..MAX_PANICS {
            assert!(ask(&worker, 13).await.is_err());
        }
        while !matches!(ask(&worker, 13).await, Err(EngineError::Unavailable { .. })) {}
    }

    #[test]
    fn dropping_joins_after_the_queued_jobs() {
        let worker = Worker::start("test", vec![doubling, doubling]).expect("threads");
        let answers: Vec<_> = (20..40)
            .map(|number| {
                let (answer, answered) = oneshot::channel();
                worker.submit((number, answer)).expect("room");
                answered
            })
            .collect();
        drop(worker);
        for (number, mut answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.try_recv().ok(), Some(number as u32 * 2 + 40));
        }
    }

    #[test]
    fn a_full_queue_refuses() {
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        let body = move |jobs: &Receiver<Job>| {
            for _ in jobs {
                held.recv().ok();
            }
        };
        let worker = Worker::start("test", vec![body]).expect("a thread");
        let refused = (0..QUEUE_CAPACITY as u32 + 2)
            .map(|number| worker.submit((number, oneshot::channel().0)))
            .find_map(Result::err);
        assert!(matches!(refused, Some(EngineError::Failed { .. })), "{refused:?}");
        drop(hold);
    }
}
