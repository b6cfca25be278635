//! What the engines of a configuration cost, from their files: nothing is loaded. Read [`costs`] first.

use std::path::Path;

use super::catalog::{EnginesConfig, LlmConfig, SttConfig, TtsConfig, VadConfig};
use super::process::{PROCESS_BYTES, Placeable};
use super::{onnx, whisper};
use crate::engine::Device;
use crate::engine::cost::{EngineCost, OwnCost};

/// What a process takes that uses a GPU, before any engine: CUDA's context there, kernels, cuBLAS and cuDNN. An
/// assumption, not measured: contexts of a few hundred MiB are usual.
pub const CUDA_VRAM_BYTES: u64 = 512 << 20;
/// The same of RAM: the libraries' tables and what they keep of kernels.
pub const CUDA_RAM_BYTES: u64 = 768 << 20;

/// An engine of the configuration and what one instance of it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Priced {
    /// `stt`, `llm` or `tts`.
    pub pool: &'static str,
    /// Its place in the configuration: `engines.stt[0]`.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Calls that may run at once.
    pub slots: usize,
    /// It works only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Declared costs; the error says why they cannot be known. Loading it will fail for the same reason.
    pub cost: Result<EngineCost, String>,
    /// What the operator declared; it stands over what is measured too.
    pub own: OwnCost,
    /// Where it computes.
    pub device: Device,
    /// Why that is the CPU though the configuration names a GPU, and what to do.
    pub missing: Option<String>,
    /// It runs in a process of its own, and what that takes is counted with it.
    pub is_apart: bool,
}

/// Which GPUs engines are taken to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuView {
    /// Those that they would find here.
    Found,
    /// Whatever the configuration names: another machine is planned for.
    Configured,
    /// None.
    Absent,
}

/// What hears for all sessions, voices or ends of turns, by a model that takes memory worth counting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ear {
    /// What it is, in words.
    pub name: &'static str,
    /// The key of its model.
    pub key: &'static str,
    /// What it takes where it computes.
    pub bytes: u64,
    /// Where that is.
    pub device: Device,
}

/// What hears for all sessions, where its model's file is there.
pub fn ears(config: &EnginesConfig, gpus: GpuView) -> Vec<Ear> {
    let silero = if let VadConfig::Silero(silero) = &config.vad { Some(silero) } else { None };
    let vad =
        silero.map(|silero| ("voice activity", "engines.vad.model", silero.memory_bytes(), silero.device));
    let turn = &config.turn;
    let turn = ("turn detector", "engines.turn.model", turn.memory_bytes(), turn.device);
    let ear = |(name, key, bytes, asked): (_, _, Option<u64>, _)| {
        let device = match gpus {
            GpuView::Found => onnx::settle(&config.onnxruntime, asked).0,
            GpuView::Configured => asked,
            GpuView::Absent => Device::Cpu,
        };
        Some(Ear { name, key, bytes: bytes?, device })
    };
    vad.into_iter().chain([turn]).filter_map(ear).collect()
}

/// Memory of the GPUs that whisper.cpp was built for where those are not NVIDIA's.
pub fn other_gpu_bytes() -> Option<u64> {
    whisper::device::gpu_bytes()
}

/// What hears turns and voices on the CPU though it is to use a GPU: its section of the configuration, why, and what to
/// do.
pub fn ears_without_gpu(config: &EnginesConfig) -> Vec<(&'static str, String)> {
    let vad = if let VadConfig::Silero(silero) = &config.vad { silero.device } else { Device::Cpu };
    let asked = [("engines.turn", config.turn.device), ("engines.vad", vad)];
    let missing = |(key, device)| Some((key, onnx::settle(&config.onnxruntime, device).1?));
    asked.into_iter().filter_map(missing).collect()
}

/// What the engines of `config` cost on this machine, in the order of the catalog: speech-to-text, language models,
/// text-to-speech. Where one names a GPU, it is looked for.
pub fn costs(config: &EnginesConfig) -> Vec<Priced> {
    costs_with(config, GpuView::Found)
}

