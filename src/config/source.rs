//! Reads the places that configuration comes from into trees. Reports what cannot be read; judges no value.

use std::path::PathBuf;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::tree::{Node, Origin, Value};

/// What environment variables of the server begin with.
pub(super) const ENV_PREFIX: &str = "ANTIPHON_";
/// Between the parts of a key in an environment variable.
const ENV_SEPARATOR: &str = "__";
/// Variables with the prefix that are no configuration keys: the file to read, the store, and what tests use.
const NOT_KEYS: &[&str] = &["CONFIG", "MODELS", "TEST_"];

/// Everything that a configuration is made from, later fields above earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file, if there is one: its path and its text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables; those without our prefix are passed over.
    pub env: Vec<(String, String)>,
    /// Values from the command line.
    pub flags: Vec<FlagValue>,
}

/// A value from the command line.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// The flag as the user typed it: `--bind`.
    pub flag: String,
    /// Dotted key that it sets: `server.bind`.
    pub key: String,
    /// The text given.
    pub value: String,
}

impl FlagValue {
    /// What `--set key=value` means.
    pub fn set(assignment: &str) -> Result<Self, String> {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| format!("`{assignment}` has no `=`; write --set server.max_sessions=50"))?;
        Ok(Self { flag: "--set".to_owned(), key: key.trim().to_owned(), value: value.trim().to_owned() })
    }
}

/// One tree of all sources. `known_keys` are dotted keys, to tell mistyped variables from foreign ones.
pub(super) fn read(sources: &Sources, known_keys: &[String], problems: &mut Vec<Problem>) -> Node {
    let mut tree = Node::root();
    if let Some((path, text)) = &sources.file {
        tree.merge(read_file(&Arc::new(path.clone()), text, problems));
    }
    let mut env: Vec<&(String, String)> = sources.env.iter().collect();
    env.sort();
    for (name, value) in env {
        match env_key(name, known_keys) {
            EnvKey::Key(key) => tree.merge(branch(&key, value, &Origin::Env(name.clone()))),
            EnvKey::Foreign => {}
            EnvKey::Mistyped(right) => problems.push(Problem::with_source(
                Origin::Env(name.clone()),
                "the parts of a key are joined by two underscores",
                format!("did you mean `{right}`?"),
            )),
        }
    }
    for flag in &sources.flags {
        tree.merge(branch(&flag.key, &flag.value, &Origin::Flag(flag.flag.clone())));
    }
    tree
}

/// The variable that sets `key`.
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.to_uppercase().replace('.', ENV_SEPARATOR))
}

enum EnvKey {
    Key(String),
    Foreign,
    Mistyped(String),
}

/// What a variable sets. Kubernetes invents names like `ANTIPHON_PORT_8700_TCP` for a service called antiphon,
/// so a name without a double underscore is ours only if it is, but for its underscores, one of our keys.
fn env_key(name: &str, known_keys: &[String]) -> EnvKey {
    let Some(rest) = name.strip_prefix(ENV_PREFIX) else { return EnvKey::Foreign };
    if NOT_KEYS
        .iter()
        .any(|foreign| rest == *foreign || (foreign.ends_with('_') && rest.starts_with(foreign)))
    {
        return EnvKey::Foreign;
    }
    let key = rest.to_lowercase().replace(ENV_SEPARATOR, ".");
    if key.contains('.') || known_keys.contains(&key) {
        return EnvKey::Key(key);
    }
    let squeezed = key.replace('_', "");
    known_keys
        .iter()
        .find(|known| known.replace(['.', '_'], "") == squeezed)
        .map_or(EnvKey::Foreign, |known| EnvKey::Mistyped(env_name(known)))
}

/// A tree that holds one value.
pub(super) fn branch(key: &str, text: &str, origin: &Origin) -> Node {
    let names: Vec<&str> = key.split('.').collect();
    let mut value = read_text(text, key, origin);
    for depth in (0..names.len()).rev() {
        let node = Node { key: names[..=depth].join("."), origin: origin.clone(), value };
        value = Value::Table([(names[depth].to_owned(), node)].into());
    }
    Node { value, ..Node::root() }
}

/// Lists, tables and quoted strings are read as TOML; the rest waits for the type that is wanted.
fn read_text(text: &str, key: &str, origin: &Origin) -> Value {
    let text = text.trim();
    match DeValue::parse(text) {
        Ok(parsed) if text.starts_with(['[', '{', '"', '\'']) => {
            convert(parsed.get_ref(), key, &|_| origin.clone())
        }
        _ => Value::Raw(text.to_owned()),
    }
}

/// What a text of TOML says; `path` is where people find it.
pub(super) fn read_file(path: &Arc<PathBuf>, text: &str, problems: &mut Vec<Problem>) -> Node {
    read_toml(text, &|line| Origin::File { path: path.clone(), line }, problems)
}

