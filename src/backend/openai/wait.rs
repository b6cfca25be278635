//! Waits for a server, but not for ever, and not once the caller has given up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::backend::worker::raised;
use crate::engine::endpoint::EndpointTimeouts;
use crate::engine::{CancelFlag, EngineError};

/// The patience with one call. Only time spent waiting counts: a caller that takes its time is not the server's
/// fault. Holds the call's cancel flag, and goes with the call.
#[derive(Debug)]
pub(super) struct Patience {
    engine: Arc<str>,
    cancel: CancelFlag,
    timeouts: EndpointTimeouts,
    waited: Duration,
    has_output: bool,
}

impl Patience {
    pub(super) fn new(engine: &Arc<str>, timeouts: EndpointTimeouts, cancel: CancelFlag) -> Self {
        Self { engine: Arc::clone(engine), cancel, timeouts, waited: Duration::ZERO, has_output: false }
    }

    /// Output has come: from now on, each wait is one between two pieces.
    pub(super) fn output(&mut self) {
        self.has_output = true;
    }

    /// Waits for `what`, as long as its phase allows.
    pub(super) async fn wait<T>(
        &mut self,
        what: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let (left, phase, limit_ms) = self.phase();
        let begin = Instant::now();
        let outcome = tokio::select! {
            biased;
            () = raised(&self.cancel) => Err(EngineError::Cancelled),
            outcome = timeout(left, what) => outcome.unwrap_or_else(|_| {
                Err(EngineError::TimedOut { engine: self.engine.to_string(), phase, waited_ms: limit_ms })
            }),
        };
        self.waited += begin.elapsed();
        outcome
    }

    /// What is left of the phase, its name, and all of it.
    fn phase(&self) -> (Duration, &'static str, u64) {
        let left = |limit_ms: u64| Duration::from_millis(limit_ms).saturating_sub(self.waited);
        let EndpointTimeouts { first_output_ms, between_ms, whole_ms, .. } = self.timeouts;
        let phase = if self.has_output {
            (Duration::from_millis(between_ms), "the rest of its answer", between_ms)
        } else {
            (left(first_output_ms), "its first output", first_output_ms)
        };
        if left(whole_ms) < phase.0 { (left(whole_ms), "the whole of its answer", whole_ms) } else { phase }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const TIMEOUTS: EndpointTimeouts =
        EndpointTimeouts { connect_ms: 0, first_output_ms: 1_000, between_ms: 500, whole_ms: 2_000 };

    fn patience(cancel: &CancelFlag) -> Patience {
        Patience::new(&Arc::from("e"), TIMEOUTS, cancel.clone())
    }

    async fn after(ms: u64) -> Result<(), EngineError> {
        sleep(Duration::from_millis(ms)).await;
        Ok(())
    }

    fn late(phase: &'static str, waited_ms: u64) -> Result<(), EngineError> {
        Err(EngineError::TimedOut { engine: "e".into(), phase, waited_ms })
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_limit() {
        let mut first = patience(&CancelFlag::new());
        assert_eq!(first.wait(after(600)).await, Ok(()));
        assert_eq!(first.wait(after(600)).await, late("its first output", 1_000), "the wait before counts");

        let mut later = patience(&CancelFlag::new());
        assert_eq!(later.wait(after(900)).await, Ok(()));
        later.output();
        assert_eq!(later.wait(after(499)).await, Ok(()));
        assert_eq!(later.wait(after(501)).await, late("the rest of its answer", 500));

        let mut long = patience(&CancelFlag::new());
        long.output();
        for _ in 0..4 {
            assert_eq!(long.wait(after(450)).await, Ok(()));
            sleep(Duration::from_secs(60)).await; // the caller's own time
        }
        assert_eq!(long.wait(after(450)).await, late("the whole of its answer", 2_000));
    }

    #[tokio::test(start_paused = true)]
    async fn the_flag_ends_a_wait_within_50_ms() {
        let cancel = CancelFlag::new();
        let mut patience = patience(&cancel);
        let raise = async {
            sleep(Duration::from_millis(333)).await;
            cancel.cancel();
            Instant::now()
        };
        let (outcome, raised) = tokio::join!(patience.wait(after(900)), raise);
        assert_eq!(outcome, Err(EngineError::Cancelled));
        assert!(raised.elapsed() <= Duration::from_millis(50));
    }
}
