//! How long phonemes usually last, for voices whose graphs do not tell. Pure.

use crate::backend::espeak::words::{nominal_ms, nominal_ms_by_letters};

/// Milliseconds of the phoneme whose characters are `group[at]` and what modifies it; 0 for what is no sound itself.
pub(in crate::backend) fn phoneme_ms(c: char, is_stressed: bool) -> u32 {
    let text: String = if is_stressed { ['ˈ', c].iter().collect() } else { c.to_string() };
    match c {
        'ˈ' | 'ˌ' | ' ' | '^' => 0,
        // Half of a vowel as long again.
        'ː' => 60,
        c if c.is_alphabetic() => nominal_ms(&text),
        _ => 0,
    }
}

/// Milliseconds of a written word.
pub(in crate::backend) fn letters_ms(word: &str) -> u32 {
    // A digit is said as a word of its own.
    let digits = word.chars().filter(char::is_ascii_digit).count();
    nominal_ms_by_letters(word) + 260 * u32::try_from(digits).unwrap_or(u32::MAX >> 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounds_last_and_marks_do_not() {
        assert!(phoneme_ms('a', true) > phoneme_ms('a', false));
        assert!(phoneme_ms('s', false) > 0 && phoneme_ms('ʧ', false) > 0);
        assert_eq!(
            ["ˈ", " ", ",", "\u{303}"].map(|c| phoneme_ms(c.chars().next().expect("one"), false)),
            [0; 4]
        );
        assert!(letters_ms("120") > letters_ms("one"));
    }
}
