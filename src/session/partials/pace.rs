//! `PartialPace`: when the next partial transcript is due. Pure: it is told the time and the length of the audio.
//!
//! One at a time, each no sooner than the interval behind the one before it, in audio and on the clock. What the
//! last one took counts too: partials of one utterance take at most a quarter of an engine, however long the
//! utterance is or however busy the server, so their cost grows with its length and not with its square.

use std::time::Duration;

use tokio::time::Instant;

use crate::pool::Degradation;
use crate::session::turn::SAMPLES_PER_MS;
use crate::telemetry::clock::whole_ms;

/// A partial that took so long is followed by this many times as long without one.
const REST_FACTOR: u32 = 3;
/// How much rarer partials are while the server is pressed.
const PRESSED_FACTOR: u32 = 2;
/// The most audio of one partial: Whisper's window. An utterance longer than that waits for its end.
pub const MAX_PARTIAL_MS: u64 = 30_000;

/// Follows the partials of one utterance after the other.
#[derive(Clone, Debug, Default)]
pub struct PartialPace {
    /// When the last one ended, and what it took, waiting included.
    last: Option<(Instant, Duration)>,
    /// Where the audio of the last one of this utterance ended.
    heard_to: Option<u64>,
    under_way: bool,
}

impl PartialPace {
    /// Whether a partial of the audio from sample `from` to `to` is due.
    pub fn is_due(&self, (from, to): (u64, u64), wish: Wish, now: Instant) -> bool {
        if self.under_way || wish.degradation >= Degradation::NoPartials {
            return false;
        }
        let audio = to.saturating_sub(from);
        let fresh = to.saturating_sub(self.heard_to.unwrap_or(from));
        let interval = wish.interval();
        let rested = self.last.is_none_or(|(ended, took)| {
            now.saturating_duration_since(ended) + took >= interval.max(took * (REST_FACTOR + 1))
        });
        rested && fresh >= samples(interval) && audio <= MAX_PARTIAL_MS * SAMPLES_PER_MS
    }

    /// A partial of the audio up to sample `to` is under way.
    pub fn start(&mut self, to: u64) {
        (self.under_way, self.heard_to) = (true, Some(to));
    }

    /// It came, or failed, after `took`.
    pub fn end(&mut self, took: Duration, now: Instant) {
        (self.under_way, self.last) = (false, Some((now, took)));
    }

    /// What is heard up to sample `to` comes from elsewhere; one under way is given up.
    pub fn give_way(&mut self, to: u64) {
        (self.under_way, self.heard_to) = (false, Some(to));
    }

    /// The utterance is over; what it cost is remembered.
    pub fn next_utterance(&mut self) {
        (self.under_way, self.heard_to) = (false, None);
    }
}

/// How often partials are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// `session.partials.interval_ms`, by the client's `delay`.
    pub every: Duration,
    /// What the server does without.
    pub degradation: Degradation,
}

impl Wish {
    fn interval(self) -> Duration {
        if self.degradation >= Degradation::FewerPartials { self.every * PRESSED_FACTOR } else { self.every }
    }
}

fn samples(length: Duration) -> u64 {
    whole_ms(length).saturating_mul(SAMPLES_PER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn wish(degradation: Degradation) -> Wish {
        Wish { every: Duration::from_millis(500), degradation }
    }

    /// Milliseconds at which partials begin in `ms` of speech at the pace of a microphone, each taking `took` by
    /// the length of its audio.
    fn begins(ms: u64, degradation: Degradation, took: impl Fn(u64) -> u64) -> Vec<u64> {
        let (mut pace, start) = (PartialPace::default(), Instant::now());
        let (mut begins, mut ends) = (Vec::new(), None);
        for at in (0..=ms).step_by(20) {
            let now = start + Duration::from_millis(at);
            if let Some((end, took)) = ends.filter(|(end, _)| *end <= at) {
                pace.end(Duration::from_millis(took), start + Duration::from_millis(end));
                ends = None;
            }
            if pace.is_due((0, at * SAMPLES_PER_MS), wish(degradation), now) {
                pace.start(at * SAMPLES_PER_MS);
                begins.push(at);
                ends = Some((at + took(at), took(at)));
            }
        }
        begins
    }

    #[test]
    fn partials_come_at_the_interval() {
        assert_eq!(begins(2_600, Degradation::None, |_| 60), [500, 1_000, 1_500, 2_000, 2_500]);
    }

    #[test]
    fn under_pressure_they_are_fewer_and_then_none() {
        assert_eq!(begins(2_600, Degradation::FewerPartials, |_| 60), [1_000, 2_000]);
        assert_eq!(begins(2_600, Degradation::NoSpeechAhead, |_| 60), [1_000, 2_000]);
        assert!(begins(2_600, Degradation::NoPartials, |_| 60).is_empty());
    }

    #[test]
    fn slow_ones_take_a_quarter_of_the_time_and_never_two_at_once() {
        assert_eq!(begins(4_600, Degradation::None, |_| 400), [500, 2_100, 3_700]);
    }

    #[test]
    fn a_long_utterance_costs_in_proportion_to_its_length() {
        // An engine whose work grows with the audio: 50 ms a second.
        let cost =
            |ms: u64| begins(ms, Degradation::None, |at| at / 20).iter().map(|at| at / 20).sum::<u64>();
        for seconds in [5, 10, 20, 30, 60] {
            assert!(
                cost(seconds * 1_000) <= seconds * 250 + 1_500,
                "{seconds} s cost {} ms",
                cost(seconds * 1_000)
            );
        }
    }

    #[test]
    fn audio_that_comes_faster_than_it_is_heard_is_not_heard_more_often() {
        let (mut pace, now) = (PartialPace::default(), Instant::now());
        pace.start(8_000);
        pace.end(Duration::from_millis(100), now);
        assert!(!pace.is_due((0, 80_000), wish(Degradation::None), now), "the clock has not moved");
        assert!(pace.is_due((0, 80_000), wish(Degradation::None), now + Duration::from_millis(400)));
        assert!(!pace.is_due((0, 31_000 * 16), wish(Degradation::None), now + Duration::from_secs(9)));
        pace.next_utterance();
        assert!(!pace.is_due((80_000, 87_000), wish(Degradation::None), now + Duration::from_secs(9)));
        assert!(pace.is_due((80_000, 88_000), wish(Degradation::None), now + Duration::from_secs(9)));
    }
}
