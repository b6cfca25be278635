//! The flag by which a caller stops engine work that runs on another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells an engine to stop. Clones share one flag; once raised it stays raised.
///
/// Engines look at it at least every 50 ms of work. It is a plain atomic, so that native callbacks
/// (whisper.cpp's abort hook) can read it without a runtime.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// A guard that raises the flag when it goes out of scope: for callers whose future may be dropped.
    pub fn guard(&self) -> CancelGuard {
        CancelGuard(self.clone())
    }

    /// The shared atomic, for native callbacks that take a raw pointer to it.
    pub fn as_atomic(&self) -> &AtomicBool {
        &self.0
    }
}

/// Raises its flag when dropped.
#[derive(Debug)]
#[must_use = "dropping the guard at once cancels the call at once"]
pub struct CancelGuard(CancelFlag);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_raises_the_flag_of_every_clone() {
        let flag = CancelFlag::new();
        let clone = flag.clone();
        drop(flag.guard());
        assert!(clone.is_cancelled());
    }
}
