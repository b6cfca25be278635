//! What the model has read lately, kept for the next turn: a talk's prompt begins as it did the turn before, so only
//! what is new must be read. Knows tokens and sizes, no graph.
//!
//! What is kept is found by its tokens alone, so it gives what reading them again would give, to whoever asks.

use std::collections::VecDeque;

/// Fewer tokens than this are read again sooner than they are found and copied.
const WORTH_IT: usize = 16;

/// What a model remembers of tokens.
pub(super) trait Remembered: Sized {
    /// Its size.
    fn bytes(&self) -> usize;
}

/// Recent caches, bounded by their bytes; the one that was not used for longest goes first.
#[derive(Debug)]
pub(super) struct PrefixCache<C> {
    entries: VecDeque<Entry<C>>,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Entry<C> {
    tokens: Vec<i64>,
    cache: C,
}

impl<C: Remembered> PrefixCache<C> {
    /// Keeps at most `limit` bytes; 0 keeps nothing.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, limit }
    }

    /// The longest beginning of `prompt` that was read before, and how long it is: short of the whole, as the last
    /// token must be read for what follows it. `first` copies what is remembered of the first tokens; `None` where that
    /// cannot be had.
    pub(super) fn take(
        &mut self,
        prompt: &[i64],
        first: impl FnOnce(&C, usize) -> Option<C>,
    ) -> Option<(C, usize)> {
        let most = prompt.len().saturating_sub(1);
        let common = |entry: &Entry<C>| {
            let pairs = entry.tokens.iter().zip(&prompt[..most]);
            pairs.take_while(|(kept, asked)| kept == asked).count()
        };
        let entries = self.entries.iter().enumerate();
        // Of equals the latest: it is the likeliest to be the same talk.
        let (at, tokens) =
            entries.map(|(at, entry)| (at, common(entry))).max_by_key(|(_, common)| *common)?;
        if tokens < WORTH_IT {
            return None;
        }
        let entry = self.entries.remove(at)?;
        if entry.tokens.len() == tokens {
            self.bytes -= entry.cache.bytes();
            return Some((entry.cache, tokens)); // it goes on from there
        }
        let copy = first(&entry.cache, tokens);
        self.entries.push_back(entry); // it may be another's, or the same talk's from before an interruption
        Some((copy?, tokens))
    }

    /// Whether what remembers `tokens` is worth keeping.
    pub(super) fn keeps(&self, tokens: &[i64]) -> bool {
        self.limit > 0 && tokens.len() >= WORTH_IT
    }

    /// Keeps what remembers `tokens`, in place of what remembered less of them.
    pub(super) fn put(&mut self, tokens: Vec<i64>, cache: C) {
        if !self.keeps(&tokens) {
            return;
        }
        self.retain(|entry| !tokens.starts_with(&entry.tokens));
        self.bytes += cache.bytes();
        self.entries.push_back(Entry { tokens, cache });
        while self.bytes > self.limit
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.cache.bytes();
        }
    }

    fn retain(&mut self, keep: impl Fn(&Entry<C>) -> bool) {
        self.entries.retain(keep);
        self.bytes = self.entries.iter().map(|entry| entry.cache.bytes()).sum();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Remembers tokens by holding them; a byte each.
    #[derive(Clone, Debug, PartialEq)]
    struct Held(Vec<i64>);

    impl Remembered for Held {
        fn bytes(&self) -> usize {
            self.0.len()
        }
    }

    fn take(cache: &mut PrefixCache<Held>, prompt: &[i64]) -> Option<(Held, usize)> {
        cache.take(prompt, |held, tokens| Some(Held(held.0[..tokens].to_vec())))
    }

    fn put(cache: &mut PrefixCache<Held>, tokens: &[i64]) {
        cache.put(tokens.to_vec(), Held(tokens.to_vec()));
    }

    fn talk(of: i64, length: i64) -> Vec<i64> {
        (0..20).chain((20..length).map(|token| of * 1_000 + token)).collect()
    }

    #[test]
    fn a_talk_goes_on_from_where_it_was() {
        let mut cache = PrefixCache::new(1_000);
        put(&mut cache, &talk(1, 40));
        put(&mut cache, &talk(2, 60));
        let (held, tokens) = take(&mut cache, &talk(1, 50)).expect("its own");
        assert_eq!((held.0, tokens), (talk(1, 40), 40));
        assert_eq!(
            take(&mut cache, &talk(1, 50)).map(|(_, tokens)| tokens),
            Some(20),
            "what all talks begin with"
        );
        assert_eq!(
            take(&mut cache, &talk(2, 61)).map(|(_, tokens)| tokens),
            Some(60),
            "and the other is still there"
        );
    }

    #[test]
    fn the_last_token_is_always_left_to_read() {
        let mut cache = PrefixCache::new(1_000);
        put(&mut cache, &talk(1, 40));
        assert_eq!(
            take(&mut cache, &talk(1, 40)).map(|(held, tokens)| (held.0.len(), tokens)),
            Some((39, 39))
        );
        assert_eq!(take(&mut cache, &[]), None);
    }

    #[test]
    fn an_interrupted_answer_is_cut_where_the_talks_part() {
        let mut cache = PrefixCache::new(1_000);
        put(&mut cache, &talk(1, 40));
        let mut cut = talk(1, 30);
        cut.extend([7, 8, 9]);
        assert_eq!(take(&mut cache, &cut).map(|(held, _)| held.0), Some(talk(1, 30)));
    }

    #[test]
    fn what_is_short_or_shorter_is_not_kept() {
        let mut cache = PrefixCache::new(1_000);
        put(&mut cache, &talk(1, 10));
        put(&mut cache, &talk(1, 30));
        put(&mut cache, &talk(1, 40));
        assert_eq!((cache.entries.len(), cache.bytes), (1, 40));
        let mut none = PrefixCache::new(0);
        put(&mut none, &talk(1, 40));
        assert!(none.entries.is_empty() && !none.keeps(&talk(1, 40)) && cache.keeps(&talk(1, 16)));
    }

    proptest! {
        #[test]
        fn what_is_given_is_a_beginning_and_memory_is_bounded(
            talks in prop::collection::vec((0_i64..4, 0_i64..80, any::<bool>()), 0..60),
        ) {
            let mut cache: PrefixCache<Held> = PrefixCache::new(150);
            for (of, length, asks) in talks {
                let tokens = talk(of, length);
                if asks {
                    if let Some((held, count)) = take(&mut cache, &tokens) {
                        prop_assert_eq!(&held.0[..], &tokens[..count]);
                        prop_assert!(count < tokens.len());
                    }
                } else {
                    put(&mut cache, &tokens);
                }
                let bytes: usize = cache.entries.iter().map(|entry| entry.cache.bytes()).sum();
                prop_assert_eq!(bytes, cache.bytes);
                prop_assert!(bytes <= 150);
            }
        }
    }
}
