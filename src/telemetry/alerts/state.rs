//! When something that holds becomes an alert, and when that is over. Pure: it is told the time.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// Where an alert is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// All is well.
    #[default]
    Inactive,
    /// It holds, but not for long enough yet.
    Pending,
    /// It has held for long enough, and is not over for long enough.
    Firing,
    /// It has fired and is over.
    Resolved,
}

/// How long something has to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// Before it fires.
    pub fire: Duration,
    /// Before it is resolved.
    pub resolve: Duration,
}

/// A step from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where it was.
    pub from: AlertState,
    /// Where it is.
    pub to: AlertState,
}

/// One alert.
#[derive(Clone, Copy, Debug)]
pub struct Alert {
    state: AlertState,
    /// When it came into this state.
    since: Instant,
    /// While it fires: since when it does not hold any more.
    clear_since: Option<Instant>,
}

impl Alert {
    /// One that nobody has looked at.
    pub fn new(now: Instant) -> Self {
        Self { state: AlertState::Inactive, since: now, clear_since: None }
    }

    /// Where it is.
    pub fn state(&self) -> AlertState {
        self.state
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Looks whether it holds now. `now` never goes back.
    pub fn observe(&mut self, holds: bool, delays: Delays, now: Instant) -> Option<Transition> {
        use AlertState::{Firing, Inactive, Pending, Resolved};
        let lasted = now.saturating_duration_since(self.since);
        let next = match (self.state, holds) {
            (Inactive | Resolved, true) if delays.fire.is_zero() => Firing,
            (Inactive | Resolved, true) => Pending,
            (Pending, true) if lasted >= delays.fire => Firing,
            (Pending, false) => Inactive,
            (Firing, false) if self.is_over(delays.resolve, now) => Resolved,
            (state, _) => state,
        };
        if holds {
            self.clear_since = None;
        }
        let from = self.state;
        (next != from).then(|| {
            (self.state, self.since, self.clear_since) = (next, now, None);
            Transition { from, to: next }
        })
    }

    fn is_over(&mut self, resolve: Duration, now: Instant) -> bool {
        let since = *self.clear_since.get_or_insert(now);
        now.saturating_duration_since(since) >= resolve
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::AlertState::{Firing, Inactive, Pending, Resolved};
    use super::*;

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    const DELAYS: Delays = Delays { fire: s(30), resolve: s(60) };

    #[test]
    fn it_fires_after_a_while_and_is_resolved_after_a_while() {
        let start = Instant::now();
        let mut alert = Alert::new(start);
        for (at, holds, state, since) in [
            (0, false, Inactive, 0),
            (1, true, Pending, 1),
            (20, false, Inactive, 20), // it passed by itself
            (21, true, Pending, 21),
            (50, true, Pending, 21),
            (51, true, Firing, 51),
            (60, false, Firing, 51),
            (119, false, Firing, 51),
            (119, true, Firing, 51), // back before it was over: one alert
            (130, false, Firing, 51),
            (189, false, Firing, 51),
            (190, false, Resolved, 190),
            (500, false, Resolved, 190),
            (501, true, Pending, 501),
            (502, false, Inactive, 502),
        ] {
            alert.observe(holds, DELAYS, start + s(at));
            assert_eq!((alert.state(), alert.since()), (state, start + s(since)), "at {at} s");
        }
    }

    #[test]
    fn without_delays_it_follows_at_once() {
        let (start, delays) = (Instant::now(), Delays { fire: s(0), resolve: s(0) });
        let mut alert = Alert::new(start);
        assert_eq!(alert.observe(true, delays, start), Some(Transition { from: Inactive, to: Firing }));
        assert_eq!(alert.observe(true, delays, start), None, "a transition is told once");
        assert_eq!(alert.observe(false, delays, start), Some(Transition { from: Firing, to: Resolved }));
    }

    proptest! {
        /// Whatever holds when: it fires only after holding on end for long enough, is resolved only after being
        /// clear on end for long enough, and each transition begins where the last one ended.
        #[test]
        fn nothing_fires_or_resolves_too_early(
            looks in prop::collection::vec((any::<bool>(), 0u64..40), 1..80),
            fire in 0u64..60,
            resolve in 0u64..60,
        ) {
            let delays = Delays { fire: s(fire), resolve: s(resolve) };
            let (start, mut alert) = (Instant::now(), Alert::new(Instant::now()));
            let (mut now, mut state) = (start, Inactive);
            // Since when it has held, or been clear, on end.
            let mut on_end = (false, start);
            for (holds, pause) in looks {
                now += s(pause);
                if holds != on_end.0 {
                    on_end = (holds, now);
                }
                let lasted = now - on_end.1;
                if let Some(Transition { from, to }) = alert.observe(holds, delays, now) {
                    prop_assert_eq!(from, state);
                    state = to;
                    match to {
                        Firing => prop_assert!(holds && lasted >= delays.fire),
                        Resolved => prop_assert!(!holds && lasted >= delays.resolve && from == Firing),
                        Pending => prop_assert!(holds && from != Firing),
                        Inactive => prop_assert!(!holds && from == Pending),
                    }
                }
                prop_assert_eq!(alert.state(), state);
                // And nothing is late: what has lasted for long enough is told at the look that finds it so.
                prop_assert!(!(holds && lasted >= delays.fire && state == Pending && fire > 0));
                prop_assert!(!(!holds && lasted >= delays.resolve && state == Firing));
                prop_assert!(holds || state != Pending);
            }
        }
    }
}
