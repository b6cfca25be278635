use proptest::prelude::*;

use super::*;

/// Reads `text` in pieces that end at `cuts` and joins what belongs together.
fn read(text: &str, cuts: &[usize]) -> Result<(String, Calls), String> {
    let mut answer = Answer::default();
    let mut parts = Vec::new();
    let mut begin = 0;
    for cut in cuts.iter().copied().filter(|cut| text.is_char_boundary(*cut)).chain([text.len()]) {
        if cut > begin {
            parts.extend(answer.push(&text[begin..cut])?);
            begin = cut;
        }
    }
    parts.extend(answer.finish()?);
    let (mut said, mut calls) = (String::new(), Vec::<(String, String)>::new());
    for part in parts {
        match part {
            Part::Text(text) => {
                assert!(!text.is_empty());
                said.push_str(&text);
            }
            Part::CallStart { index, name } => {
                assert_eq!(index, calls.len());
                calls.push((name, String::new()));
            }
            Part::CallArguments { index, delta } => calls[index].1.push_str(&delta),
        }
    }
    assert_eq!(answer.calls(), calls.len());
    Ok((said, calls))
}

fn call(name: &str, arguments: &str) -> (String, String) {
    (name.to_owned(), arguments.to_owned())
}

const WEATHER: &str = r#"{"city": "Oslo", "note": "a \"}\" <b>"}"#;

/// Name and arguments of each call.
type Calls = Vec<(String, String)>;

fn answers() -> Vec<(String, String, Calls)> {
    let weather = format!("<tool_call>\n{{\"name\": \"weather\", \"arguments\": {WEATHER}}}\n</tool_call>");
    let expected = call("weather", WEATHER);
    vec![
        ("Hello there.".into(), "Hello there.".into(), vec![]),
        (" \n Hi <b>you</b> < 3 \n".into(), "Hi <b>you</b> < 3".into(), vec![]),
        (weather.clone(), String::new(), vec![expected.clone()]),
        (
            format!("One moment. \n{weather}\n{weather} Done."),
            "One moment. Done.".into(),
            vec![expected.clone(), expected],
        ),
        ("<think>\nhm <tool</think>\n\nYes.".into(), "Yes.".into(), vec![]),
        (
            "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"x\"}</tool_call>".into(),
            String::new(),
            vec![call("x", "{\"a\":1}")],
        ),
        ("<tool_call>{\"name\":\"clock\"}</tool_call>".into(), String::new(), vec![call("clock", "{}")]),
        (
            "<tool_call>{\"name\":\"c\",\"parameters\":{}}</tool_call>".into(),
            String::new(),
            vec![call("c", "{}")],
        ),
        ("a <tool_cal".into(), "a <tool_cal".into(), vec![]),
    ]
}

#[test]
fn answers_are_read_whole() {
    for (text, said, calls) in answers() {
        assert_eq!(read(&text, &[]), Ok((said, calls)), "{text:?}");
    }
}

#[test]
fn broken_calls_are_errors() {
    let table = [
        ("<tool_call>not json</tool_call>", "not JSON"),
        ("<tool_call>{\"name\": \"x\", \"arguments\": {\"a\": }}</tool_call>", "not JSON"),
        ("<tool_call>{\"name\": \"x\", \"arguments\": \"text\"}</tool_call>", "not a JSON object"),
        ("<tool_call>{\"arguments\": {}}</tool_call>", "names no tool"),
        ("<tool_call>{\"name\": \"x\", \"arguments\": {}} and so on", "does not end"),
        ("<tool_call>{\"name\": \"x\", \"arguments\": {\"a\": 1", "broke off"),
        ("<tool_call>", "broke off"),
    ];
    for (text, expected) in table {
        let error = read(text, &[]).expect_err(text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let endless = format!("<tool_call>{}", "x".repeat(MAX_CALL_BYTES));
    assert!(read(&endless, &[]).expect_err("endless").contains("longer"));
}

#[test]
fn text_and_arguments_are_told_early() {
    let mut answer = Answer::default();
    assert_eq!(answer.push("Hello "), Ok(vec![Part::Text("Hello".into())]));
    assert_eq!(answer.push("there"), Ok(vec![Part::Text(" there".into())]));
    assert_eq!(answer.push("\n<tool_call>\n{\"name\": \"x\", \"arguments\": "), Ok(vec![]));
    let start = Part::CallStart { index: 0, name: "x".into() };
    let delta = Part::CallArguments { index: 0, delta: "{\"a\"".into() };
    assert_eq!(answer.push("{\"a\""), Ok(vec![start, delta]));
}

proptest! {
    #[test]
    fn any_cut_reads_the_same(which in 0usize..9, cuts in prop::collection::btree_set(0usize..260, 0..40)) {
        let (text, said, calls) = answers().swap_remove(which);
        let cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
        prop_assert_eq!(read(&text, &cuts), Ok((said, calls)));
    }

    #[test]
    fn any_text_is_survived(text in "(<tool_call>|</tool_call>|<think>|</think>|[{}\":,a\\\\ ]|\"name\"|\"arguments\"){0,30}") {
        drop(read(&text, &[3, 7, 20]));
    }
}
