//! A model's directory: which files there are, which graph of several is taken, and what to say when one is missing
//! or wrong. Knows nothing of what is in a graph.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::config::OnnxLlmConfig;
use crate::backend::LoadError;
use crate::engine::Device;

/// The hub's names for the variants of a graph, best first for a CPU: int4 reads the least memory for a token, then
/// int8. Those in half precision are computed in 32 bits after a conversion for each step, so they come last.
const VARIANTS: [&str; 8] = ["q4", "quantized", "int8", "uint8", "", "q4f16", "fp16", "bnb4"];
/// The same for a GPU, which computes in half precision; of int8, CUDA's provider has few operators, and leaves the
/// rest to the CPU.
const GPU_VARIANTS: [&str; 8] = ["q4f16", "fp16", "q4", "", "bnb4", "quantized", "int8", "uint8"];
/// Where a graph lies: the hub's layout, and that of ONNX Runtime's own exporter.
const FOLDERS: [&str; 2] = ["onnx", ""];

/// The files of a model's directory.
pub(super) struct Files<'a> {
    pub(super) config: &'a OnnxLlmConfig,
    /// Where the graph computes.
    pub(super) device: Device,
}

impl Files<'_> {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.config.model.join(name)
    }

    pub(super) fn json(&self, name: &str) -> Result<Value, LoadError> {
        let text = std::fs::read_to_string(self.path(name))
            .map_err(|error| self.missing(self.path(name), &error))?;
        serde_json::from_str(&text).map_err(|error| self.invalid(name, error.to_string()))
    }

    /// `config.json`, of a model for text and pictures the part for text.
    pub(super) fn settings(&self) -> Result<Value, LoadError> {
        let mut settings = self.json("config.json")?;
        let Some(mut text) = settings.get_mut("text_config").map(Value::take) else { return Ok(settings) };
        for key in ["eos_token_id", "transformers.js_config"] {
            if text.get(key).is_none_or(Value::is_null) {
                text[key] = settings[key].take();
            }
        }
        Ok(text)
    }

    pub(super) fn optional_json(&self, name: &str) -> Value {
        self.json(name).unwrap_or_default()
    }

    pub(super) fn optional_text(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    pub(super) fn tokenizer(&self) -> Result<Tokenizer, LoadError> {
        let path = self.path("tokenizer.json");
        std::fs::metadata(&path).map_err(|error| self.missing(path.clone(), &error))?;
        let mut tokenizer =
            Tokenizer::from_file(&path).map_err(|error| self.invalid("tokenizer.json", error.to_string()))?;
        tokenizer.with_padding(None);
        let whole = tokenizer.with_truncation(None).map(drop);
        whole.map_err(|error| self.invalid("tokenizer.json", error.to_string()))?;
        Ok(tokenizer)
    }

    /// The graph that `file` names, or else the best that is there.
    pub(super) fn graph(&self) -> Result<PathBuf, LoadError> {
        let not_found = std::io::Error::from(std::io::ErrorKind::NotFound);
        if let Some(file) = &self.config.file {
            let path = self.config.model.join(file);
            return if path.is_file() { Ok(path) } else { Err(self.missing(path, &not_found)) };
        }
        let found = self.graphs();
        found.into_iter().next().ok_or_else(|| self.missing(self.path("onnx/model.onnx"), &not_found))
    }

    /// Every variant that is there, best first.
    pub(super) fn graphs(&self) -> Vec<PathBuf> {
        let variants = if self.device.is_gpu() { &GPU_VARIANTS } else { &VARIANTS };
        let names = FOLDERS.iter().flat_map(|folder| {
            variants.iter().map(move |variant| {
                let joint = if variant.is_empty() { "" } else { "_" };
                Path::new(folder).join(format!("model{joint}{variant}.onnx"))
            })
        });
        names.map(|name| self.config.model.join(name)).filter(|path| path.is_file()).collect()
    }

    fn missing(&self, path: PathBuf, error: &std::io::Error) -> LoadError {
        LoadError::FileMissing {
            engine: self.config.name.clone(),
            path,
            reason: error.to_string(),
            next_step: "Run `make starter`, or set the engine's `model` to a directory of an ONNX export"
                .into(),
        }
    }

    pub(super) fn invalid(&self, name: &str, reason: String) -> LoadError {
        self.invalid_path(self.path(name), reason)
    }

    pub(super) fn invalid_path(&self, path: PathBuf, reason: String) -> LoadError {
        LoadError::FileInvalid {
            engine: self.config.name.clone(),
            path,
            reason,
            next_step:
                "Run `make starter` to restore the starter model, or download the model again, with every \
                        file that its graph names (`model.onnx_data`)"
                    .into(),
        }
    }
}

