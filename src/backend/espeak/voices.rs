//! Which voices there are: OpenAI's names, mapped, and espeak-ng's own. Pure.

use std::collections::BTreeSet;

/// OpenAI's voice names (Realtime and speech APIs, 2026) and the espeak-ng variant that stands in for each:
/// high-pitched ones for voices that sound female, low ones for the others. The first is OpenAI's default.
const OPENAI_VOICES: [(&str, &str); 13] = [
    ("alloy", "f2"),
    ("ash", "m3"),
    ("ballad", "m7"),
    ("cedar", "m1"),
    ("coral", "f3"),
    ("echo", "m2"),
    ("fable", "m4"),
    ("marin", "f1"),
    ("nova", "f4"),
    ("onyx", "m5"),
    ("sage", "f5"),
    ("shimmer", "linda"),
    ("verse", "m6"),
];

/// The voices that can be asked for.
#[derive(Debug)]
pub(super) struct Voices {
    language: String,
    languages: BTreeSet<String>,
    variants: BTreeSet<String>,
}

impl Voices {
    /// From what `espeak-ng --voices` and `espeak-ng --voices=variant` print.
    pub(super) fn new(language: &str, languages: &str, variants: &str) -> Self {
        let languages = rows(languages).filter(|row| !row.file.starts_with("mb/"));
        let variants = rows(variants).filter_map(|row| row.file.strip_prefix("!v/"));
        Self {
            language: language.to_owned(),
            languages: languages.map(|row| row.language.to_owned()).collect(),
            variants: variants.map(str::to_owned).collect(),
        }
    }

    pub(super) fn speaks(&self, language: &str) -> bool {
        self.languages.contains(language)
    }

    /// OpenAI's names, then the languages; any of these may also be asked for as `language+variant`.
    pub(super) fn names(&self) -> Vec<String> {
        let openai = OPENAI_VOICES.iter().map(|(name, _)| (*name).to_owned());
        openai.chain(self.languages.iter().cloned()).collect()
    }

    /// The languages without their regions: `en` for `en-us` and `en-gb`.
    pub(super) fn language_codes(&self) -> Vec<String> {
        let code = |language: &String| language.split('-').next().unwrap_or(language).to_owned();
        let codes: BTreeSet<String> = self.languages.iter().map(code).collect();
        codes.into_iter().collect()
    }

    /// What to tell espeak-ng for the voice `name`. Only what it listed itself is passed on.
    pub(super) fn resolve(&self, name: &str) -> String {
        let (language, variant) = name.split_once('+').map_or((name, None), |(l, v)| (l, Some(v)));
        if self.speaks(language) && variant.is_none_or(|variant| self.variants.contains(variant)) {
            return name.to_owned();
        }
        let known = OPENAI_VOICES.iter().find(|(openai, _)| openai.eq_ignore_ascii_case(name));
        let (_, variant) = known.unwrap_or(&OPENAI_VOICES[0]);
        match self.variants.contains(*variant) {
            true => format!("{}+{variant}", self.language),
            false => self.language.clone(),
        }
    }
}

struct Row<'a> {
    language: &'a str,
    file: &'a str,
}

/// Rows of the table: priority, language, age and sex, name, file, other languages.
fn rows(table: &str) -> impl Iterator<Item = Row<'_>> {
    table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        let language = columns.nth(1)?;
        let file = columns.nth(2)?;
        Some(Row { language, file })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANGUAGES: &str =
        "Pty Language       Age/Gender VoiceName          File                 Other Languages
 2  en-us           --/M      English_(America)  gmw/en-US            (en 3)
 5  de              --/M      German             gmw/de
 5  es              --/M      mexican-mbrola-1   mb/mb-mx1
";
    const VARIANTS: &str =
        "Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  variant         --/F      female2            !v/f2
 5  variant         --/M      male1              !v/m1
";

    #[test]
    fn names_resolve_to_what_espeak_lists() {
        let voices = Voices::new("en-us", LANGUAGES, VARIANTS);
        let table = [
            ("alloy", "en-us+f2"),
            ("Cedar", "en-us+m1"),
            ("onyx", "en-us"),
            ("de", "de"),
            ("de+m1", "de+m1"),
            ("de+../../etc/passwd", "en-us+f2"),
            ("es", "en-us+f2"),
            ("-w/tmp/x", "en-us+f2"),
            ("", "en-us+f2"),
        ];
        for (name, expected) in table {
            assert_eq!(voices.resolve(name), expected, "{name:?}");
        }
        assert_eq!(voices.names().first().map(String::as_str), Some("alloy"));
        assert!(voices.names().contains(&"de".to_owned()));
        assert!(!voices.speaks("es"));
        assert_eq!(voices.language_codes(), ["de", "en"]);
        let names = OPENAI_VOICES.map(|(name, _)| name);
        assert_eq!(names, crate::engine::tts::OPENAI_VOICES, "each has a voice here");
    }
}
