//! serde's view of the tree: hands out values with the type that is wanted, and remembers which one failed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{self, Display};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::tree::{Node, Value};

/// A value that failed, and why.
pub(super) type Failure = (Node, Error);

/// Reads the whole tree once. Returns the value and what no struct knows, or the innermost value that failed.
pub(super) fn read<T: DeserializeOwned>(tree: &Node) -> Result<(T, Vec<Failure>), Box<Failure>> {
    let log = RefCell::new(Log::default());
    let outcome = T::deserialize(Reader { node: tree, log: &log });
    let log = log.into_inner();
    match outcome {
        Ok(value) => Ok((value, log.unknown)),
        Err(error) => Err(Box::new(log.failure.unwrap_or_else(|| (tree.clone(), error)))),
    }
}

/// What one try has found.
#[derive(Default)]
struct Log {
    unknown: Vec<Failure>,
    /// The innermost value that failed.
    failure: Option<Failure>,
}

/// Why a value is not what is wanted.
#[derive(Clone, Debug)]
pub(super) enum Error {
    /// What the type itself said.
    Message(String),
    /// What was expected.
    WrongType(String),
    Missing(&'static str),
    /// The word, and the words there are.
    NoSuchChoice(String, &'static [&'static str]),
    /// The key, and the keys there are.
    NoSuchField(String, &'static [&'static str]),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::Message(message.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::WrongType(expected.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::WrongType(expected.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::NoSuchChoice(variant.to_owned(), expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::NoSuchField(field.to_owned(), expected)
    }
}

/// serde's view of one node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    log: &'a RefCell<Log>,
}

impl<'a> Reader<'a> {
    /// Reads the node with `seed`. Remembers it as the one that failed, unless one within it did: here, not
    /// in the methods below, because serde may take a value whole and reject it later.
    fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let outcome = seed.deserialize(self);
        if let Err(error) = &outcome {
            self.log.borrow_mut().failure.get_or_insert_with(|| (self.node.clone(), error.clone()));
        }
        outcome
    }

    fn items(self, nodes: &'a [Node]) -> Items<'a> {
        Items { nodes: nodes.iter(), log: self.log }
    }

    fn entries(self) -> Entries<'a> {
        let Value::Table(entries) = &self.node.value else { return Entries::default() };
        let readers = entries.iter().map(|(name, node)| (name.as_str(), Reader { node, ..self }));
        Entries { left: readers.collect(), value: None }
    }

    /// The entries that a struct with `fields` knows; the others are reported.
    fn known_entries(self, fields: &'static [&'static str]) -> Entries<'a> {
        let (known, unknown): (Vec<_>, Vec<_>) =
            self.entries().left.into_iter().partition(|(name, _)| fields.contains(name));
        let problems = unknown
            .into_iter()
            .map(|(name, reader)| (reader.node.clone(), Error::NoSuchField(name.to_owned(), fields)));
        self.log.borrow_mut().unknown.extend(problems);
        Entries { left: known.into(), value: None }
    }

    /// What text from a variable or a flag means where any type will do.
    fn raw_as_any<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Error> {
        if let Ok(value) = text.parse() {
            return visitor.visit_bool(value);
        }
        Self::raw_as_number(text, visitor)
    }

    fn raw_as_number<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Error> {
        if let Ok(value) = text.replace('_', "").parse() {
            return visitor.visit_i64(value);
        }
        match text.parse() {
            Ok(value) => visitor.visit_f64(value),
            Err(_) => visitor.visit_str(text),
        }
    }
}

/// The items of a list.
struct Items<'a> {
    nodes: std::slice::Iter<'a, Node>,
    log: &'a RefCell<Log>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.nodes.next().map(|node| Reader { node, log: self.log }.read(seed)).transpose()
    }
}

/// The entries of a table.
#[derive(Default)]
struct Entries<'a> {
    left: VecDeque<(&'a str, Reader<'a>)>,
    value: Option<Reader<'a>>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((name, reader)) = self.left.pop_front() else { return Ok(None) };
        self.value = Some(reader);
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.value.take() {
            Some(reader) => reader.read(seed),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match &self.node.value {
                Value::Raw(text) => Self::raw_as_number(text, visitor),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::Raw(text) => Self::raw_as_any(text, visitor),
            Value::List(items) => visitor.visit_seq(self.items(items)),
            Value::Table(_) => visitor.visit_map(self.entries()),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Raw(text) => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    /// A list in a variable may do without brackets: `a, b`.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Value::Raw(text) = &self.node.value else { return self.deserialize_any(visitor) };
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let nodes: Vec<Node> =
            items.map(|item| Node { value: Value::Raw(item.to_owned()), ..self.node.clone() }).collect();
        visitor.visit_seq(self.items(&nodes))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if !matches!(self.node.value, Value::Table(_)) {
            return self.deserialize_any(visitor);
        }
        visitor.visit_map(self.known_entries(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Text(word) | Value::Raw(word) => visitor.visit_enum(word.as_str().into_deserializer()),
            Value::Table(_) => visitor.visit_enum(MapAccessDeserializer::new(self.entries())),
            _ => Err(de::Error::invalid_type(de::Unexpected::Other("value"), &"a word from the choices")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct map identifier ignored_any
    }
}
