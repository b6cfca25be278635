//! A language by its code.

/// A language that texts are translated into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(isolang::Language);

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
