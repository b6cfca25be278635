//! An answer that was begun ahead of time and whose turn went on: it still fits if the person made only a small sound,
//! so it is spared until the text shows it.

use super::{Begun, SessionActor};
use crate::session::turn::{SAMPLES_PER_MS, VoiceFrame};

/// With so much more speech the text is another, and engines have better things to do. Two syllables.
const SMALL_SOUND_MS: u64 = 500;

/// A spared answer. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Spare {
    /// What it answers.
    text: String,
    begun: Begun,
    /// Where the person went on.
    since: u64,
}

impl SessionActor {
    /// The person goes on after an attempt that understood `text`: keeps its answer for a while.
    pub(super) fn spare_answer(&mut self, text: Option<String>, begun: Option<Begun>) {
        let since = self.components.input.kept().to;
        self.spare = text.zip(begun).map(|(text, begun)| Spare { text, begun, since });
    }

    /// Lets go of a spared answer once too much was said.
    pub(super) fn watch_spare(&mut self, frame: VoiceFrame) {
        let late =
            |spare: &mut Spare| frame.voice && frame.end > spare.since + SMALL_SOUND_MS * SAMPLES_PER_MS;
        drop(self.spare.take_if(late));
    }

    /// The spared answer, if it is one to `text`; another is stopped.
    pub(super) fn spared_answer(&mut self, text: &str) -> Option<Begun> {
        self.spare.take().filter(|spare| spare.text == text).map(|spare| spare.begun)
    }
}