/// The same where these GPUs are there.
pub fn costs_with(config: &EnginesConfig, gpus: GpuView) -> Vec<Priced> {
    let at = (config.onnxruntime.as_path(), gpus);
    let stt = config.stt.iter().enumerate().map(|(index, entry)| price(("stt", index), entry, at));
    let llm = config.llm.iter().enumerate().map(|(index, entry)| price(("llm", index), entry, at));
    let tts = config.tts.iter().enumerate().map(|(index, entry)| price(("tts", index), entry, at));
    stt.chain(llm).chain(tts).collect()
}

fn price<C: Costly + Placeable>(
    (pool, index): (&'static str, usize),
    entry: &C,
    (library, gpus): (&Path, GpuView),
) -> Priced {
    let Terms { name, slots, fallback, own } = entry.terms();
    let (device, missing) = match gpus {
        GpuView::Found => entry.settle(library),
        GpuView::Configured => entry.planned(),
        GpuView::Absent => (Device::Cpu, None),
    };
    let is_forgone = !device.is_gpu() && (missing.is_some() || entry.planned().0.is_gpu());
    let own = if is_forgone { own.without_vram() } else { own };
    let is_apart = entry.is_apart();
    let declared = entry.cost(device).map(|cost| if is_apart { apart(cost, device) } else { cost });
    let declared = declared.or_else(|error| bare(pool, slots, own, error));
    Priced {
        pool,
        key: format!("engines.{pool}[{index}]"),
        name: name.to_owned(),
        slots,
        fallback,
        cost: declared.map(|cost| cost.with_own(&own)),
        own,
        device,
        missing,
        is_apart,
    }
}

/// What an engine takes in a process of its own.
fn apart(cost: EngineCost, device: Device) -> EngineCost {
    let mut cost = cost.with_more_ram(PROCESS_BYTES);
    if device.is_gpu() {
        cost = cost.with_more_ram(CUDA_RAM_BYTES);
        cost.vram.instance_bytes = cost.vram.instance_bytes.saturating_add(CUDA_VRAM_BYTES);
    }
    cost
}

/// Where files cannot be read, the operator's figures stand alone: a model may be planned for before it is there.
fn bare(pool: &str, slots: usize, own: OwnCost, error: String) -> Result<EngineCost, String> {
    let threads = if pool == "llm" { 1 } else { slots };
    if own == OwnCost::default() { Err(error) } else { Ok(EngineCost { threads, ..EngineCost::default() }) }
}

/// What the configuration itself says.
struct Terms<'a> {
    name: &'a str,
    slots: usize,
    fallback: bool,
    own: OwnCost,
}

/// What costs something.
trait Costly {
    fn terms(&self) -> Terms<'_>;
    /// What its files say, of one that computes on `device`.
    fn cost(&self, device: Device) -> Result<EngineCost, String>;
    /// Where it would compute on a machine with the GPUs that it names, and what is missing even there.
    fn planned(&self) -> (Device, Option<String>);
    /// Where it does here, and what is missing for what was asked.
    fn settle(&self, library: &Path) -> (Device, Option<String>);
}

/// What an entry of any kind says.
macro_rules! terms {
    ($config:expr) => {{
        let (slots, fallback) = ($config.slots, $config.fallback);
        Terms { name: &$config.name, slots, fallback, own: $config.cost }
    }};
}

