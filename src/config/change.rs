//! Changes of a configuration while the server runs: laid over the effective values, judged whole, and told
//! apart by whether they can act at once. Applies nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use super::keys;
use super::problem::{Problem, Problems, is_secret};
use super::tree::{Node, Origin, Value};
use super::validate::{leaves, validate};
use super::{Config, decode, source};

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At once, for sessions that run too.
    Now,
    /// At once, for sessions that begin from then on.
    NewSessions,
    /// When the server starts again.
    Restart,
}

impl Change {
    /// The word in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::NewSessions => "new sessions",
            Self::Restart => "restart",
        }
    }
}

/// A part of a configuration, as somebody asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Patch<'a> {
    /// The keys to change, in sections.
    pub text: &'a str,
    /// How it is written.
    pub format: PatchFormat,
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFormat {
    /// A JSON object.
    Json,
    /// As the configuration file.
    Toml,
}

/// One key with another value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyChange {
    /// Dotted key.
    pub key: String,
    /// The value it had; null where it had none or may not be shown.
    pub from: Json,
    /// The value it has; null where it has none or may not be shown.
    pub to: Json,
    /// When this acts.
    #[serde(serialize_with = "as_word")]
    pub acts: Change,
}

/// A key that cannot change while the server runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestartNeeded {
    /// Dotted key.
    pub key: String,
    /// Why.
    pub reason: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// Why a key cannot change while the server runs.
fn restart_reason(name: &str) -> &'static str {
    const REASONS: &[(&str, &str)] = &[
        ("engines.", "engines are loaded when the server starts"),
        ("server.role", "the routes are made when the server starts"),
        ("server.bind", "the address is taken when the server starts"),
        ("server.tls.", "certificates of other files, like addresses, are taken when the server starts"),
        ("server.auth.", "API keys are read when the server starts"),
        ("preset", "a preset sets where all other keys start from"),
        ("telemetry.", "the form of log lines is fixed when the server starts"),
    ];
    let found = REASONS.iter().find(|(begin, _)| name.starts_with(begin));
    found.map_or("it is read once, when the server starts", |(_, reason)| reason)
}

fn as_word<S: serde::Serializer>(change: &Change, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(change.as_str())
}

impl KeyChange {
    /// Why this change cannot act now; `None` where it can.
    pub fn restart_needed(&self) -> Option<RestartNeeded> {
        (self.acts == Change::Restart).then(|| RestartNeeded {
            key: self.key.clone(),
            reason: restart_reason(&self.key),
            advice: "write it into the configuration file and restart the server",
        })
    }
}

