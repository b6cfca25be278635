//! A language by its code.

use serde::{Deserialize, Serialize};

/// A language that texts are translated into. Written as its code.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "&'static str")]
pub struct Language(isolang::Language);

impl From<Language> for &'static str {
    fn from(language: Language) -> Self {
        language.code()
    }
}

impl TryFrom<String> for Language {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        Self::from_code(&code).ok_or_else(|| format!("`{code}` is no ISO 639-1 code"))
    }
}

impl Language {
    /// The language of an ISO 639-1 code (`es`); `None` if there is none.
    pub fn from_code(code: &str) -> Option<Self> {
        isolang::Language::from_639_1(code).map(Self)
    }

    /// Its ISO 639-1 code.
    pub fn code(self) -> &'static str {
        self.0.to_639_1().unwrap_or_default()
    }

    /// Its name in English, without what lists add in brackets.
    pub fn name(self) -> &'static str {
        let name = self.0.to_name();
        name.split_once(" (").map_or(name, |(name, _)| name)
    }
}
