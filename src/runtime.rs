//! Tasks: the only place that spawns them. Every task has a name, is counted, and hears the shutdown token.
//!
//! Knows nothing of sessions, pools or engines.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and waits for them at shutdown. Clones share one set of tasks.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    running: Arc<Mutex<Vec<(u64, &'static str)>>>,
    next_id: Arc<std::sync::atomic::AtomicU64>,
}

/// Tasks that did not end before the deadline, by name.
#[derive(Debug, thiserror::Error)]
#[error("still running at the deadline: {}", names.join(", "))]
pub struct DrainTimeout {
    /// Name of each task, once for every task of that name.
    pub names: Vec<&'static str>,
}

impl Runtime {
    /// A runtime with no tasks. Needs to be used inside a tokio runtime.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raised once when the process is to end.
    pub fn shutdown_token(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Runs `future` as a task. `name` stands in logs and in [`DrainTimeout`].
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let entry = self.enter(name);
        let task = self.tracker.track_future(async move {
            let _entry = entry;
            future.await
        });
        #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
        tokio::spawn(task)
    }

    /// Runs `work`, which computes or blocks, on a thread for such work. It is waited for as tasks are, and has to
    /// find out by itself when nobody wants its result any more.
    pub fn spawn_blocking<F, T>(&self, name: &'static str, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let entry = self.enter(name);
        self.tracker.spawn_blocking(move || {
            let _entry = entry;
            work()
        })
    }

    /// How many tasks run now.
    pub fn task_count(&self) -> usize {
        self.tracker.len()
    }

    /// Raises the shutdown token and waits until every task has ended, at most `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Result<(), DrainTimeout> {
        self.shutdown.cancel();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .map_err(|_| DrainTimeout { names: self.lock().iter().map(|(_, name)| *name).collect() })
    }

    fn enter(&self, name: &'static str) -> Entry {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.lock().push((id, name));
        Entry { id, runtime: self.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, &'static str)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One running task in the list of names; leaves it when the task ends, panics included.
#[derive(Debug)]
struct Entry {
    id: u64,
    runtime: Runtime,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.runtime.lock().retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drain_waits_for_tasks_that_heed_the_token() {
        let runtime = Runtime::new();
        let token = runtime.shutdown_token().clone();
        let task = runtime.spawn("waits", async move { token.cancelled().await });
        runtime.drain(Duration::from_secs(5)).await.expect("the task heeds the token");
        task.await.expect("the task did not panic");
        assert_eq!(runtime.task_count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn drain_names_the_task_that_blocks() {
        let runtime = Runtime::new();
        drop(runtime.spawn("stubborn", std::future::pending::<()>()));
        let error = runtime.drain(Duration::from_secs(1)).await.expect_err("the task never ends");
        assert_eq!(error.names, ["stubborn"]);
    }

    #[tokio::test]
    async fn a_panicking_task_leaves_the_list() {
        let runtime = Runtime::new();
        let task = runtime.spawn("panics", async { panic!("on purpose") });
        assert!(task.await.expect_err("it panicked").is_panic());
        assert_eq!(runtime.task_count(), 0);
        assert!(runtime.lock().is_empty());
    }
}
