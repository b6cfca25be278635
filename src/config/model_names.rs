//! `models:NAME` among the engines' settings: replaced by the path that it stands for in the store, before the
//! settings have types. So every engine's path may be one.

use super::preset;
use super::problem::Problem;
use super::tree::{Node, Value};
use crate::models::{ModelsConfig, Store, resolve};

/// Replaces every name of a model under `engines`.
pub(super) fn resolve_all(tree: &mut Node, env: &[(String, String)], problems: &mut Vec<Problem>) {
    let config = ModelsConfig { dir: path(tree, "models.dir"), catalogue: path(tree, "models.catalogue") };
    let store = config.store(env);
    if let Value::Table(entries) = &mut tree.value
        && let Some(engines) = entries.get_mut("engines")
    {
        walk(engines, (&config, &store), problems);
    }
}

fn path(tree: &Node, key: &str) -> std::path::PathBuf {
    match tree.get(key).map(|node| &node.value) {
        Some(Value::Text(text) | Value::Raw(text)) => text.into(),
        _ => std::path::PathBuf::new(),
    }
}

fn walk(node: &mut Node, at: (&ModelsConfig, &Store), problems: &mut Vec<Problem>) {
    match &mut node.value {
        Value::Table(entries) => entries.values_mut().for_each(|node| walk(node, at, problems)),
        Value::List(items) => items.iter_mut().for_each(|node| walk(node, at, problems)),
        Value::Text(text) | Value::Raw(text) => match resolve(text, at.1, || at.0.read_catalogue()) {
            None => {}
            Some(Ok(path)) => *text = path.to_string_lossy().into_owned(),
            Some(Err((what, advice))) => {
                // A preset's models are the bundle of its name.
                let bundle =
                    preset::of(&node.origin).map(|name| format!("run `antiphon models pull {name}`"));
                problems.push(Problem::at(node, what, bundle.unwrap_or(advice)));
            }
        },
        _ => {}
    }
}