/// Bytes of a graph and of its weights where they are kept apart: `model.onnx_data`, `model.onnx_data_1`, …, or
/// `model.onnx.data`.
pub(super) fn weight_bytes(graph: &Path) -> u64 {
    let name = graph.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let belongs = |file: &OsStr| {
        let file = file.to_string_lossy();
        let rest = file.strip_prefix(&name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("_data") || rest == ".data")
    };
    let files = graph.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten();
    files.flatten().filter(|file| belongs(&file.file_name())).map(|file| len(&file.path())).sum()
}

pub(super) fn len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Whether a variant keeps its cache in half precision, by its name and by what `config.json` says to
/// transformers.js. Where neither tells, 32 bits, which is never too little.
pub(super) fn is_cache_half(graph: &Path, settings: &Value) -> bool {
    let stem = graph.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let variant = stem.strip_prefix("model_").unwrap_or_default();
    match &settings["transformers.js_config"]["kv_cache_dtype"] {
        Value::String(kind) => kind == "float16",
        Value::Object(kinds) if kinds.contains_key(variant) => kinds[variant] == "float16",
        _ => variant.ends_with("f16") || variant == "fp16",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn files(names: &[&str]) -> (tempfile::TempDir, OnnxLlmConfig) {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, name.as_bytes()).expect("written");
        }
        let config = OnnxLlmConfig { model: folder.path().to_owned(), ..OnnxLlmConfig::default() };
        (folder, config)
    }

    #[test]
    fn the_best_variant_is_taken_unless_one_is_named() {
        let table: [(&[&str], &str); 5] = [
            (&["onnx/model.onnx", "onnx/model_fp16.onnx"], "onnx/model.onnx"),
            (&["onnx/model_q4f16.onnx", "onnx/model_fp16.onnx"], "onnx/model_q4f16.onnx"),
            (&["onnx/model.onnx", "onnx/model_q4.onnx", "onnx/model_int8.onnx"], "onnx/model_q4.onnx"),
            (&["onnx/model.onnx", "onnx/model_quantized.onnx"], "onnx/model_quantized.onnx"),
            (&["model.onnx", "model.onnx.data"], "model.onnx"),
        ];
        for (names, expected) in table {
            let (folder, config) = files(names);
            assert_eq!(
                Files { config: &config, device: Device::Cpu }.graph().expect("one"),
                folder.path().join(expected)
            );
        }
        let all = ["onnx/model_q4.onnx", "onnx/model_q4f16.onnx", "onnx/model_int8.onnx"];
        let (folder, config) = files(&all);
        for (device, expected) in [(Device::Cpu, all[0]), (Device::Cuda(0), all[1])] {
            let files = Files { config: &config, device };
            assert_eq!(files.graph().expect("one"), folder.path().join(expected), "{device}");
        }
        let (folder, config) = files(&["onnx/model.onnx", "onnx/model_q4.onnx", "mine.onnx"]);
        let named = OnnxLlmConfig { file: Some("mine.onnx".into()), ..config.clone() };
        assert_eq!(
            Files { config: &named, device: Device::Cpu }.graph().expect("it"),
            folder.path().join("mine.onnx")
        );
        let named = OnnxLlmConfig { file: Some("onnx/model_q8.onnx".into()), ..config };
        let error = Files { config: &named, device: Device::Cpu }.graph().expect_err("not there").to_string();
        assert!(error.contains("onnx/model_q8.onnx"), "{error}");
    }

    #[test]
    fn weights_beside_the_graph_count() {
        let names =
            ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx_data_1", "onnx/model_q4.onnx"];
        let (folder, _) = files(&names);
        let bytes: usize = names[..3].iter().map(|name| name.len()).sum();
        assert_eq!(weight_bytes(&folder.path().join(names[0])), bytes as u64);
    }

    #[test]
    fn a_cache_in_half_precision_is_told_by_name_or_settings() {
        let told = json!({ "transformers.js_config": { "kv_cache_dtype": { "q4f16": "float16", "fp16": "float32" } } });
        let table = [
            ("model_q4f16.onnx", json!({}), true),
            ("model_fp16.onnx", json!({}), true),
            ("model_q4.onnx", json!({}), false),
            ("model.onnx", told.clone(), false),
            ("model_q4f16.onnx", told.clone(), true),
            ("model_fp16.onnx", told, false),
            ("model.onnx", json!({ "transformers.js_config": { "kv_cache_dtype": "float16" } }), true),
        ];
        for (name, settings, expected) in table {
            assert_eq!(is_cache_half(Path::new(name), &settings), expected, "{name} {settings}");
        }
    }

    #[test]
    fn a_model_of_text_and_pictures_is_read_by_its_part_for_text() {
        let (folder, config) = files(&["config.json"]);
        let text = json!({ "eos_token_id": 7, "text_config": { "hidden_size": 5 } });
        std::fs::write(folder.path().join("config.json"), text.to_string()).expect("written");
        let settings = Files { config: &config, device: Device::Cpu }.settings().expect("read");
        assert_eq!((&settings["hidden_size"], &settings["eos_token_id"]), (&json!(5), &json!(7)));
    }
}
