//! Reads JSON into wire types without losing the path of what is wrong.
//!
//! serde's own tagged enums buffer their content and forget where they are, so enums picked by `type` or
//! `role` use [`Tagged`], which writes the inner path in front of the message (``at `text`: ...``).
//! [`from_value`] joins the pieces again and puts serde's message into words for a client's developer.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::error::{ErrorCode, ProtocolError};

/// Longest quotation of a client's value in an error message, in characters.
const MAX_QUOTED_CHARS: usize = 60;
/// How alike a name must be (Jaro-Winkler, 0 to 1) to be proposed as what was meant.
const MIN_SIMILARITY: f64 = 0.8;

/// Reads `T` out of a JSON value; `root` is the path of that value in the client's event.
pub fn from_value<T: DeserializeOwned>(value: &Value, root: &str) -> Result<T, ProtocolError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        explain(root, &path, &error.into_inner().to_string(), value)
    })
}

/// Reads `T` straight from text, for events too large to be held twice. The text is known to be JSON.
pub(super) fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, ProtocolError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(head, _)| head);
        explain("", &path, message, &Value::Null)
    })
}

/// Joins two pieces of a path; either may be empty.
pub(super) fn join(path: &str, field: &str) -> String {
    match (path.is_empty(), field.is_empty() || field.starts_with('[')) {
        (true, _) => field.to_owned(),
        (false, true) => format!("{path}{field}"),
        (false, false) => format!("{path}.{field}"),
    }
}

/// The candidate that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `text`, cut to a length fit for an error message.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// For `Option<Option<T>>`: an absent field is `None`, null is `Some(None)`. Use with `default`.
pub(super) fn double_option<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// For a field that holds a struct: refuses the array that serde would take in its place.
pub(super) fn object<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Object::deserialize(deserializer).map(|Object(body)| body)
}

/// As [`object`], for an optional field. Use with `default`.
pub(super) fn optional_object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<Object<T>>::deserialize(deserializer).map(|body| body.map(|Object(body)| body))
}

/// As [`object`] and [`double_option`] together. Use with `default`.
pub(super) fn double_option_object<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    optional_object(deserializer).map(Some)
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// An object whose field `tag` picks its shape.
pub(super) struct Tagged<E> {
    tag: &'static str,
    /// The value of the tag.
    pub(super) name: String,
    body: Map<String, Value>,
    error: PhantomData<E>,
}

impl<E: serde::de::Error> Tagged<E> {
    /// Reads the object and its tag.
    pub(super) fn read<'de, D>(deserializer: D, tag: &'static str) -> Result<Self, E>
    where
        D: Deserializer<'de, Error = E>,
    {
        let body = match Value::deserialize(deserializer)? {
            Value::Object(body) => body,
            other => return Err(E::invalid_type(unexpected(&other), &"an object")),
        };
        match body.get(tag) {
            Some(Value::String(name)) => Ok(Self { tag, name: name.clone(), body, error: PhantomData }),
            Some(other) => {
                let error = E::invalid_type(unexpected(other), &"a string");
                Err(E::custom(format!("at `{tag}`: {error}")))
            }
            None => Err(E::missing_field(tag)),
        }
    }

    /// The object as the shape that its tag picked.
    pub(super) fn body<T: DeserializeOwned>(self) -> Result<T, E> {
        serde_path_to_error::deserialize(Value::Object(self.body)).map_err(|error| {
            match error.path().to_string().as_str() {
                "." => E::custom(error.into_inner()),
                path => E::custom(format!("at `{path}`: {}", error.into_inner())),
            }
        })
    }

    /// The tag is none of `expected`.
    pub(super) fn unknown(&self, expected: &'static [&'static str]) -> E {
        let error = serde_json::Error::unknown_variant(&self.name, expected);
        E::custom(format!("at `{}`: {error}", self.tag))
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(_) => Unexpected::Other("number"),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

/// Turns serde's message, with the pieces of the path in front of it, into a client's error.
fn explain(root: &str, path: &str, message: &str, value: &Value) -> ProtocolError {
    let mut inner = if path == "." { String::new() } else { path.to_owned() };
    let mut message = message;
    while let Some((piece, rest)) = message.strip_prefix("at `").and_then(|rest| rest.split_once("`: ")) {
        inner = join(&inner, piece);
        message = rest;
    }
    if let Some(field) = quoted_after(message, "missing field `") {
        let param = join(root, &join(&inner, field));
        let message = format!("Missing required parameter: '{param}'.");
        return ProtocolError::at(param, ErrorCode::MISSING_REQUIRED_PARAMETER, message);
    }
    let (code, what) = describe(message, || find(value, &inner));
    let param = join(root, &inner);
    let message = if param.is_empty() { what } else { format!("Invalid '{param}': {what}") };
    ProtocolError::at(param, code, message)
}

/// The code and the words for one of serde's messages, without the field's name.
fn describe<'a>(message: &str, find: impl FnOnce() -> Option<&'a Value>) -> (ErrorCode, String) {
    if let Some(variant) = quoted_after(message, "unknown variant `") {
        return (ErrorCode::INVALID_VALUE, unknown_variant(variant, message));
    }
    if let Some((got, expected)) = got_and_expected(message, "invalid type: ") {
        return (ErrorCode::INVALID_TYPE, format!("expected {expected}, got {got}."));
    }
    for prefix in ["invalid value: ", "invalid length "] {
        if let Some((got, expected)) = got_and_expected(message, prefix) {
            return (ErrorCode::INVALID_VALUE, format!("expected {expected}, got {got}."));
        }
    }
    if message.starts_with("expected ") {
        let got = find().map(|value| format!(", got {}", shorten(&value.to_string()))).unwrap_or_default();
        return (ErrorCode::INVALID_VALUE, format!("{message}{got}."));
    }
    (ErrorCode::INVALID_VALUE, format!("{}.", shorten(message)))
}

fn unknown_variant(variant: &str, message: &str) -> String {
    let after = message.rsplit_once("`, expected ").map_or("", |(_, list)| list);
    let allowed: Vec<&str> = after.split('`').skip(1).step_by(2).collect();
    let hint = nearest(variant, allowed.iter().copied());
    let hint = hint.map(|name| format!(" Did you mean '{name}'?")).unwrap_or_default();
    let list = allowed.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    format!("unknown value '{}'.{hint} Supported values are: {list}.", shorten(variant))
}

fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    message.strip_prefix(prefix)?.split('`').next()
}

fn got_and_expected(message: &str, prefix: &str) -> Option<(String, String)> {
    let (got, expected) = message.strip_prefix(prefix)?.rsplit_once(", expected ")?;
    let expected = match expected {
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "i64" => "a whole number".to_owned(),
        "f64" | "f32" => "a number".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "an object".to_owned(),
        "string or map" => "a string".to_owned(),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other => other.to_owned(),
    };
    Some((shorten(&got.replace('`', "")), expected))
}

/// Looks a value up by path; keys that hold dots or brackets are not found.
fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let pointer = path.replace('[', ".").replace(']', "");
    pointer.split('.').filter(|step| !step.is_empty()).try_fold(value, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}
