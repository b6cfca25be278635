//! The flag by which a caller stops engine work that runs on another thread.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells an engine to stop. Clones share one flag; once raised it stays raised.
///
/// Engines look at it at least every 50 ms of work. It is a plain atomic, so that native callbacks
/// (whisper.cpp's abort hook) can read it without a runtime. An engine keeps its clone for as long as it works on
/// the call and no longer: what the flag was made [`holding`](Self::holding) is let go with the last clone, which
/// is how its owner learns that the engine has truly stopped.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<Shared>);

#[derive(Default)]
struct Shared {
    raised: AtomicBool,
    _held: Option<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("raised", &self.raised).finish_non_exhaustive()
    }
}

impl CancelFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that keeps `held` until its last clone is dropped.
    pub fn holding(held: impl Any + Send + Sync) -> Self {
        Self(Arc::new(Shared { raised: AtomicBool::new(false), _held: Some(Box::new(held)) }))
    }

    /// Raises the flag.
    pub fn cancel(&self) {
        self.0.raised.store(true, Ordering::Release);
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// A guard that raises the flag when it goes out of scope: for callers whose future may be dropped.
    pub fn guard(&self) -> CancelGuard {
        CancelGuard(self.clone())
    }

    /// The shared atomic, for native callbacks that take a raw pointer to it.
    pub fn as_atomic(&self) -> &AtomicBool {
        &self.0.raised
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

    #[test]
    fn what_is_held_goes_with_the_last_clone() {
        let held = Arc::new(());
        let flag = CancelFlag::holding(Arc::clone(&held));
        let clone = flag.clone();
        drop(flag);
        assert_eq!(Arc::strong_count(&held), 2);
        drop(clone);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
