//! A model's directory: which graphs are taken of several, and what to say when a file is missing or wrong. Knows
//! nothing of what is in a graph.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::MoonshineConfig;
use crate::backend::LoadError;
use crate::engine::Device;

/// The hub's names for the variants of a decoder, best first for a CPU. In int4 the vocabulary stays in 32 bits, so that
/// such a file of a model this small is twice as large as one in int8.
const DECODERS: [&str; 7] = ["quantized", "uint8", "int8", "", "q4", "q4f16", "fp16"];
/// Of an encoder, and of both on a GPU, 32 bits first: in int8 the encoder's convolutions hear worse (`models/manifest.toml`
/// says who found it), and CUDA's provider has few operators for it and leaves the rest to the CPU; the hub's files in
/// half precision are reported not to open.
const WHOLE_FIRST: [&str; 7] = ["", "fp16", "q4", "q4f16", "quantized", "uint8", "int8"];
/// Where a graph lies: the hub's layout, and beside the settings.
const FOLDERS: [&str; 2] = ["onnx", ""];
const ENCODER: &str = "encoder_model";
const DECODER: &str = "decoder_model_merged";

/// The files of a model's directory.
pub(super) struct Files<'a> {
    pub(super) config: &'a MoonshineConfig,
}

impl Files<'_> {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.config.model.join(name)
    }

    pub(super) fn json(&self, name: &str) -> Result<Value, LoadError> {
        let path = self.path(name);
        let text = std::fs::read_to_string(&path).map_err(|error| self.missing(path, &error))?;
        serde_json::from_str(&text).map_err(|error| self.invalid(&self.path(name), error.to_string()))
    }

    /// A file that need not be there.
    pub(super) fn optional_json(&self, name: &str) -> Result<Value, LoadError> {
        if self.path(name).exists() { self.json(name) } else { Ok(Value::Null) }
    }

    pub(super) fn tokenizer(&self) -> Result<Tokenizer, LoadError> {
        let path = self.path("tokenizer.json");
        std::fs::metadata(&path).map_err(|error| self.missing(path.clone(), &error))?;
        Tokenizer::from_file(&path).map_err(|error| self.invalid(&path, error.to_string()))
    }

    /// The encoder's graph, and the decoder's, for this device.
    pub(super) fn graphs(&self, device: Device) -> Result<(PathBuf, PathBuf), LoadError> {
        let decoders = if device.is_gpu() { &WHOLE_FIRST } else { &DECODERS };
        let encoder = self.graph((ENCODER, &WHOLE_FIRST), self.config.encoder.as_deref())?;
        Ok((encoder, self.graph((DECODER, decoders), self.config.decoder.as_deref())?))
    }

    fn graph(&self, (stem, variants): (&str, &[&str]), named: Option<&Path>) -> Result<PathBuf, LoadError> {
        let names = FOLDERS.iter().flat_map(|folder| {
            variants.iter().map(move |variant| {
                let joint = if variant.is_empty() { "" } else { "_" };
                Path::new(folder).join(format!("{stem}{joint}{variant}.onnx"))
            })
        });
        let wanted: Vec<PathBuf> = named.map_or_else(|| names.collect(), |file| vec![file.to_owned()]);
        let found = wanted.iter().map(|name| self.config.model.join(name)).find(|path| path.is_file());
        let not_found = std::io::Error::from(std::io::ErrorKind::NotFound);
        let first = named.map_or_else(|| Path::new("onnx").join(format!("{stem}.onnx")), Path::to_owned);
        found.ok_or_else(|| self.missing(self.config.model.join(first), &not_found))
    }

    fn missing(&self, path: PathBuf, error: &std::io::Error) -> LoadError {
        LoadError::FileMissing {
            engine: self.config.name.clone(),
            path,
            reason: error.to_string(),
            next_step: "Run `antiphon models pull moonshine-tiny` and set the engine's `model` to \
                        `models:moonshine-tiny`, or to a directory with config.json, tokenizer.json and both graphs"
                .into(),
        }
    }

    pub(super) fn invalid(&self, path: &Path, reason: String) -> LoadError {
        LoadError::FileInvalid {
            engine: self.config.name.clone(),
            path: path.to_owned(),
            reason,
            next_step:
                "Download the model again; docs/operations.md, Moonshine, says which exports are taken".into(),
        }
    }
}

/// Bytes of a graph and of its weights where they are kept apart.
pub(super) fn weight_bytes(graph: &Path) -> u64 {
    let beside = ["", "_data", ".data"].map(|end| {
        let mut name = graph.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    });
    beside.iter().map(|path| len(path)).sum()
}

pub(super) fn len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_variant_of_each_graph_is_taken_unless_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            std::fs::create_dir_all(folder.path().join("onnx")).expect("made");
            std::fs::write(folder.path().join(name), "graph").expect("written");
        };
        let config = MoonshineConfig { model: folder.path().to_owned(), ..MoonshineConfig::default() };
        let graphs_on = |device, config: &MoonshineConfig| {
            Files { config }.graphs(device).map(|(encoder, decoder)| {
                [encoder, decoder].map(|path| {
                    path.strip_prefix(folder.path()).expect("within").to_string_lossy().into_owned()
                })
            })
        };
        let graphs = |config: &MoonshineConfig| graphs_on(Device::Cpu, config);
        write("onnx/encoder_model.onnx");
        let error = graphs(&config).expect_err("no decoder").to_string();
        assert!(error.contains("onnx/decoder_model_merged.onnx") && error.contains("models pull"), "{error}");
        write("onnx/decoder_model_merged_q4.onnx");
        write("decoder_model_merged_int8.onnx");
        let found = ["onnx/encoder_model.onnx", "onnx/decoder_model_merged_q4.onnx"].map(str::to_owned);
        assert_eq!(graphs(&config), Ok(found));
        write("onnx/encoder_model_quantized.onnx");
        let on_gpu = graphs_on(Device::Cuda(0), &config).expect("both");
        let found = ["onnx/encoder_model.onnx", "onnx/decoder_model_merged_q4.onnx"].map(str::to_owned);
        assert_eq!(on_gpu, found, "CUDA has few operators for 8 bits");
        let named =
            MoonshineConfig { decoder: Some("decoder_model_merged_int8.onnx".into()), ..config.clone() };
        let found = ["onnx/encoder_model.onnx", "decoder_model_merged_int8.onnx"];
        assert_eq!(graphs(&named), Ok(found.map(str::to_owned)), "its encoder in 8 bits hears worse");
        let wrong = MoonshineConfig { encoder: Some("onnx/mine.onnx".into()), ..config };
        assert!(graphs(&wrong).expect_err("not there").to_string().contains("onnx/mine.onnx"));
    }
}
