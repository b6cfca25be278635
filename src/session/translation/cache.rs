//! Texts that were translated lately, bounded by the bytes they take. Pure: the one who holds it shares it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use super::desk::Source;

/// Translations that are remembered at most, however short they are.
pub const CACHE_CAPACITY: usize = 16_384;

/// Of an entry: both its structs and its place among the others.
const ENTRY_BYTES: usize = 160;

/// Translations, those that were used longest ago being forgotten first.
#[derive(Debug)]
pub struct TextCache {
    entries: LruCache<Source, Arc<str>>,
    bytes: usize,
}

impl Default for TextCache {
    fn default() -> Self {
        let capacity = NonZeroUsize::new(CACHE_CAPACITY).unwrap_or(NonZeroUsize::MIN);
        Self { entries: LruCache::new(capacity), bytes: 0 }
    }
}

impl TextCache {
    /// The translation of `source`, if it is remembered.
    pub fn get(&mut self, source: &Source) -> Option<Arc<str>> {
        self.entries.get(source).cloned()
    }

    /// Remembers a translation, and forgets others until at most `limit` bytes are held. What alone is larger is
    /// not remembered.
    pub fn insert(&mut self, source: Source, text: Arc<str>, limit: usize) {
        let size = size(&source, &text);
        if size > limit {
            return;
        }
        self.bytes += size;
        if let Some((old_source, old_text)) = self.entries.push(source, text) {
            self.bytes -= self::size(&old_source, &old_text);
        }
        while self.bytes > limit {
            let Some((source, text)) = self.entries.pop_lru() else { break };
            self.bytes -= self::size(&source, &text);
        }
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Translations held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn size(source: &Source, text: &str) -> usize {
    ENTRY_BYTES + source.instructions.len() + source.text.len() + text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(instructions: &str, text: &str) -> Source {
        Source { instructions: instructions.into(), text: text.into() }
    }

    #[test]
    fn the_same_text_for_another_language_is_another_entry() {
        let mut cache = TextCache::default();
        cache.insert(source("to Spanish", "Hello."), "Hola.".into(), 10_000);
        cache.insert(source("to German", "Hello."), "Hallo.".into(), 10_000);
        assert_eq!(cache.get(&source("to Spanish", "Hello.")).as_deref(), Some("Hola."));
        assert_eq!(cache.get(&source("to German", "Hello.")).as_deref(), Some("Hallo."));
        assert_eq!(cache.get(&source("to German", "Bye.")), None);
    }

    proptest! {
        /// Whatever is remembered and looked up: the bytes are those of the entries and never over the limit, and
        /// what was used last is there.
        #[test]
        fn bytes_are_bounded(
            steps in prop::collection::vec((0u8..12, 0usize..400, any::<bool>()), 1..80), limit in 0usize..3_000
        ) {
            let mut cache = TextCache::default();
            for (name, length, look) in steps {
                let key = source("to Spanish", &name.to_string());
                if look {
                    cache.get(&key);
                    continue;
                }
                let text: Arc<str> = "x".repeat(length).into();
                let fits = size(&key, &text) <= limit;
                cache.insert(key.clone(), Arc::clone(&text), limit);
                let held: usize = cache.entries.iter().map(|(source, text)| size(source, text)).sum();
                prop_assert_eq!(cache.bytes(), held);
                prop_assert!(cache.bytes() <= limit);
                if fits {
                    prop_assert_eq!(cache.get(&key), Some(text));
                }
            }
        }
    }
}