/// The tree of a text in TOML. `origin` makes the origin of a value of its line.
pub(super) fn read_toml(text: &str, origin: &dyn Fn(usize) -> Origin, problems: &mut Vec<Problem>) -> Node {
    let origin = |offset: usize| origin(line_of(text, offset));
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        let advice = "values look like `key = \"text\"`, `key = 5`, `key = true`, sections like `[server]`";
        problems.push(Problem::with_source(
            origin(offset),
            format!("no valid TOML here: {}", error.message().trim()),
            advice,
        ));
    }
    let mut tree = Node::root();
    tree.value = convert_table(table.get_ref(), "", &origin);
    tree
}

type OriginOf<'a> = &'a dyn Fn(usize) -> Origin;

fn convert_table(table: &DeTable<'_>, key: &str, origin: OriginOf<'_>) -> Value {
    let parent = Node { key: key.to_owned(), ..Node::root() };
    let entries = table.iter().map(|(name, value)| {
        let key = parent.child_key(name.get_ref());
        let value = convert(value.get_ref(), &key, origin);
        (name.get_ref().to_string(), Node { key, origin: origin(name.span().start), value })
    });
    Value::Table(entries.collect())
}

/// Numbers beyond 64 bits stay text, so that the type error shows them.
fn convert(value: &DeValue<'_>, key: &str, origin: OriginOf<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Text(number.to_string()), Value::Int),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::Text(number.to_string()), Value::Float)
        }
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    let key = format!("{key}[{index}]");
                    let value = convert(item.get_ref(), &key, origin);
                    Node { key, origin: origin(item.span().start), value }
                })
                .collect(),
        ),
        DeValue::Table(table) => convert_table(table, key, origin),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        ["preset", "server.bind", "server.max_sessions"].map(str::to_owned).to_vec()
    }

    fn read_env(name: &str) -> (Node, Vec<Problem>) {
        let mut problems = Vec::new();
        let sources = Sources { env: vec![(name.to_owned(), "7".to_owned())], ..Sources::default() };
        (read(&sources, &known(), &mut problems), problems)
    }

    #[test]
    fn variables_name_keys_with_two_underscores() {
        let (tree, problems) = read_env("ANTIPHON_SERVER__MAX_SESSIONS");
        assert_eq!(
            tree.get("server.max_sessions").map(|node| node.origin.to_string()).as_deref(),
            Some("ANTIPHON_SERVER__MAX_SESSIONS")
        );
        assert!(problems.is_empty());
        let (tree, _) = read_env("ANTIPHON_PRESET");
        assert!(tree.get("preset").is_some());
    }

    #[test]
    fn foreign_variables_are_passed_over_and_mistyped_ones_are_not() {
        for name in ["HOME", "ANTIPHON_PORT_8700_TCP", "ANTIPHON_CONFIG", "ANTIPHON_TEST_MODELS__DIR"] {
            let (tree, problems) = read_env(name);
            assert_eq!(tree, Node::root(), "{name}");
            assert!(problems.is_empty(), "{name}");
        }
        let (_, problems) = read_env("ANTIPHON_SERVER_MAX_SESSIONS");
        assert_eq!(problems[0].advice, "did you mean `ANTIPHON_SERVER__MAX_SESSIONS`?");
    }

    #[test]
    fn every_value_of_a_file_knows_its_line() {
        let text = "preset = \"cpu\"\n[server]\nbind = \"x\"\n\n[[server.auth.keys]]\nname = \"a\"\n";
        let sources = Sources { file: Some(("a.toml".into(), text.to_owned())), ..Sources::default() };
        let tree = read(&sources, &known(), &mut Vec::new());
        for (key, line) in [("preset", 1), ("server.bind", 3), ("server.auth.keys[0].name", 6)] {
            let origin = tree.get(key).map(|node| node.origin.to_string());
            assert_eq!(origin, Some(format!("a.toml:{line}")), "{key}");
        }
    }

    #[test]
    fn broken_toml_is_told_with_its_line_and_the_rest_is_read() {
        let text = "[server]\nbind = \nmax_sessions = 5\n";
        let sources = Sources { file: Some(("a.toml".into(), text.to_owned())), ..Sources::default() };
        let mut problems = Vec::new();
        let tree = read(&sources, &known(), &mut problems);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().starts_with("a.toml:2: no valid TOML here"), "{}", problems[0]);
        assert!(tree.get("server.max_sessions").is_some());
    }

    #[test]
    fn text_that_looks_like_toml_is_read_as_toml() {
        for (text, value) in [
            ("\"5\"", Value::Text("5".to_owned())),
            ("5", Value::Raw("5".to_owned())),
            ("[unclosed", Value::Raw("[unclosed".to_owned())),
        ] {
            let tree = branch("a.b", text, &Origin::Flag("--set".to_owned()));
            assert_eq!(tree.get("a.b").map(|node| &node.value), Some(&value), "{text}");
        }
        let tree = branch("a", "[{name = \"x\"}]", &Origin::Flag("--set".to_owned()));
        assert_eq!(tree.get("a[0].name").map(|node| &node.value), Some(&Value::Text("x".to_owned())));
    }
}
