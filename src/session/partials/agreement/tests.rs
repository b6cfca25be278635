use proptest::prelude::*;

use super::*;

/// What is told for each hypothesis.
fn told(hypotheses: &[&str]) -> Vec<String> {
    let mut agreement = Agreement::default();
    hypotheses.iter().map(|hypothesis| agreement.observe(hypothesis).unwrap_or_default()).collect()
}

#[test]
fn words_are_told_when_two_hypotheses_in_a_row_hold_them() {
    for (hypotheses, expected) in [
        // The last word waits, and so does what was heard once.
        (vec!["My name", "My name is", "My name is Anna"], vec!["", "My name", " is"]),
        // Half a word at the end is not told, and what it becomes is.
        (vec!["I live in Os", "I live in Oslo", "I live in Oslo and"], vec!["", "I live in", " Oslo"]),
        // A word that changes waits until it stays.
        (vec!["a cat sat", "a hat sat on", "a hat sat on the"], vec!["", "a", " hat sat on"]),
        // Punctuation waits for the word behind it.
        (
            vec!["I like tea. And", "I like tea and coffee", "I like tea and coffee too"],
            vec!["", "I like tea", " and coffee"],
        ),
        // Another spelling of what was told changes nothing.
        (
            vec!["my name", "my name is", "My name is Anna", "My name is Anna now"],
            vec!["", "my name", " is", " Anna"],
        ),
        // A hypothesis of something else is passed over; the two after it must agree anew.
        (
            vec!["one two three", "one two three", "", "one two three four", "one two three four five"],
            vec!["", "one two", "", "", " three four"],
        ),
        // Signs without spaces go one by one.
        (vec!["我叫", "我叫安", "我叫安娜"], vec!["", "我叫", "安"]),
        (vec!["", "", ""], vec!["", "", ""]),
    ] {
        assert_eq!(told(&hypotheses), expected, "{hypotheses:?}");
    }
}

#[test]
fn a_hypothesis_with_a_word_more_or_less_keeps_its_place() {
    let hypotheses =
        ["the red house", "the red house is", "the house is old and", "the house is old and cold now"];
    assert_eq!(told(&hypotheses), ["", "the red house", " is", " old and"]);
}

fn settled(hypotheses: &[&str], transcript: &str) -> (String, String, usize) {
    let mut agreement = Agreement::default();
    hypotheses.iter().for_each(|hypothesis| drop(agreement.observe(hypothesis)));
    let Settled { told, rest, contradicted, .. } = agreement.settle(transcript);
    (told, rest, contradicted)
}

#[test]
fn the_final_transcript_is_told_behind_what_was_told() {
    let name = ["My name is", "My name is"];
    for (hypotheses, transcript, told, rest, contradicted) in [
        (&[][..], " My name is Anna. ", "My name is Anna.", "My name is Anna.", 0),
        (&name[..], "My name is Anna.", "My name is Anna.", " is Anna.", 0),
        (&name, "my name, is Anna.", "My name, is Anna.", ", is Anna.", 0),
        (&name, "My name.", "My name.", ".", 0),
        (&name, "My fame is Anna.", "My name is Anna.", " is Anna.", 1),
        (&name, "Hello.", "My name.", ".", 2),
        (&name, "", "My name", "", 2),
        (&["我叫安", "我叫安娜"], "我叫安娜。", "我叫安娜。", "娜。", 0),
    ] {
        let expected = (told.to_owned(), rest.to_owned(), contradicted);
        assert_eq!(settled(hypotheses, transcript), expected, "{hypotheses:?} then {transcript:?}");
    }
}

fn words() -> impl Strategy<Value = Vec<String>> {
    let word = prop_oneof!["[a-c]{1,2}", "[A-C][a-c]", "我|叫|安|娜", "[a-c]{1,2}[.,]", "é|I'm|٣"];
    prop::collection::vec(word, 0..12)
}

proptest! {
    /// Whatever is heard: what was told is never taken back, and in the end the pieces are the whole.
    #[test]
    fn deltas_only_append(hypotheses in prop::collection::vec(words(), 0..8), last in words()) {
        let mut agreement = Agreement::default();
        let mut sent = String::new();
        for hypothesis in &hypotheses {
            sent.extend(agreement.observe(&hypothesis.join(" ")));
            prop_assert_eq!(agreement.sent(), &sent);
        }
        let settled = agreement.settle(&last.join(" "));
        prop_assert_eq!(sent + &settled.rest, settled.told);
        prop_assert!(settled.contradicted <= agreement.sent_words().max(1) * 2);
    }

    /// Where each hypothesis is right but for its last word, what is told is right, and the transcript whole.
    #[test]
    fn of_one_text_nothing_wrong_is_told(
        text in words(), cuts in prop::collection::vec((0usize..12, "[a-c]{0,2}"), 0..8)
    ) {
        let whole = text.join(" ");
        let mut cuts = cuts;
        cuts.sort();
        let mut agreement = Agreement::default();
        for (words, half) in cuts {
            let mut hypothesis = text[..words.min(text.len())].to_vec();
            hypothesis.push(half);
            drop(agreement.observe(&hypothesis.join(" ")));
            prop_assert!(whole.starts_with(agreement.sent()), "{:?} of {:?}", agreement.sent(), whole);
        }
        let settled = agreement.settle(&whole);
        prop_assert_eq!((settled.told.as_str(), settled.contradicted), (whole.as_str(), 0));
    }
}