impl Config {
    /// This configuration with a patch laid over it, judged whole. Tells everything that is wrong.
    pub fn patched(&self, patch: Patch<'_>) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let upper = read_patch(patch, &mut problems);
        let mut tree = self.tree();
        tree.merge(upper);
        let (config, tree) = decode::decode::<Self>(tree, &mut problems);
        problems.extend(validate(&config, &tree));
        problems.sort_by_key(|problem| problem.origin.rank());
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// Every key in which `newer` differs, by name.
    pub fn changes(&self, newer: &Self) -> Vec<KeyChange> {
        let mut values: BTreeMap<String, (Json, Json)> = BTreeMap::new();
        for (key, value) in leaves(self) {
            values.entry(key).or_default().0 = value;
        }
        for (key, value) in leaves(newer) {
            values.entry(key).or_default().1 = value;
        }
        let differs = values.into_iter().filter(|(_, (from, to))| from != to);
        differs
            .map(|(key, (from, to))| {
                let show = |value| if is_secret(&key) { Json::Null } else { value };
                let (from, to) = (show(from), show(to));
                KeyChange { acts: keys::find(&key).map_or(Change::Restart, |row| row.change), key, from, to }
            })
            .collect()
    }

    /// This configuration with those values of `newer` that need no restart.
    pub fn with_live_of(&self, newer: &Self) -> Result<Self, Problems> {
        let (mut tree, newer_tree) = (self.tree(), newer.tree());
        for change in self.changes(newer).iter().filter(|change| change.acts != Change::Restart) {
            if let Some(node) = newer_tree.get(&change.key) {
                tree.replace(&change.key, node.value.clone());
            }
        }
        let mut problems = Vec::new();
        let (config, tree) = decode::decode::<Self>(tree, &mut problems);
        problems.extend(validate(&config, &tree));
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// The effective values as a tree, secrets left out.
    pub fn shown(&self) -> Json {
        let mut shown = serde_json::to_value(self).unwrap_or_default();
        hide_secrets(&mut shown);
        shown
    }

    /// The effective values as a tree of nodes.
    fn tree(&self) -> Node {
        // A configuration that was read from text can be written as text: this does not fail.
        let json = serde_json::to_value(self).unwrap_or_default();
        node(String::new(), json, &Origin::Default).unwrap_or_else(Node::root)
    }
}

fn read_patch(patch: Patch<'_>, problems: &mut Vec<Problem>) -> Node {
    let origin = |line| Origin::Request { line };
    let bad = |line, what, advice: &str| Problem::with_source(origin(line), what, advice);
    if patch.format == PatchFormat::Toml {
        return source::read_toml(patch.text, &origin, problems);
    }
    match serde_json::from_str::<Json>(patch.text) {
        Ok(json @ Json::Object(_)) => {
            for key in nulls(String::new(), &json) {
                let what = format!("`{key}` is null");
                problems.push(bad(0, what, "write the value that it should have"));
            }
            node(String::new(), json, &origin(0)).unwrap_or_else(Node::root)
        }
        Ok(_) => {
            let advice = "write an object of sections: {\"server\": {\"max_sessions\": 50}}";
            problems.push(bad(0, "the body is no JSON object".to_owned(), advice));
            Node::root()
        }
        Err(error) => {
            let advice = "write JSON, or TOML with the header content-type: application/toml";
            problems.push(bad(error.line(), format!("no valid JSON: {error}"), advice));
            Node::root()
        }
    }
}

/// Keys of nulls.
fn nulls(key: String, json: &Json) -> Vec<String> {
    match json {
        Json::Null => vec![key],
        Json::Object(entries) => {
            let child = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
            entries.iter().flat_map(|(name, value)| nulls(child(name), value)).collect()
        }
        _ => Vec::new(),
    }
}

/// A tree of nodes; nulls are left out.
fn node(key: String, json: Json, origin: &Origin) -> Option<Node> {
    let parent = Node { key: key.clone(), ..Node::root() };
    let value = match json {
        Json::Null => return None,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int)
        }
        Json::String(text) => Value::Text(text),
        Json::Array(items) => Value::List(
            items
                .into_iter()
                .enumerate()
                .filter_map(|(index, item)| node(format!("{key}[{index}]"), item, origin))
                .collect(),
        ),
        Json::Object(entries) => Value::Table(
            entries
                .into_iter()
                .filter_map(|(name, value)| {
                    Some((name.clone(), node(parent.child_key(&name), value, origin)?))
                })
                .collect(),
        ),
    };
    Some(Node { key, origin: origin.clone(), value })
}

