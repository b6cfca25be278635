//! From the tree to typed configuration: every unknown key and every wrong type at once.
//!
//! serde stops at its first error. [`decode`] therefore takes the value that it stopped at out of the tree,
//! so that its default stands in, and tries again until the rest passes.

use serde::de::DeserializeOwned;

use super::keys;
use super::problem::{Problem, may_hold_secret, nearest};
use super::reader::{Error, Failure, read};
use super::tree::{Node, Value};

/// Reads `tree` as a `T`. What cannot be read is told in `problems` and has its default in the answer. Also
/// returns the tree of what was read.
pub(super) fn decode<T: DeserializeOwned + Default>(
    mut tree: Node,
    problems: &mut Vec<Problem>,
) -> (T, Node) {
    let mut removed: Vec<String> = Vec::new();
    loop {
        let failure = match read(&tree) {
            Ok((value, unknown)) => {
                problems.extend(unknown.iter().map(|(node, error)| error.describe(node)));
                return (value, tree);
            }
            Err(failure) => *failure,
        };
        for (node, error) in narrow_down::<T>(&tree, failure) {
            if !is_consequence(&node, &error, &removed) {
                problems.push(error.describe(&node));
            }
            if !tree.remove(&node.key) {
                return (T::default(), tree);
            }
            removed.push(node.key);
        }
    }
}

/// Finds the values to blame within a table that failed as a whole. A table with a `kind` does: serde reads
/// all of it before it knows its type, and forgets where each value came from. So each value is tried alone.
fn narrow_down<T: DeserializeOwned>(tree: &Node, (node, error): Failure) -> Vec<Failure> {
    let try_with = |keys: &[&str]| {
        let mut tree = tree.clone();
        tree.replace(&node.key, node.pruned(keys).value);
        read::<T>(&tree).err().filter(|failure| failure.0.key == node.key).map(|failure| failure.1)
    };
    if !matches!(node.value, Value::Table(_)) {
        return vec![(node, error)];
    }
    let tag = match try_with(&[]) {
        Some(Error::Missing(tag)) => node.child_key(tag),
        _ => String::new(),
    };
    let culprit = |leaf: &Node| match try_with(&[&tag, &leaf.key]) {
        None | Some(Error::Missing(_)) => None,
        Some(error) => Some((leaf.clone(), error)),
    };
    let culprits: Vec<Failure> = node.leaves().into_iter().filter_map(culprit).collect();
    // A bad tag fails with every value beside it.
    match culprits.iter().find(|(leaf, _)| leaf.key == tag) {
        Some(tag) => vec![tag.clone()],
        None if culprits.is_empty() => vec![(node, error)],
        None => culprits,
    }
}

/// Whether a value is missing only because it was told and taken away before.
fn is_consequence(node: &Node, error: &Error, removed: &[String]) -> bool {
    matches!(error, Error::Missing(field) if removed.contains(&node.child_key(field)))
}

impl Error {
    fn describe(&self, node: &Node) -> Problem {
        match self {
            Self::Message(text) => {
                let allowed = keys::find(&node.key).map(|key| format!("write {}", key.allowed));
                Problem::at(node, text.clone(), allowed.unwrap_or_default())
            }
            Self::WrongType(expected) => {
                Problem::at(node, "wrong type", format!("write {}", plain(expected)))
            }
            Self::Missing(field) => {
                let what = format!("`{field}` is missing");
                Problem { found: None, ..Problem::at(node, what, format!("add `{field} = ...` here")) }
            }
            Self::NoSuchChoice(word, choices) => {
                Problem::at(node, format!("`{word}` is not a choice"), one_of(word, choices))
            }
            Self::NoSuchField(name, fields) => {
                let advice = nearest_key(name, fields);
                Problem { found: shown(node), ..Problem::at(node, "no such key", advice) }
            }
        }
    }
}

fn one_of(word: &str, choices: &[&str]) -> String {
    match nearest(word, choices.iter().copied()) {
        Some(choice) => format!("did you mean `{choice}`?"),
        None => format!("choose from {}", choices.join(", ")),
    }
}

/// The key that `name` was meant to be: one of another section, where the section's header was forgotten, or
/// one of `fields`.
fn nearest_key(name: &str, fields: &[&str]) -> String {
    let same_name = |key: &&keys::Key| key.name.rsplit_once('.').is_some_and(|(_, last)| last == name);
    match keys::all().filter(|key| !key.name.contains('[')).find(same_name) {
        Some(key) => format!("did you mean `{}`?", key.name),
        None => one_of(name, fields),
    }
}

/// The value as it is shown beside an unknown key; whole sections are not.
fn shown(node: &Node) -> Option<String> {
    (!matches!(node.value, Value::Table(_)) && !may_hold_secret(&node.key)).then(|| node.value.to_string())
}

/// serde's and Rust's names of types in words for people who do not write Rust.
fn plain(expected: &str) -> String {
    match expected {
        "u64" | "u32" | "usize" => "a whole number, 0 or more".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "i64" | "i32" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "text in quotes".to_owned(),
        "a sequence" => "a list: [..]".to_owned(),
        "socket address" => "an address with a port: \"127.0.0.1:8700\"".to_owned(),
        _ if expected.starts_with("struct ") => "a section with keys".to_owned(),
        _ => expected.to_owned(),
    }
}
