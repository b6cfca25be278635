//! Presets: values for a kind of machine, below everything that is set explicitly. One table, [`PRESETS`]; each
//! is a piece of TOML that is read like a file.

use std::path::PathBuf;
use std::sync::Arc;

use super::Preset;
use super::problem::Problem;
use super::source;
use super::tree::{Node, Value};

/// One preset.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) preset: Preset,
    /// As in `preset = "..."`.
    pub(super) name: &'static str,
    /// What it sets; empty for the defaults.
    pub(super) toml: &'static str,
    /// What its user must know before relying on it.
    pub(super) note: Option<&'static str>,
}

/// Every preset.
pub(super) const PRESETS: &[Row] = &[
    Row { preset: Preset::Cpu, name: "cpu", toml: "", note: None },
    Row {
        preset: Preset::Gpu16Gb,
        name: "gpu-16gb",
        toml: GPU_16GB,
        note: Some(
            "preset gpu-16gb: its engines are the starter models on the CPU; limits, slots, instances and budgets are \
             those of the preset. docs/operations.md, GPUs, has the engines for the GPU written out",
        ),
    },
];

/// 30 users on 16 GiB of GPU memory, 32 GiB of RAM and 16 cores. Budgets are nine tenths of the GPU's memory and
/// four fifths of the RAM, as the automatic ones. The language model computes on one thread an instance, so there
/// are four; `antiphon plan --preset gpu-16gb` shows what that holds.
const GPU_16GB: &str = r#"
[server]
max_sessions = 30

[memory]
ram_mib = 26214
vram_mib = 14745

[[engines.stt]]
kind = "whisper"
slots = 8

[[engines.llm]]
kind = "onnx"
name = "onnx-1"
slots = 8

[[engines.llm]]
kind = "onnx"
name = "onnx-2"
slots = 8

[[engines.llm]]
kind = "onnx"
name = "onnx-3"
slots = 8

[[engines.llm]]
kind = "onnx"
name = "onnx-4"
slots = 8

[[engines.tts]]
kind = "espeak"
slots = 8
"#;

impl Preset {
    /// What its user must know before relying on it, if anything.
    pub fn note(self) -> Option<&'static str> {
        PRESETS.iter().find(|row| row.preset == self)?.note
    }
}

/// `tree` over the values of the preset that it names. An unknown name is told when the tree is decoded.
pub(super) fn under(tree: Node, problems: &mut Vec<Problem>) -> Node {
    let named = match tree.get("preset").map(|node| &node.value) {
        Some(Value::Text(name) | Value::Raw(name)) => name.clone(),
        _ => return tree,
    };
    let Some(row) = PRESETS.iter().find(|row| row.name == named) else { return tree };
    let path = Arc::new(PathBuf::from(format!("preset {}", row.name)));
    let mut values = source::read_file(&path, row.toml, problems);
    values.merge(tree);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, FlagValue, Sources};

    fn flags(flags: &[(&str, &str)]) -> Sources {
        let flag = |(key, value): &(&str, &str)| FlagValue {
            flag: "--set".to_owned(),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        Sources { flags: flags.iter().map(flag).collect(), ..Sources::default() }
    }

    #[test]
    fn every_preset_validates() {
        for row in PRESETS {
            let config =
                Config::load(&flags(&[("preset", row.name)])).unwrap_or_else(|told| panic!("{told}"));
            assert_eq!(config.preset, row.preset);
        }
    }

    #[test]
    fn the_table_has_every_preset_that_the_key_takes() {
        let allowed = crate::config::keys::find("preset").expect("it is a key").allowed.to_string();
        let names: Vec<&str> = PRESETS.iter().map(|row| row.name).collect();
        assert_eq!(allowed, names.join(", "));
    }

    #[test]
    fn what_is_set_goes_over_the_preset() {
        let config = Config::load(&flags(&[("preset", "gpu-16gb"), ("server.max_sessions", "7")]));
        let config = config.expect("valid");
        assert_eq!((config.server.max_sessions, config.memory.vram_mib), (7, 14_745));
        assert_eq!(config.engines.llm.len(), 4);
        let config = Config::load(&flags(&[("preset", "gpu-16gb"), ("engines.llm", "[{kind = \"onnx\"}]")]));
        assert_eq!(config.expect("valid").engines.llm.len(), 1, "a list replaces the preset's");
    }

    #[test]
    fn a_preset_that_the_build_cannot_fill_says_so() {
        assert_eq!(Preset::Cpu.note(), None);
        assert!(Preset::Gpu16Gb.note().is_some_and(|note| note.contains("on the CPU")));
    }
}
