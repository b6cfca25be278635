//! espeak-ng's phonemes as Kokoro was taught them: the mapping of `misaki.espeak` 0.9, for English that of its
//! `EspeakFallback`, for the others that of `EspeakG2P`. Pure.
//!
//! Two things differ, where that mapping, made for single words, slips on whole clauses: the r that links two words is
//! not doubled, and British `eə` is mapped before `e` is.

use super::styles::Language;

/// Longer ones first.
const ENGLISH: &[(&str, &str)] = &[
    ("ʔˌn\u{329}", "ʔn"),
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("d^ʒ", "ʤ"),
    ("e^ɪ", "A"),
    ("t^ʃ", "ʧ"),
    ("ɔ^ɪ", "Y"),
    ("ə^l", "ᵊl"),
    ("ʔn\u{329}", "ʔn"),
    ("ʲo", "jo"),
    ("ʲə", "jə"),
    ("e", "A"),
    ("ʲ", ""),
    ("ɚ", "əɹ"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ç", "k"),
    ("ɐ", "ə"),
    ("ɬ", "l"),
    ("\u{303}", ""),
];
const BRITISH: &[(&str, &str)] = &[("iə", "ɪə"), ("ə^ʊ", "Q")];
const AMERICAN: &[(&str, &str)] = &[("o^ʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪə", "iə"), ("ː", "")];
/// As espeak-ng before 1.52 writes it, and the taps and stops of v1.
const LAST: &[(&str, &str)] = &[("o", "ɔ"), ("ɾ", "T"), ("ʔ", "t"), ("ɹɹ", "ɹ"), ("^", "")];
const OTHERS: &[(&str, &str)] = &[
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("d^z", "ʣ"),
    ("d^ʒ", "ʤ"),
    ("e^ɪ", "A"),
    ("o^ʊ", "O"),
    ("s^s", "S"),
    ("t^s", "ʦ"),
    ("t^ʃ", "ʧ"),
    ("ɔ^ɪ", "Y"),
    ("ə^ʊ", "Q"),
    ("^", ""),
    ("-", ""),
];

/// A group of phonemes as Kokoro takes it.
pub(super) fn sounds(group: &str, language: Language) -> String {
    match language {
        Language::British => {
            let long = group.replace("e^ə", "ɛː");
            replace(&syllabic(&replace(&long, ENGLISH)), &[BRITISH, LAST].concat())
        }
        Language::American => replace(&syllabic(&replace(group, ENGLISH)), &[AMERICAN, LAST].concat()),
        _ => replace(group, OTHERS),
    }
}

fn replace(text: &str, table: &[(&str, &str)]) -> String {
    table.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}

/// A consonant that is a syllable of its own has a schwa before it.
fn syllabic(text: &str) -> String {
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    for c in text.chars() {
        match (c, out.last().copied()) {
            ('\u{329}', Some(last)) => {
                out.pop();
                out.extend(['ᵊ', last]);
            }
            ('\u{329}', None) => {}
            (c, _) => out.push(c),
        }
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_mapped_as_misaki_maps_words() {
        let table = [
            (Language::American, "t^ʃˈe^ɪnd^ʒd", "ʧˈAnʤd"),
            (Language::American, "həlˈo^ʊ", "həlˈO"),
            (Language::American, "bˈʌʔn\u{329}", "bˈʌtn"),
            (Language::American, "lˈɪɾəl\u{329}", "lˈɪTəᵊl"),
            (Language::American, "nˈʌmbɚɹ", "nˈʌmbəɹ"),
            (Language::American, "bˈɜːd", "bˈɜɹd"),
            (Language::British, "həlˈə^ʊ", "həlˈQ"),
            (Language::British, "ðˈe^ə", "ðˈɛː"),
            (Language::Spanish, "mˈut^ʃo", "mˈuʧo"),
            (Language::French, "bɔ\u{303}ʒˈuʁ", "bɔ\u{303}ʒˈuʁ"),
        ];
        for (language, group, expected) in table {
            assert_eq!(sounds(group, language), expected, "{group}");
        }
    }
}
