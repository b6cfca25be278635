//! Judges values that have their types: each key's range, and keys against each other.

mod tls;

use std::net::SocketAddr;

use serde_json::Value as Json;

use super::Config;
use super::keys::{self, Allowed};
use super::problem::Problem;
use super::tree::{Node, Origin, Value};

/// Everything wrong with `config`; `tree` knows where its values were written.
pub(super) fn validate(config: &Config, tree: &Node) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        leaves(config).into_iter().filter_map(|(key, value)| check_value(&key, &value, tree)).collect();
    let (plain, tls) = (config.server.bind, config.server.tls.address());
    problems.extend(check_exposure(config, ("server.bind", plain), tree));
    problems.extend(tls.and_then(|address| check_exposure(config, ("server.tls.listen", address), tree)));
    problems.extend(tls::check_tls(config, tree));
    problems.extend(check_key_names(config, tree));
    problems.extend(check_endpointing(config, tree));
    problems.extend(check_admission(config, tree));
    problems
}

/// Every key of the configuration with its value. Lists of tables are walked, other lists are values.
pub(super) fn leaves(config: &Config) -> Vec<(String, Json)> {
    let mut found = Vec::new();
    // A configuration that was read from text can be written as text: this does not fail.
    walk(String::new(), serde_json::to_value(config).unwrap_or_default(), &mut found);
    found
}

fn walk(key: String, value: Json, found: &mut Vec<(String, Json)>) {
    match value {
        Json::Object(entries) => {
            for (name, value) in entries {
                walk(if key.is_empty() { name } else { format!("{key}.{name}") }, value, found);
            }
        }
        Json::Array(items) if items.first().is_some_and(Json::is_object) => {
            for (index, value) in items.into_iter().enumerate() {
                walk(format!("{key}[{index}]"), value, found);
            }
        }
        value => found.push((key, value)),
    }
}

fn check_value(key: &str, value: &Json, tree: &Node) -> Option<Problem> {
    let node = written(tree, key, value);
    match (keys::find(key)?.allowed, value) {
        (Allowed::Between(least, most), Json::Number(number)) => {
            let number = number.as_f64()?;
            let nearest = number.clamp(least, most);
            (number != nearest).then(|| {
                let advice = format!("allowed are {least} to {most}, the nearest is {nearest}");
                Problem::at(&node, "out of range", advice)
            })
        }
        (Allowed::Text(words, check), Json::String(text)) => {
            check(text).err().map(|what| Problem::at(&node, what, format!("write {words}")))
        }
        _ => None,
    }
}

/// The node at `key` as it was written, or one that stands for the default.
fn written(tree: &Node, key: &str, value: &Json) -> Node {
    tree.get(key).cloned().unwrap_or_else(|| {
        let value = match value {
            Json::String(text) => Value::Text(text.clone()),
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => {
                number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int)
            }
            _ => Value::List(Vec::new()),
        };
        Node { key: key.to_owned(), origin: Origin::Default, value }
    })
}

/// A server that others can reach asks who they are.
fn check_exposure(config: &Config, (key, bind): (&str, SocketAddr), tree: &Node) -> Option<Problem> {
    if bind.ip().to_canonical().is_loopback() || !config.server.auth.keys.is_empty() {
        return None;
    }
    let node = written(tree, key, &Json::String(bind.to_string()));
    let advice = format!(
        "bind 127.0.0.1:{}, or add a key: [[server.auth.keys]] with name = \"me\" and \
         sha256 = the output of `printf %s \"$KEY\" | sha256sum`",
        bind.port()
    );
    Some(Problem::at(&node, "other machines could talk here without an API key", advice))
}

/// Each name stands for one key, so that logs and quotas tell them apart.
fn check_key_names(config: &Config, tree: &Node) -> Vec<Problem> {
    let names: Vec<&str> = config.server.auth.keys.iter().map(|key| key.name.as_str()).collect();
    let twice = |(index, name): (usize, &&str)| {
        let first = names[..index].iter().position(|earlier| earlier == name)?;
        let node = written(tree, &format!("server.auth.keys[{index}].name"), &Json::from(*name));
        Some(Problem::at(&node, format!("key {} has this name too", first + 1), "give each key its own name"))
    };
    names.iter().enumerate().filter_map(twice).collect()
}

/// The door is at least as wide as the room, and strain ends no earlier than it begins.
fn check_admission(config: &Config, tree: &Node) -> Vec<Problem> {
    let (sessions, admission) = (config.server.max_sessions, &config.server.admission);
    let mut problems = Vec::new();
    if admission.max_connections < sessions {
        let value = Json::from(admission.max_connections);
        let node = written(tree, "server.admission.max_connections", &value);
        let advice = format!("write {sessions} or more, and room for those who wait");
        problems.push(Problem::at(&node, "less than server.max_sessions", advice));
    }
    if admission.resume_headroom < admission.min_headroom {
        let node = written(tree, "server.admission.resume_headroom", &Json::from(admission.resume_headroom));
        let advice = format!("write {} or more", admission.min_headroom);
        problems.push(Problem::at(&node, "less than min_headroom", advice));
    }
    problems
}

/// The more complete the sentence, the shorter the wait.
fn check_endpointing(config: &Config, tree: &Node) -> Vec<Problem> {
    let waits = &config.session.endpointing;
    let rising = [
        ("soft_pause_ms", waits.soft_pause_ms),
        ("complete_ms", waits.complete_ms),
        ("unsure_ms", waits.unsure_ms),
        ("incomplete_ms", waits.incomplete_ms),
    ];
    let falls = |pair: &[(&str, u64)]| {
        let [(shorter, least), (longer, value)] = *pair else { return None };
        (value < least).then(|| {
            let node = written(tree, &format!("session.endpointing.{longer}"), &Json::from(value));
            Problem::at(&node, format!("less than {shorter}"), format!("write {least} or more"))
        })
    };
    rising.windows(2).filter_map(falls).collect()
}
