//! What listeners say while somebody else speaks: "mm-hm", "okay". Pure.

use unicode_segmentation::UnicodeSegmentation;

use crate::session::completeness::is_wordless;

/// Stands for the built-in words in a list.
pub const DEFAULT: &str = "default";

/// Sounds and words by which a listener shows that it listens, in the languages of common recognisers. Left out is
/// what may as well be an answer or a wish: "no", "stop", "wait", "what".
const LISTENERS: [&str; 62] = [
    // English, and what recognisers write for sounds
    "aha",
    "ah",
    "alright",
    "cool",
    "great",
    "hm",
    "hmm",
    "huh",
    "i see",
    "mhm",
    "mm",
    "mm hm",
    "mmm",
    "mm hmm",
    "nice",
    "oh",
    "ok",
    "okay",
    "really",
    "right",
    "sure",
    "uh huh",
    "wow",
    "yeah",
    "yep",
    "yes",
    "yup",
    "all right",
    "got it",
    "interesting", // German
    "ach so",
    "genau",
    "ja",
    "mhmm",
    "na klar",
    "stimmt",
    "verstehe", // French
    "ah bon",
    "d'accord",
    "oui",
    "ouais",
    "voilà", // Spanish, Portuguese, Italian
    "ajá",
    "claro",
    "sí",
    "vale",
    "pois é",
    "sim",
    "tá",
    "certo",
    "già",
    "sì",
    "va bene", // Dutch, Nordic
    "jaja",
    "precies",
    "jo",
    "just det", // Japanese, Chinese, Korean
    "うん",
    "はい",
    "嗯",
    "好",
    "네",
];

/// Whether all of `text` is what a listener says, once or a few times over.
pub fn is_backchannel(text: &str, listeners: &[String]) -> bool {
    let said = words(text);
    if said.is_empty() || said.len() > 6 {
        return false;
    }
    let known = listeners.iter().flat_map(|listener| match listener.as_str() {
        DEFAULT => LISTENERS.to_vec(),
        own => vec![own],
    });
    let known: Vec<Vec<String>> = known.map(words).collect();
    let mut rest = &said[..];
    while !rest.is_empty() {
        let longest =
            known.iter().filter(|phrase| !phrase.is_empty() && rest.starts_with(phrase)).map(Vec::len).max();
        match longest {
            Some(length) => rest = &rest[length..],
            None => return false,
        }
    }
    true
}

/// Whether nothing was said: no word, or what recognisers write for a noise.
pub fn is_nothing(text: &str) -> bool {
    is_wordless(text)
}

fn words(text: &str) -> Vec<String> {
    text.unicode_words().map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_from_speakers() {
        let listeners = [DEFAULT.to_owned(), "roger that".to_owned()];
        for text in [
            "Okay.",
            "Mm-hm.",
            "Yeah, yeah.",
            "Oh, really?",
            "Ja, genau.",
            "はい",
            "I see.",
            "OK, sure.",
            "Roger that.",
        ] {
            assert!(is_backchannel(text, &listeners), "{text}");
        }
        for text in
            ["", "No.", "Okay, stop.", "Wait.", "Yes, tell me more.", "What?", "I see a dog.", "好的吗"]
        {
            assert!(!is_backchannel(text, &listeners), "{text}");
        }
        assert!(!is_backchannel("Okay.", &[]), "an empty list switches it off");
    }

    #[test]
    fn noises_are_nothing() {
        for text in ["", "  ", "...", "[BLANK_AUDIO]", "(coughs)", "♪"] {
            assert!(is_nothing(text), "{text}");
        }
        assert!(!is_nothing("Um.") && !is_nothing("[laughs] No."));
    }
}
