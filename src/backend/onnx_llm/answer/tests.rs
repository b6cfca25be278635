use proptest::prelude::*;

use super::*;

/// Reads `text` in pieces that end at `cuts` and joins what belongs together.
fn read(text: &str, cuts: &[usize]) -> Result<(String, Calls), String> {
    read_by(Answer::new(CallForm::Tagged, false), text, cuts)
}

fn read_by(mut answer: Answer, text: &str, cuts: &[usize]) -> Result<(String, Calls), String> {
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
        (
            "<tool_call>[{\"name\": \"a\", \"arguments\": {\"x\": [1]}}, {\"name\": \"b\", \"arguments\": {}}]</tool_call>"
                .into(),
            String::new(),
            vec![call("a", "{\"x\": [1]}"), call("b", "{}")],
        ),
        (
            "<tool_call>[{\"name\": \"a\", \"arguments\": {}},\n{\"arguments\": {}, \"name\": \"b\"}]</tool_call> ok".into(),
            "ok".into(),
            vec![call("a", "{}"), call("b", "{}")],
        ),
        ("<tool_call>\n[]\n</tool_call>".into(), String::new(), vec![]),
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
    let mut answer = Answer::new(CallForm::Tagged, false);
    assert_eq!(answer.push("Hello "), Ok(vec![Part::Text("Hello".into())]));
    assert_eq!(answer.push("there"), Ok(vec![Part::Text(" there".into())]));
    assert_eq!(answer.push("\n<tool_call>\n{\"name\": \"x\", \"arguments\": "), Ok(vec![]));
    let start = Part::CallStart { index: 0, name: "x".into() };
    let delta = Part::CallArguments { index: 0, delta: "{\"a\"".into() };
    assert_eq!(answer.push("{\"a\""), Ok(vec![start, delta]));
}

proptest! {
    #[test]
    fn any_cut_reads_the_same(which in 0usize..12, cuts in prop::collection::btree_set(0usize..260, 0..40)) {
        let (text, said, calls) = answers().swap_remove(which);
        let cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
        prop_assert_eq!(read(&text, &cuts), Ok((said, calls)));
    }

    #[test]
    fn any_text_is_survived(text in "(<tool_call>|</tool_call>|<think>|</think>|[{}\":,a\\\\ ]|\"name\"|\"arguments\"){0,30}") {
        drop(read(&text, &[3, 7, 20]));
    }
}

/// What Llama 3 writes.
fn bare_answers() -> Vec<(String, String, Calls)> {
    let weather = format!("{{\"name\": \"weather\", \"parameters\": {WEATHER}}}");
    let expected = call("weather", WEATHER);
    vec![
        ("Hello {you}.".into(), "Hello {you}.".into(), vec![]),
        (weather.clone(), String::new(), vec![expected.clone()]),
        (format!(" \n<|python_tag|>{weather}\n"), String::new(), vec![expected.clone()]),
        (format!("{weather}; {weather}"), String::new(), vec![expected.clone(), expected.clone()]),
        (format!("{{\"type\": \"function\", {}", &weather[1..]), String::new(), vec![expected]),
        ("{\"parameters\": {\"a\": 1}, \"name\": \"x\"}".into(), String::new(), vec![call("x", "{\"a\":1}")]),
        ("{\"name\": \"clock\"}".into(), String::new(), vec![call("clock", "{}")]),
        ("I say <tool_call> aloud.".into(), "I say <tool_call> aloud.".into(), vec![]),
    ]
}

#[test]
fn bare_calls_are_read_and_broken_ones_are_errors() {
    let bare = || Answer::new(CallForm::Bare, false);
    for (text, said, calls) in bare_answers() {
        assert_eq!(read_by(bare(), &text, &[]), Ok((said, calls)), "{text:?}");
    }
    let table = [
        ("{not json}", "not JSON"),
        ("{\"name\": \"x\", \"parameters\": \"text\"}", "not a JSON object"),
        ("{\"city\": \"Oslo\"}", "names no tool"),
        ("{\"name\": \"x\", \"parameters\": {}} and so on", "does not end"),
        ("{\"name\": \"x\", \"parameters\": {\"a\": 1", "broke off"),
        ("{\"name\": \"x\", \"parameters\": {\"a\": 1}", "broke off"),
    ];
    for (text, expected) in table {
        let error = read_by(bare(), text, &[]).expect_err(text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn a_thought_that_the_prompt_began_is_not_said() {
    let thinking = || Answer::new(CallForm::Tagged, true);
    let told = read_by(thinking(), "He greets me.\n</think>\n\nHello!", &[5, 17]);
    assert_eq!(told, Ok(("Hello!".into(), vec![])));
    assert_eq!(read_by(thinking(), "He greets", &[]), Ok((String::new(), vec![])));
}

#[test]
fn a_call_that_must_be_made_is_begun_as_it_is_read() {
    for form in [CallForm::Tagged, CallForm::Bare] {
        let ends = ["{\"a\": 1}}", "</tool_call>"];
        let end = if form == CallForm::Bare { ends[0].to_owned() } else { ends.concat() };
        let text = form.begin(Some("x")) + &end;
        assert_eq!(
            read_by(Answer::new(form, false), &text, &[]),
            Ok((String::new(), vec![call("x", "{\"a\": 1}")]))
        );
        assert!(text.starts_with(&form.begin(None)));
    }
}

proptest! {
    #[test]
    fn any_cut_of_a_bare_call_reads_the_same(
        which in 0usize..8, cuts in prop::collection::btree_set(0usize..200, 0..40),
    ) {
        let (text, said, calls) = bare_answers().swap_remove(which);
        let cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
        prop_assert_eq!(read_by(Answer::new(CallForm::Bare, false), &text, &cuts), Ok((said, calls)));
    }
}
