//! Configuration before it has types: a tree of values, each of which knows where it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// A configuration file.
    File {
        /// Path as given.
        path: Arc<PathBuf>,
        /// Line, from 1.
        line: usize,
    },
    /// An environment variable of this name.
    Env(String),
    /// A flag on the command line: `--bind`, `--set`.
    Flag(String),
    /// A request to change the configuration; its line where the request has lines, else 0.
    Request {
        /// Line, from 1, or 0.
        line: usize,
    },
}

impl Origin {
    /// Where it stands among origins: as people read, file by line, then variables, then flags.
    pub(super) fn rank(&self) -> (u8, usize) {
        match self {
            Self::Default => (0, 0),
            Self::File { line, .. } => (1, *line),
            Self::Env(_) => (2, 0),
            Self::Flag(_) => (3, 0),
            Self::Request { line } => (4, *line),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) | Self::Flag(name) => f.write_str(name),
            Self::Request { line: 0 } => f.write_str("request"),
            Self::Request { line } => write!(f, "request:{line}"),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Dotted key: `server.auth.keys[0].name`.
    pub(super) key: String,
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Text of a variable or flag: what it means depends on the type that is wanted.
    Raw(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    /// A table without entries.
    pub(super) fn root() -> Self {
        Self { key: String::new(), origin: Origin::Default, value: Value::Table(BTreeMap::new()) }
    }

    /// Lays `upper` over this tree: tables merge, everything else is replaced.
    pub(super) fn merge(&mut self, upper: Self) {
        match (&mut self.value, upper.value) {
            (Value::Table(lower), Value::Table(entries)) => {
                for (name, node) in entries {
                    match lower.get_mut(&name) {
                        Some(existing) => existing.merge(node),
                        None => drop(lower.insert(name, node)),
                    }
                }
            }
            (_, value) => *self = Self { value, ..upper },
        }
    }

    /// Forgets every entry but `name`.
    pub(super) fn keep(&mut self, name: &str) {
        if let Value::Table(entries) = &mut self.value {
            entries.retain(|entry, _| entry == name);
        }
    }

    /// The key of the child `name`.
    pub(super) fn child_key(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    /// The node at a dotted key, by its place: after a removal, places in a list differ from the keys that
    /// its items were written with.
    pub(super) fn get(&self, place: &str) -> Option<&Self> {
        place.split(['.', '[']).try_fold(self, |node, step| match &node.value {
            Value::Table(entries) => entries.get(step),
            Value::List(items) => items.get(step.strip_suffix(']')?.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The values within, down to what is no table.
    pub(super) fn leaves(&self) -> Vec<&Self> {
        match &self.value {
            Value::Table(entries) => entries.values().flat_map(Self::leaves).collect(),
            _ => vec![self],
        }
    }

    /// This node with only those of its leaves that have one of `keys`.
    pub(super) fn pruned(&self, keys: &[&str]) -> Self {
        let Value::Table(entries) = &self.value else { return self.clone() };
        let kept =
            entries.iter().map(|(name, node)| (name.clone(), node.pruned(keys))).filter(|(_, node)| {
                match &node.value {
                    Value::Table(entries) => !entries.is_empty(),
                    _ => keys.contains(&node.key.as_str()),
                }
            });
        Self { value: Value::Table(kept.collect()), ..self.clone() }
    }

    /// Puts `value` in the place of the node at a dotted key.
    pub(super) fn replace(&mut self, key: &str, value: Value) {
        if self.key == key {
            self.value = value;
            return;
        }
        let on_the_way = |node: &&mut Self| is_within(key, &node.key);
        let next = match &mut self.value {
            Value::Table(entries) => entries.values_mut().find(on_the_way),
            Value::List(items) => items.iter_mut().find(on_the_way),
            _ => None,
        };
        if let Some(next) = next {
            next.replace(key, value);
        }
    }

    /// Takes away the node at a dotted key, or the deepest one on the way to it. Says whether there was one.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let on_the_way = |node: &Self| is_within(key, &node.key);
        match &mut self.value {
            Value::Table(entries) => {
                let Some(name) =
                    entries.iter().find(|(_, node)| on_the_way(node)).map(|(name, _)| name.clone())
                else {
                    return false;
                };
                if !entries.get_mut(&name).is_some_and(|child| child.remove(key)) {
                    entries.remove(&name);
                }
                true
            }
            Value::List(items) => {
                let Some(place) = items.iter().position(on_the_way) else { return false };
                if !items[place].remove(key) {
                    items.remove(place);
                }
                true
            }
            _ => false,
        }
    }
}

/// Whether `key` is `outer` or lies within it.
fn is_within(key: &str, outer: &str) -> bool {
    key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl fmt::Display for Value {
    /// As it would stand in TOML; long values are cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 60;
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Raw(text) if text.chars().count() > LONGEST => {
                write!(f, "\"{}…\"", text.chars().take(LONGEST).collect::<String>())
            }
            Self::Text(text) | Self::Raw(text) => write!(f, "{text:?}"),
            Self::List(items) => write!(f, "[{} items]", items.len()),
            Self::Table(_) => f.write_str("{..}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(key: &str, value: i64) -> Node {
        Node { key: key.to_owned(), origin: Origin::Flag("--set".to_owned()), value: Value::Int(value) }
    }

    fn table(key: &str, entries: Vec<(&str, Node)>) -> Node {
        let entries = entries.into_iter().map(|(name, node)| (name.to_owned(), node)).collect();
        Node { key: key.to_owned(), origin: Origin::Default, value: Value::Table(entries) }
    }

    #[test]
    fn the_upper_tree_wins_leaf_by_leaf() {
        let mut lower =
            table("", vec![("a", table("a", vec![("x", leaf("a.x", 1)), ("y", leaf("a.y", 2))]))]);
        lower.merge(table("", vec![("a", table("a", vec![("y", leaf("a.y", 3))]))]));
        assert_eq!(lower.get("a.x").map(|node| &node.value), Some(&Value::Int(1)));
        assert_eq!(lower.get("a.y").map(|node| &node.value), Some(&Value::Int(3)));
        assert!(lower.get("a.z").is_none());
    }

    #[test]
    fn removal_takes_the_deepest_node_on_the_way() {
        let list = Node { value: Value::List(vec![leaf("a[0]", 1), leaf("a[1]", 2)]), ..leaf("a", 0) };
        let mut tree = table("", vec![("a", list), ("ab", leaf("ab", 3))]);
        assert!(tree.remove("a[1]"));
        assert!(tree.get("a[0]").is_some() && tree.get("a[1]").is_none());
        assert!(tree.remove("ab[2].x"), "the leaf itself goes where the key leads below it");
        assert!(tree.get("ab").is_none());
        assert!(!tree.remove("c"));
    }
}
