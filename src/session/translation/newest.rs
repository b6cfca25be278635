//! `Newest`: of texts that grow, one at a time is translated, and the newest next. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// The partial translations into one language.
#[derive(Debug, Default)]
pub struct Newest {
    under_way: bool,
    /// What is to be translated next; a newer text takes its place.
    wanted: Option<String>,
    last: Option<Instant>,
}

impl Newest {
    /// The text has grown.
    pub fn want(&mut self, text: &str) {
        self.wanted = Some(text.to_owned());
    }

    /// The text to translate now, if that is due: none is under way and the last one began `interval` ago.
    pub fn take_due(&mut self, interval: Duration, now: Instant) -> Option<String> {
        let rested = self.last.is_none_or(|last| now.saturating_duration_since(last) >= interval);
        if self.under_way || !rested {
            return None;
        }
        let text = self.wanted.take()?;
        (self.under_way, self.last) = (true, Some(now));
        Some(text)
    }

    /// The one under way ended.
    pub fn end(&mut self) {
        self.under_way = false;
    }

    /// The utterance is over: nothing more of it is wanted.
    pub fn finish(&mut self) {
        (self.under_way, self.wanted) = (false, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_next_when_the_one_under_way_has_ended_and_time_has_passed() {
        let (mut newest, start) = (Newest::default(), Instant::now());
        let every = Duration::from_secs(1);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(newest.take_due(every, at(0)), None);
        newest.want("a");
        assert_eq!(newest.take_due(every, at(0)).as_deref(), Some("a"));
        newest.want("a b");
        newest.want("a b c");
        assert_eq!(newest.take_due(every, at(2_000)), None, "one is under way");
        newest.end();
        assert_eq!(newest.take_due(every, at(900)), None, "too soon");
        assert_eq!(newest.take_due(every, at(1_000)).as_deref(), Some("a b c"));
        newest.end();
        assert_eq!(newest.take_due(every, at(9_000)), None, "nothing new");
        newest.want("a b c d");
        newest.finish();
        assert_eq!(newest.take_due(every, at(9_000)), None, "it is over");
    }
}
