//! Books the time of engine calls that are no requests of their own: they have no record, but what they take counts
//! as the session's.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::pool::CallObserver;
use crate::session::health::SessionGauge;

/// Books the time of one call at a time.
#[derive(Debug)]
pub(in crate::session) struct EngineTime {
    gauge: Arc<SessionGauge>,
    called: Mutex<Option<Instant>>,
}

impl EngineTime {
    pub(in crate::session) fn new(gauge: Arc<SessionGauge>) -> Self {
        Self { gauge, called: Mutex::default() }
    }
}

impl CallObserver for EngineTime {
    fn queued(&self) {}

    fn called(&self, _instance: &str) {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn ended(&self) {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(called) = called {
            self.gauge.add_engine_time(called.elapsed());
        }
    }
}

/// A call that was given up took what it took.
impl Drop for EngineTime {
    fn drop(&mut self) {
        self.ended();
    }
}
