//! Transcripts while the person still speaks: how often ([`pace`]) and which of their words may be told
//! ([`agreement`]). Pure: knows no engine, no event and no clock of its own. Read [`Partials`] first.

pub mod agreement;
pub mod pace;

use std::time::Duration;

use tokio::time::Instant;

use super::turn::TurnKey;
pub use agreement::{Agreement, Settled};
pub use pace::{PartialPace, Wish};

/// The partial transcripts of one session.
#[derive(Debug, Default)]
pub struct Partials {
    pace: PartialPace,
    agreement: Agreement,
    /// Names the utterance and its latest partial. Counts of its own: a client that ends turns itself has them too.
    key: TurnKey,
}

impl Partials {
    /// Begins a partial of the audio from sample `from` to `to`, if one is due; gives its name.
    pub fn begin(&mut self, span: (u64, u64), wish: Wish, now: Instant) -> Option<TurnKey> {
        if !self.pace.is_due(span, wish, now) {
            return None;
        }
        self.pace.start(span.1);
        self.key.revision += 1;
        Some(self.key)
    }

    /// A partial ended after `took`. False: it is not of this utterance and says nothing.
    pub fn end(&mut self, key: TurnKey, took: Duration, now: Instant) -> bool {
        let is_current = key == self.key;
        if is_current {
            self.pace.end(took, now);
        }
        is_current
    }

    /// A transcript up to sample `to` is asked for: the partial under way is stale.
    pub fn give_way(&mut self, to: u64) {
        self.pace.give_way(to);
        self.key.revision += 1;
    }

    /// Takes in what was heard of the utterance so far; gives what may be told of it.
    pub fn observe(&mut self, hypothesis: &str) -> Option<String> {
        self.agreement.observe(hypothesis)
    }

    /// What was told of the utterance under way.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// Words heard so far in the utterance under way, by the latest hypothesis.
    pub fn words_heard(&self) -> usize {
        self.agreement.heard_words()
    }

    /// The utterance is over, or void: what is still under way for it is stale. Gives what was told of it.
    pub fn finish(&mut self) -> Agreement {
        self.pace.next_utterance();
        self.key = TurnKey { turn: self.key.turn + 1, revision: 0 };
        std::mem::take(&mut self.agreement)
    }
}
