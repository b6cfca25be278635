//! The rule for a newcomer: in, into the line, or away with a time to come back. Pure.
//!
//! ```
//! use std::time::Duration;
//! use antiphon::session::admission::{AdmissionConfig, AdmissionLimits, Decision, Load};
//!
//! let limits = AdmissionLimits::new(1, &AdmissionConfig::default());
//! let mut load = Load::default();
//! assert_eq!(limits.decide(&load), Decision::Admit);
//! load.open = 1;
//! assert_eq!(limits.decide(&load), Decision::Queue);
//! ```

use std::time::Duration;

use super::AdmissionConfig;

/// How many may be in, wait, and knock.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmissionLimits {
    /// Sessions at once (`server.max_sessions`).
    pub max_sessions: usize,
    /// Sockets at once.
    pub max_connections: usize,
    /// How many may wait.
    pub max_queue: usize,
    /// How long one may wait.
    pub max_wait: Duration,
    /// p95 of first audio that leaves no headroom.
    pub first_audio_target: Duration,
    /// Headroom below which newcomers wait.
    pub min_headroom: f64,
    /// Headroom from which on they do not.
    pub resume_headroom: f64,
}

/// What a decision looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Places that are taken.
    pub open: usize,
    /// How many wait.
    pub queued: usize,
    /// How many are being told to come back later.
    pub refusing: usize,
    /// Whether those who talk are served too slowly to take one more now; see [`AdmissionLimits::is_strained`].
    pub strained: bool,
    /// When it makes sense to come back.
    pub retry_after: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self { open: 0, queued: 0, refusing: 0, strained: false, retry_after: Duration::from_secs(5) }
    }
}

/// What becomes of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It gets a place now.
    Admit,
    /// It waits for one.
    Queue,
    /// It is told on its socket to come back later.
    RefuseSoft {
        /// When.
        retry_after: Duration,
    },
    /// It gets no socket.
    RefuseHard {
        /// When to come back.
        retry_after: Duration,
    },
}

impl AdmissionLimits {
    /// The limits that a configuration sets.
    pub fn new(max_sessions: usize, config: &AdmissionConfig) -> Self {
        Self {
            max_sessions,
            max_connections: config.max_connections,
            max_queue: config.max_queue,
            max_wait: Duration::from_secs(config.max_wait_s),
            first_audio_target: Duration::from_millis(config.first_audio_target_ms),
            min_headroom: config.min_headroom,
            resume_headroom: config.resume_headroom,
        }
    }

    /// What becomes of a newcomer. Nobody goes past those who wait.
    pub fn decide(&self, load: &Load) -> Decision {
        let retry_after = load.retry_after;
        if load.open + load.queued + load.refusing >= self.max_connections {
            return Decision::RefuseHard { retry_after };
        }
        if load.queued == 0 && self.has_place(load) {
            return Decision::Admit;
        }
        if load.queued < self.max_queue { Decision::Queue } else { Decision::RefuseSoft { retry_after } }
    }

    /// Whether one more may begin a session.
    pub fn has_place(&self, load: &Load) -> bool {
        load.open < self.max_sessions && !load.strained
    }

    /// Share of the target that is left at this p95: 1 where answers take no time, 0 at the target, negative
    /// beyond.
    pub fn headroom(&self, p95: Option<Duration>) -> f64 {
        p95.map_or(1.0, |p95| 1.0 - p95.as_secs_f64() / self.first_audio_target.as_secs_f64())
    }

    /// Whether newcomers wait for headroom. Once they do, it takes more headroom to end it than it took to
    /// begin, so that it does not change with every turn.
    pub fn is_strained(&self, headroom: f64, was: bool) -> bool {
        headroom < if was { self.resume_headroom } else { self.min_headroom }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> AdmissionLimits {
        let config = AdmissionConfig { max_connections: 6, max_queue: 2, ..AdmissionConfig::default() };
        AdmissionLimits::new(3, &config)
    }

    #[test]
    fn a_newcomer_is_judged_by_places_line_and_sockets() {
        let retry_after = Duration::from_secs(5);
        let (soft, hard) = (Decision::RefuseSoft { retry_after }, Decision::RefuseHard { retry_after });
        for (open, queued, refusing, strained, expected) in [
            (0, 0, 0, false, Decision::Admit),
            (2, 0, 0, false, Decision::Admit),
            (3, 0, 0, false, Decision::Queue),
            (3, 1, 0, false, Decision::Queue),
            (3, 2, 0, false, soft),
            (3, 2, 1, false, hard),
            (0, 0, 6, false, hard),
            (0, 0, 0, true, Decision::Queue),
            (0, 2, 0, true, soft),
            (2, 1, 0, false, Decision::Queue), // a place is free, but somebody waits for it
            (9, 0, 0, false, hard),            // the limit was lowered below what is open
        ] {
            let load = Load { open, queued, refusing, strained, retry_after };
            assert_eq!(limits().decide(&load), expected, "{load:?}");
        }
    }

    #[test]
    fn headroom_is_what_is_left_of_the_target() {
        let ms = Duration::from_millis;
        for (p95, expected) in
            [(None, 1.0), (Some(ms(0)), 1.0), (Some(ms(750)), 0.25), (Some(ms(2_000)), -1.0)]
        {
            assert!((limits().headroom(p95) - expected).abs() < 1e-9, "{p95:?}");
        }
    }

    #[test]
    fn strain_ends_later_than_it_began() {
        let mut strained = false;
        let seen: Vec<bool> = [0.5, 0.11, 0.09, 0.2, 0.29, 0.3, 0.2, 0.0]
            .into_iter()
            .map(|headroom| {
                strained = limits().is_strained(headroom, strained);
                strained
            })
            .collect();
        assert_eq!(seen, [false, false, true, true, true, false, false, true]);
    }
}
