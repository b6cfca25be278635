//! Presets: values for a kind of machine, below everything that is set explicitly. One table, [`PRESETS`]; each
//! is a piece of TOML that is read like a file.

use std::path::PathBuf;
use std::sync::Arc;

use super::problem::Problem;
use super::source;
use super::tree::{Node, Origin, Value};

/// One preset.
#[derive(Debug)]
pub(super) struct Row {
    /// As in `preset = "..."`.
    pub(super) name: &'static str,
    /// What it sets; empty for the defaults.
    pub(super) toml: &'static str,
}

/// Every preset.
pub(super) const PRESETS: &[Row] =
    &[Row { name: "cpu", toml: "" }, Row { name: "gpu-16gb", toml: include_str!("presets/gpu-16gb.toml") }];

/// What the origin of a preset's values begins with.
const ORIGIN: &str = "preset ";

/// The preset that a value with this origin is of.
pub(super) fn of(origin: &Origin) -> Option<&str> {
    let Origin::File { path, .. } = origin else { return None };
    path.to_str()?.strip_prefix(ORIGIN)
}

/// `tree` over the values of the preset that it names. An unknown name is told when the tree is decoded.
pub(super) fn under(tree: Node, problems: &mut Vec<Problem>) -> Node {
    let named = match tree.get("preset").map(|node| &node.value) {
        Some(Value::Text(name) | Value::Raw(name)) => name.clone(),
        _ => return tree,
    };
    let Some(row) = PRESETS.iter().find(|row| row.name == named) else { return tree };
    let path = Arc::new(PathBuf::from(format!("{ORIGIN}{}", row.name)));
    let mut values = source::read_file(&path, row.toml, problems);
    values.merge(tree);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::catalog::SttConfig;
    use crate::config::{Config, FlagValue, Preset, Sources};

    fn flags(flags: &[(&str, &str)]) -> Sources {
        let flag = |(key, value): &(&str, &str)| FlagValue {
            flag: "--set".to_owned(),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        Sources { flags: flags.iter().map(flag).collect(), ..Sources::default() }
    }

    /// The preset for a GPU without the models that must be pulled, and `more`.
    fn gpu(more: &[(&str, &str)]) -> Sources {
        let starter = [
            ("preset", "gpu-16gb"),
            ("engines.stt", "[{kind = \"whisper\"}]"),
            ("engines.llm", "[{kind = \"onnx\"}]"),
            ("engines.tts", "[{kind = \"espeak\"}]"),
            ("engines.turn.model", "turn.onnx"),
        ];
        flags(&[&starter[..], more].concat())
    }

    #[test]
    fn the_table_has_every_preset_that_the_key_takes() {
        let allowed = crate::config::keys::find("preset").expect("it is a key").allowed.to_string();
        let names: Vec<&str> = PRESETS.iter().map(|row| row.name).collect();
        assert_eq!(allowed, names.join(", "));
        let cpu = Config::load(&flags(&[("preset", "cpu")])).expect("the defaults");
        let gpu = Config::load(&gpu(&[])).unwrap_or_else(|told| panic!("{told}"));
        assert_eq!([cpu.preset, gpu.preset], [Preset::Cpu, Preset::Gpu16Gb]);
    }

    #[test]
    fn what_is_set_goes_over_the_preset() {
        let config = Config::load(&gpu(&[("server.max_sessions", "7")])).expect("valid");
        assert_eq!((config.server.max_sessions, config.memory.vram_mib), (7, 14_745));
        let two = "[{kind = \"scripted\"}, {kind = \"scripted\", name = \"b\"}]";
        let config = Config::load(&gpu(&[("engines.stt", two)])).unwrap_or_else(|told| panic!("{told}"));
        assert_eq!(config.engines.stt.len(), 2, "a list replaces the preset's");
        assert!(config.engines.stt.iter().all(|engine| matches!(engine, SttConfig::Scripted(_))));
    }

    #[test]
    fn models_that_a_preset_needs_are_pulled_as_the_bundle_of_its_name() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        let dir = empty.path().display().to_string();
        let told = Config::load(&flags(&[("preset", "gpu-16gb"), ("models.dir", &dir)]))
            .expect_err("an empty store");
        let catalogue = crate::models::Catalogue::built_in().expect("valid");
        let bundle = catalogue.bundles.iter().find(|bundle| bundle.name == "gpu-16gb").expect("it is one");
        for model in &bundle.models {
            let about = told.0.iter().find(|problem| problem.what.contains(&format!("`{model}`")));
            let problem =
                about.unwrap_or_else(|| panic!("{model} is in the bundle, not in the preset: {told}"));
            assert_eq!(problem.advice, "run `antiphon models pull gpu-16gb`");
        }
        let others = told.0.iter().filter(|problem| !problem.what.contains("is not installed"));
        assert_eq!(others.count(), 0, "{told}");
    }
}