/// `onnx`: kinds that compute in ONNX Runtime; `whisper`: in whisper.cpp; the others do on the CPU, or elsewhere.
macro_rules! costly {
    ($config:ident: onnx $($kind:ident),*; whisper $($whisper:ident),*; others $($other:ident),+) => {
        impl Costly for $config {
            fn terms(&self) -> Terms<'_> {
                match self {
                    $(Self::$kind(config) => terms!(config),)*
                    $(Self::$whisper(config) => terms!(config),)*
                    $(Self::$other(config) => terms!(config),)+
                }
            }
            fn cost(&self, device: Device) -> Result<EngineCost, String> {
                match self {
                    $(Self::$kind(config) => config.cost(device),)*
                    $(Self::$whisper(config) => config.cost(device),)*
                    $(Self::$other(config) => { let _ = device; config.cost() })+
                }
            }
            fn planned(&self) -> (Device, Option<String>) {
                match self {
                    $(Self::$kind(config) => (config.device, None),)*
                    $(Self::$whisper(config) => whisper::device::planned(config.device),)*
                    $(Self::$other(_) => (Device::Cpu, None),)+
                }
            }
            fn settle(&self, library: &Path) -> (Device, Option<String>) {
                let _ = library;
                match self {
                    $(Self::$kind(config) => onnx::settle(library, config.device),)*
                    $(Self::$whisper(config) => whisper::device::settle(config.device),)*
                    $(Self::$other(_) => (Device::Cpu, None),)+
                }
            }
        }
    };
}

costly!(SttConfig: onnx Moonshine; whisper Whisper; others OpenAi, Scripted);
costly!(LlmConfig: onnx Onnx; whisper; others OpenAi, Scripted);
costly!(TtsConfig: onnx Piper, Kokoro; whisper; others Espeak, OpenAi, Scripted);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_come_from_files_or_from_the_operator() {
        let text = r#"
            [[stt]]
            kind = "whisper"
            model = "/nowhere/ggml.bin"
            [[llm]]
            kind = "onnx"
            model = "/nowhere/llm"
            cost = { vram_mib = 3000, slot_vram_mib = 100 }
        "#;
        let priced = costs(&toml::from_str(text).expect("the documented form"));
        let keys: Vec<&str> = priced.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["engines.stt[0]", "engines.llm[0]", "engines.tts[0]"]);
        assert!(priced[0].cost.as_ref().is_err_and(|error| error.contains("/nowhere/ggml.bin")));
        let llm = priced[1].cost.as_ref().expect("the operator says");
        assert_eq!((llm.vram.peak_bytes(8) >> 20, llm.threads), (3800, 1));
    }

    #[test]
    fn a_gpu_that_is_there_holds_what_the_cpu_would() {
        let config: EnginesConfig =
            toml::from_str("[[llm]]\nkind = \"onnx\"\ndevice = \"cuda:0\"").expect("the documented form");
        let llm = |gpus| costs_with(&config, gpus).remove(1);
        let bytes = |priced: &Priced| {
            let cost = priced.cost.as_ref().expect("the starter model is there");
            (cost.ram.peak_bytes(8), cost.vram.peak_bytes(8))
        };
        let (there, absent, found) = (llm(GpuView::Configured), llm(GpuView::Absent), llm(GpuView::Found));
        assert_eq!((there.device, absent.device), (Device::Cuda(0), Device::Cpu));
        let ((ram, vram), on_cpu) = (bytes(&there), bytes(&absent));
        assert!(vram > ram && on_cpu.0 > vram / 2 && on_cpu.1 == 0, "{there:?} {absent:?}");
        // No machine that tests this has one; where one does, the library for the CPU does not use it.
        assert_eq!((found.device, bytes(&found)), (Device::Cpu, on_cpu));
        assert!(found.missing.expect("told").contains("scripts/setup --cuda"));
    }

    #[test]
    fn a_process_of_its_own_is_counted() {
        let bytes = |placement: &str| {
            let text = format!("[[stt]]\nkind = \"scripted\"\nplacement = \"{placement}\"");
            let config: EnginesConfig = toml::from_str(&text).expect("the documented form");
            costs(&config).remove(0).cost.expect("a script has none of its own").ram.peak_bytes(4)
        };
        assert_eq!((bytes("server"), bytes("process")), (0, PROCESS_BYTES));
    }
}
