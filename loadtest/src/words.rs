//! Text as words that can be compared: what was said against what was understood. Pure.

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// Lower-case words without punctuation and apostrophes; numbers in digits are spelled (`21` is `twenty one`), so
/// that a recogniser is not blamed for the spelling it prefers.
pub(crate) fn normalise(text: &str) -> Vec<String> {
    let plain: String = text.to_lowercase().chars().filter(|c| !matches!(c, '\'' | '’')).collect();
    plain.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).flat_map(spelled).collect()
}

/// Whether `phrase` stands in `words`, as whole words in order.
pub(crate) fn holds(words: &[String], phrase: &[String]) -> bool {
    !phrase.is_empty() && words.windows(phrase.len()).any(|window| window == phrase)
}

fn spelled(word: &str) -> Vec<String> {
    match word.parse::<u32>() {
        Ok(number) if number < 1_000_000 => spell(number).into_iter().map(str::to_owned).collect(),
        _ => vec![word.to_owned()],
    }
}

fn spell(number: u32) -> Vec<&'static str> {
    let part = |count: u32, name: &'static str| {
        let mut words = spell(count);
        words.push(name);
        words
    };
    let (mut words, rest) = match number {
        0..20 => return vec![ONES[number as usize]],
        20..100 => (vec![TENS[number as usize / 10]], number % 10),
        100..1_000 => (part(number / 100, "hundred"), number % 100),
        _ => (part(number / 1_000, "thousand"), number % 1_000),
    };
    if rest > 0 {
        words.extend(spell(rest));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_without_punctuation() {
        assert_eq!(
            normalise(" What's my name?  I’m ANNA - right…"),
            ["whats", "my", "name", "im", "anna", "right"]
        );
        assert!(normalise(" .,;! ").is_empty());
    }

    #[test]
    fn digits_are_spelled() {
        for (text, spelled) in [
            ("7", "seven"),
            ("12:05", "twelve five"),
            ("40", "forty"),
            ("21 3", "twenty one three"),
            ("999", "nine hundred ninety nine"),
            ("20,017", "twenty seventeen"),
            ("20017", "twenty thousand seventeen"),
            ("1000000", "1000000"),
        ] {
            assert_eq!(normalise(text).join(" "), spelled, "{text}");
        }
    }

    #[test]
    fn phrases_are_whole_words_in_order() {
        let words = normalise("You live in New York, not in Yorkshire.");
        for (phrase, found) in [("new york", true), ("york new", false), ("yorks", false), ("", false)] {
            assert_eq!(holds(&words, &normalise(phrase)), found, "{phrase}");
        }
    }
}
