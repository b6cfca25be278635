//! How much of the audio sent has been heard, and when more may be sent. Pure: `now` is given.
//!
//! The estimate takes the client to play at real time from the first chunk on, and to wait where it runs dry.

use std::time::Duration;

use tokio::time::Instant;

/// Follows the playback of one spoken message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Playback {
    started: Option<Instant>,
    sent: Duration,
    /// Something else plays until then.
    not_before: Option<Instant>,
}

impl Playback {
    /// The playback of a message that is heard behind what plays until `end`.
    pub fn behind(end: Instant) -> Self {
        Self { not_before: Some(end), ..Self::default() }
    }

    /// Counts audio that is sent now.
    pub fn push(&mut self, duration: Duration, now: Instant) {
        match self.started {
            // It had run dry: playback goes on from here.
            Some(started) if now > started + self.sent => self.started = Some(now - self.sent),
            Some(_) => {}
            None => self.started = Some(self.not_before.map_or(now, |end| end.max(now))),
        }
        self.sent += duration;
    }

    /// All audio sent.
    pub fn sent(&self) -> Duration {
        self.sent
    }

    /// Whether any audio was sent.
    pub fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// Audio heard by `now`.
    pub fn heard(&self, now: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now.saturating_duration_since(started).min(self.sent))
    }

    /// How far a playback without end would be by `now`.
    pub fn position(&self, now: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now.saturating_duration_since(started))
    }

    /// When all that was sent will be heard; `None` if nothing was sent.
    pub fn ends_at(&self) -> Option<Instant> {
        Some(self.started? + self.sent)
    }

    /// When the audio sent is at most `max_ahead` ahead of the audio heard; `None` if it is already.
    pub fn resume_at(&self, max_ahead: Duration, now: Instant) -> Option<Instant> {
        let at = self.started? + self.sent.checked_sub(max_ahead)?;
        (at > now).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn heard_follows_the_clock_up_to_what_was_sent() {
        let start = Instant::now();
        let mut playback = Playback::default();
        assert_eq!(playback.heard(start), Duration::ZERO);
        playback.push(ms(500), start);
        assert_eq!(playback.heard(start + ms(200)), ms(200));
        assert_eq!(playback.heard(start + ms(900)), ms(500));
        playback.push(ms(100), start + ms(900)); // it had run dry for 400 ms
        assert_eq!(playback.heard(start + ms(950)), ms(550));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_heard_behind_the_one_before() {
        let start = Instant::now();
        let mut playback = Playback::behind(start + ms(400));
        playback.push(ms(500), start);
        assert_eq!(playback.heard(start + ms(400)), Duration::ZERO);
        assert_eq!(playback.heard(start + ms(600)), ms(200));
        assert_eq!(playback.ends_at(), Some(start + ms(900)));
        assert_eq!(playback.position(start + ms(2_000)), ms(1_600));
    }

    #[tokio::test(start_paused = true)]
    async fn sending_waits_when_it_is_far_ahead() {
        let start = Instant::now();
        let mut playback = Playback::default();
        assert_eq!(playback.resume_at(ms(1_500), start), None);
        playback.push(ms(1_400), start);
        assert_eq!(playback.resume_at(ms(1_500), start), None);
        playback.push(ms(600), start);
        assert_eq!(playback.resume_at(ms(1_500), start), Some(start + ms(500)));
        assert_eq!(playback.resume_at(ms(1_500), start + ms(500)), None);
    }
}
