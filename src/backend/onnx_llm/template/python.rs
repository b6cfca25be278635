//! Values as Python prints them: templates are written for Jinja in Python, and models were trained on what it makes.
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, Output, State, escape_formatter};

/// What `{{ value }}` prints.
pub(super) fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Bool | ValueKind::None | ValueKind::Map | ValueKind::Seq => {
            out.write_str(&repr(value)).map_err(Error::from)
        }
        _ => escape_formatter(out, state, value),
    }
}

/// `value | string`.
pub(super) fn string(value: &Value) -> Value {
    match value.kind() {
        ValueKind::String => value.clone(),
        _ => Value::from(repr(value)),
    }
}

/// `repr(value)` in Python.
fn repr(value: &Value) -> String {
    let items = |value: &Value| value.try_iter().into_iter().flatten().collect::<Vec<Value>>();
    match value.kind() {
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq => format!("[{}]", items(value).iter().map(repr).collect::<Vec<_>>().join(", ")),
        ValueKind::Map => {
            let pair =
                |key: &Value| format!("{}: {}", repr(key), repr(&value.get_item(key).unwrap_or_default()));
            format!("{{{}}}", items(value).iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        _ => value.to_string(),
    }
}

/// Python takes double quotes only where the text has single ones and no double ones.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_read_as_in_python() {
        let table = [
            (json!(null), "None"),
            (json!(true), "True"),
            (json!("a"), "a"),
            (json!(["it's", "a \"b\" 'c'", 1, 2.5]), r#"["it's", 'a "b" \'c\'', 1, 2.5]"#),
            (json!({ "b": { "x": null }, "a": "1\n\\" }), r"{'b': {'x': None}, 'a': '1\n\\'}"),
        ];
        for (value, expected) in table {
            assert_eq!(
                string(&Value::from(minijinja::value::Serde(&value))).as_str(),
                Some(expected),
                "{value}"
            );
        }
    }
}
