//! What is said, in other languages: for sessions that transcribe and ask for it.
//!
//! [`TranslationDesk`] translates for all sessions together; [`Translator`] is one session's way to it. What is
//! asked for and told when is up to the session's task; [`InOrder`] and [`Newest`] are its pure parts.

mod cache;
mod config;
mod desk;
mod language;
mod newest;
mod order;
mod translator;

pub use cache::{CACHE_CAPACITY, TextCache};
pub use config::TranslationConfig;
pub use desk::{Source, Terms, TranslationDesk};
pub use language::Language;
pub use newest::Newest;
pub use order::InOrder;
pub use translator::{
    TRANSLATIONS_CAPACITY, TranslationEvent, TranslationJob, TranslationRequest, Translator,
};

use super::error::SessionError;
use super::id::ItemId;

/// What a session tells of the translation of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct TranslationNotice {
    /// The turn's item.
    pub item: ItemId,
    /// Into which language.
    pub language: Language,
    /// What is told.
    pub translation: Translation,
}

/// A translation, or that there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Translation {
    /// Of the words that are sure so far; takes the place of the one before it.
    Partial {
        /// Counts the texts of this item that were translated, from 1.
        revision: u32,
        /// The words.
        source: String,
        /// Their translation.
        text: String,
    },
    /// Of the whole.
    Completed {
        /// The transcript.
        source: String,
        /// Its translation.
        text: String,
    },
    /// The whole could not be translated.
    Failed(SessionError),
}
