//! What there is to configure, written for people: the example file and the manual's table.

use std::fmt::Write;

use serde_json::Value as Json;

use super::Config;
use super::keys::{self, Key};
use super::validate::leaves;

/// Every key that has a row.
pub(super) fn known_keys() -> Vec<String> {
    keys::all().map(|key| key.name.to_owned()).collect()
}

/// See [`Config::example_toml`].
pub(super) fn example_toml() -> String {
    let mut text = String::from(
        "# Antiphon's configuration: every key with its default. Remove the `#` before a key to set it.\n\
         # A list of sections ([[engines.stt]]) replaces the default list as a whole.\n\
         # Environment variables go over this file (ANTIPHON_SERVER__BIND sets server.bind), flags over both.\n\
         # `antiphon check` says what is wrong without starting the server.\n",
    );
    let defaults = leaves(&Config::default());
    let mut open = "";
    for key in keys::all() {
        let (section, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if section != open {
            text.push_str(&header(section));
            open = section;
        }
        let value = default_of(key, &defaults).unwrap_or_else(|| "...".to_owned());
        let mark = if is_whole(section) { "#     " } else { "#" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n# {}\n# {}\n{mark}{name} = {value}", key.meaning, key.allowed);
    }
    text
}

/// Whether a section is set as a whole or not at all: an entry of a list, and what has a `kind`. In the example
/// it stays a comment, header included.
fn is_whole(section: &str) -> bool {
    section.contains("[*]") || keys::all().any(|key| key.name == format!("{section}.kind"))
}

fn header(section: &str) -> String {
    match section.strip_suffix("[*]") {
        Some(list) => format!("\n#     [[{list}]]\n"),
        None if is_whole(section) => format!("\n#     [{}]\n", section.replace("[*]", "")),
        None => format!("\n[{section}]\n"),
    }
}

/// See [`Config::reference_markdown`].
pub(super) fn markdown() -> String {
    let defaults = leaves(&Config::default());
    let mut text =
        String::from("| key | default | allowed | a change acts | meaning |\n|---|---|---|---|---|\n");
    for key in keys::all() {
        let default = default_of(key, &defaults).map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
        // Writing to a String cannot fail.
        let (name, change) = (key.name, key.change.as_str());
        let _ = writeln!(text, "| `{name}` | {default} | {} | {change} | {} |", key.allowed, key.meaning);
    }
    text
}

/// The key's default as TOML; `None` where it has none.
fn default_of(key: &Key, defaults: &[(String, Json)]) -> Option<String> {
    let (_, value) = defaults.iter().find(|(name, _)| key.is_row_of(name))?;
    toml::Value::try_from(value).ok().map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn every_key_has_a_row_and_every_row_a_key() {
        let defaults = leaves(&Config::default());
        for (name, _) in &defaults {
            assert!(keys::all().any(|key| key.is_row_of(name)), "`{name}` has no row in config/keys.rs");
        }
        // What a list's entries and other kinds than the default have, no default has.
        let is_of_kind = |key: &&Key| is_whole(key.name.rsplit_once('.').map_or("", |(section, _)| section));
        for key in keys::all().filter(|key| !is_of_kind(key)) {
            assert!(
                defaults.iter().any(|(name, _)| name == key.name),
                "no struct has the key `{}`",
                key.name
            );
        }
    }

    #[test]
    fn the_example_with_its_values_set_is_the_default() {
        let example = example_toml();
        let set: Vec<&str> = example
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .collect();
        for text in [example.clone(), set.join("\n")] {
            let sources = Sources { file: Some(("example.toml".into(), text.clone())), ..Sources::default() };
            assert_eq!(Config::load(&sources), Ok(Config::default()), "{text}");
        }
    }
}