fn hide_secrets(json: &mut Json) {
    match json {
        Json::Object(entries) => {
            entries.retain(|name, _| !is_secret(name));
            entries.values_mut().for_each(hide_secrets);
        }
        Json::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{KeyConfig, KeyRole};

    fn patched(text: &str, format: PatchFormat) -> Result<Config, Vec<String>> {
        let result = Config::default().patched(Patch { text, format });
        result.map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_patch_changes_what_it_names_in_either_form() {
        let mut expected = Config::default();
        expected.session.limits.idle_s = 30;
        expected.server.max_sessions = 7;
        let json = r#"{"session": {"limits": {"idle_s": 30}}, "server": {"max_sessions": 7}}"#;
        assert_eq!(patched(json, PatchFormat::Json), Ok(expected.clone()));
        let toml = "session.limits.idle_s = 30\n[server]\nmax_sessions = 7\n";
        assert_eq!(patched(toml, PatchFormat::Toml), Ok(expected.clone()));
        let changes = Config::default().changes(&expected);
        let told: Vec<_> = changes.iter().map(|change| (change.key.as_str(), change.acts)).collect();
        let all = [("server.max_sessions", Change::NewSessions), ("session.limits.idle_s", Change::Now)];
        assert_eq!(told, all);
        assert_eq!((&changes[1].from, &changes[1].to), (&Json::from(600), &Json::from(30)));
    }

    #[test]
    fn everything_wrong_with_a_patch_is_told_at_once() {
        let json = r#"{"server": {"max_sesions": 5, "ping_interval_s": null}, "pools": {"max_wait_ms": 1},
                       "session": {"endpointing": {"complete_ms": 9000}, "limits": {"idle_s": "long"}}}"#;
        let mut found = patched(json, PatchFormat::Json).expect_err("five problems");
        found.sort();
        let expected = [
            "default: `session.endpointing.unsure_ms` = 500: less than complete_ms; write 9000 or more",
            "request: `pools.max_wait_ms` = 1: out of range; allowed are 50 to 60000, the nearest is 50",
            "request: `server.max_sesions` = 5: no such key; did you mean `max_sessions`?",
            "request: `server.ping_interval_s` is null; write the value that it should have",
            "request: `session.limits.idle_s` = \"long\": wrong type; write a whole number, 0 or more",
        ];
        assert_eq!(found, expected);
        for (text, part) in [("[]", "no JSON object"), ("{", "request:1: no valid JSON")] {
            let found = patched(text, PatchFormat::Json).expect_err("no patch");
            assert!(found.len() == 1 && found[0].contains(part), "{found:?}");
        }
        let found = patched("[pools]\nmax_wait_ms = 1\n", PatchFormat::Toml).expect_err("too short");
        assert!(found[0].starts_with("request:2: `pools.max_wait_ms`"), "{found:?}");
    }

    #[test]
    fn live_values_are_taken_and_the_others_wait() {
        let (old, mut newer) = (Config::default(), Config::default());
        newer.server.max_sessions = 9;
        newer.server.bind = "127.0.0.1:9".parse().expect("an address");
        newer.engines.stt.clear();
        newer.features.speculation = false;
        let mixed = old.with_live_of(&newer).expect("valid");
        let expected = Config {
            server: crate::server::ServerConfig { max_sessions: 9, ..old.server.clone() },
            features: newer.features,
            ..old.clone()
        };
        assert_eq!(mixed, expected);
        let changes = old.changes(&newer);
        let waiting: Vec<RestartNeeded> = changes.iter().filter_map(KeyChange::restart_needed).collect();
        assert!(waiting.iter().any(|key| key.key == "server.bind" && key.reason.contains("address")));
        assert!(waiting.iter().any(|key| key.key.starts_with("engines.stt[0]")), "{waiting:?}");
        assert!(!waiting.iter().any(|key| key.key == "server.max_sessions"));
    }

    #[test]
    fn secrets_are_never_shown() {
        let key = |sha256: char| KeyConfig {
            name: "anna".to_owned(),
            sha256: sha256.to_string().repeat(64),
            role: KeyRole::Admin,
        };
        let (mut old, mut newer) = (Config::default(), Config::default());
        old.server.auth.keys = vec![key('a')];
        newer.server.auth.keys = vec![key('b')];
        let shown = old.shown().to_string();
        assert!(shown.contains("anna") && !shown.contains("aaaa"), "{shown}");
        let changes = old.changes(&newer);
        assert_eq!(changes.len(), 1);
        assert_eq!((&changes[0].from, &changes[0].to), (&Json::Null, &Json::Null));
        assert_eq!(changes[0].acts, Change::Restart);
    }
}
