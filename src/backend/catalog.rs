//! Which engines there are: reads their configuration and builds them, or says all that is wrong at once.
//!
//! Knows every backend and no pool. Read [`EnginesConfig`] first.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::LoadError;
use super::described::Described;
use super::earshot::EarshotVad;
use super::espeak::EspeakTts;
use super::growth::Growth;
use super::kokoro::KokoroTts;
use super::moonshine::MoonshineEngine;
use super::onnx_llm::OnnxLlm;
use super::openai::{OpenAiLlm, OpenAiStt, OpenAiTts};
use super::piper::PiperTts;
use super::process::{AnyEngine, Placeable, PlacedConfig, ProcessEngine};
use super::scripted::{ScriptedLlm, ScriptedStt, ScriptedTts, ScriptedVad};
use super::silero::SileroVad;
use super::smart_turn::SmartTurn;
use super::whisper::WhisperEngine;
use crate::engine::compute::ComputeGate;
use crate::engine::cost::LoadGrowth;
use crate::engine::endpoint::Endpoint;
use crate::engine::llm::LlmEngine;
use crate::engine::model::ModelInfo;
use crate::engine::stt::SttEngine;
use crate::engine::tts::TtsEngine;
use crate::engine::turn::TurnDetector;
use crate::engine::vad::VadEngine;
use crate::engine::{Device, EngineProcess};

pub use self::config::{EnginesConfig, LlmConfig, SttConfig, TtsConfig, VadConfig};
pub use super::costs::{
    CUDA_RAM_BYTES, CUDA_VRAM_BYTES, Ear, GpuView, Priced, costs, costs_with, ears, ears_without_gpu,
    other_gpu_bytes,
};

mod config;

use self::config::Entry;

/// The engines of a server.
#[derive(Debug)]
pub struct EngineSet {
    /// Speech-to-text, at least one.
    pub stt: Vec<Loaded<dyn SttEngine>>,
    /// Language models, at least one.
    pub llm: Vec<Loaded<dyn LlmEngine>>,
    /// Text-to-speech, at least one.
    pub tts: Vec<Loaded<dyn TtsEngine>>,
    /// Voice activity.
    pub vad: Arc<dyn VadEngine>,
    /// Turn detection by voice, where its model is there.
    pub turn: Option<Arc<dyn TurnDetector>>,
}

impl EngineSet {
    /// What the engines tell of their models: speech-to-text, language models, text-to-speech.
    pub fn models(&self) -> Vec<ModelInfo> {
        let stt = self.stt.iter().map(|loaded| &loaded.model);
        let llm = self.llm.iter().map(|loaded| &loaded.model);
        stt.chain(llm).chain(self.tts.iter().map(|loaded| &loaded.model)).cloned().collect()
    }
}

/// An engine and how much of it may be used at once.
pub struct Loaded<E: ?Sized> {
    /// Its name; no two engines of one list share it.
    pub name: String,
    /// The engine.
    pub engine: Arc<E>,
    /// Calls that may run at once.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Each call computes on `device` from its begin to its end. Others compute elsewhere, or ask for each of their
    /// steps.
    pub computes: bool,
    /// Where it computes: what was asked for, or the CPU where that is not there. `None` for one behind a URL.
    pub device: Option<Device>,
    /// How an engine behind a URL is called; `None` for one of this machine.
    pub endpoint: Option<Endpoint>,
    /// What it tells of its model.
    pub model: ModelInfo,
    /// The process that an engine runs in, where that is not this one.
    pub process: fn(&E) -> Option<EngineProcess>,
    /// How memory grew while it was loaded, here and in its process.
    pub measured: LoadGrowth,
    /// Builds the engine anew. Blocks while its model loads.
    pub rebuild: Rebuild<E>,
}

/// Builds an engine anew.
pub type Rebuild<E> = Arc<dyn Fn() -> Result<Arc<E>, LoadError> + Send + Sync>;

impl<E: ?Sized> std::fmt::Debug for Loaded<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("name", &self.name).field("slots", &self.slots).finish_non_exhaustive()
    }
}

/// What engines are built with, beside their own settings.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Where engines that work in steps ask for each of them.
    pub gate: Arc<dyn ComputeGate>,
    /// ONNX Runtime's shared library.
    pub(super) onnxruntime: PathBuf,
    /// `engines.program`.
    pub(super) program: PathBuf,
    /// Environment variables that are not for processes of engines.
    pub(super) secrets: Vec<String>,
}

impl Resources {
    /// Those of the process of one engine.
    pub(super) fn here(gate: Arc<dyn ComputeGate>, onnxruntime: PathBuf) -> Self {
        Self { gate, onnxruntime, program: PathBuf::new(), secrets: Vec::new() }
    }
}

/// Builds the engines that `config` names. Blocks while models load.
pub fn load(config: &EnginesConfig, gate: Arc<dyn ComputeGate>) -> Result<EngineSet, Vec<LoadError>> {
    let mut errors = Vec::new();
    let (onnxruntime, program) = (config.onnxruntime.clone(), config.program.clone());
    let resources = Resources { gate, onnxruntime, program, secrets: config.secrets() };
    let stt = build("stt", &config.stt, (&resources, load_stt), &mut errors);
    let llm = build("llm", &config.llm, (&resources, load_llm), &mut errors);
    let tts = build("tts", &config.tts, (&resources, load_tts), &mut errors);
    let vad = load_vad(&config.vad, &resources).map_err(|error| errors.push(error)).ok();
    let turn = SmartTurn::load(&config.turn, &resources.onnxruntime, Arc::clone(&resources.gate));
    let turn = turn.map_err(|error| errors.push(error)).ok().flatten();
    let turn = turn.map(|detector| Arc::new(detector) as Arc<dyn TurnDetector>);
    match vad {
        Some(vad) if errors.is_empty() => Ok(EngineSet { stt, llm, tts, vad, turn }),
        _ => Err(errors),
    }
}

fn load_vad(config: &VadConfig, resources: &Resources) -> Result<Arc<dyn VadEngine>, LoadError> {
    Ok(match config {
        VadConfig::Earshot => Arc::new(EarshotVad),
        VadConfig::Silero(config) => {
            Arc::new(SileroVad::load(config, &resources.onnxruntime, Arc::clone(&resources.gate))?)
        }
        VadConfig::Scripted(config) => Arc::new(ScriptedVad::new(config)),
    })
}

fn load_stt(config: &SttConfig, resources: &Resources) -> Result<Arc<dyn SttEngine>, LoadError> {
    apart(config, resources).map_or_else(|| stt_here(config, resources), |engine| Ok(Arc::new(engine?)))
}

fn load_llm(config: &LlmConfig, resources: &Resources) -> Result<Arc<dyn LlmEngine>, LoadError> {
    apart(config, resources).map_or_else(|| llm_here(config, resources), |engine| Ok(Arc::new(engine?)))
}

fn load_tts(config: &TtsConfig, resources: &Resources) -> Result<Arc<dyn TtsEngine>, LoadError> {
    apart(config, resources).map_or_else(|| tts_here(config, resources), |engine| Ok(Arc::new(engine?)))
}

/// The engine in a process of its own; `None` where it is not to run in one.
fn apart<C: Placeable>(config: &C, resources: &Resources) -> Option<Result<ProcessEngine, LoadError>> {
    config.is_apart().then(|| ProcessEngine::load(&config.clone().into(), resources))
}

/// Builds one engine in this process, wherever it is configured to run.
pub(super) fn load_here(config: &PlacedConfig, resources: &Resources) -> Result<AnyEngine, LoadError> {
    Ok(match config {
        PlacedConfig::Stt(config) => AnyEngine::Stt(stt_here(config, resources)?),
        PlacedConfig::Llm(config) => AnyEngine::Llm(llm_here(config, resources)?),
        PlacedConfig::Tts(config) => AnyEngine::Tts(tts_here(config, resources)?),
    })
}

fn stt_here(config: &SttConfig, resources: &Resources) -> Result<Arc<dyn SttEngine>, LoadError> {
    Ok(match config {
        SttConfig::Whisper(config) => Arc::new(WhisperEngine::load(config)?),
        SttConfig::Moonshine(config) => Arc::new(MoonshineEngine::load(config, &resources.onnxruntime)?),
        SttConfig::OpenAi(config) => Arc::new(OpenAiStt::open(config)?),
        SttConfig::Scripted(config) => Arc::new(ScriptedStt::new(config)),
    })
}

fn llm_here(config: &LlmConfig, resources: &Resources) -> Result<Arc<dyn LlmEngine>, LoadError> {
    Ok(match config {
        LlmConfig::Onnx(config) => {
            Arc::new(OnnxLlm::load(config, &resources.onnxruntime, Arc::clone(&resources.gate))?)
        }
        LlmConfig::OpenAi(config) => Arc::new(OpenAiLlm::open(config)?),
        LlmConfig::Scripted(config) => Arc::new(ScriptedLlm::new(config)),
    })
}

fn tts_here(config: &TtsConfig, resources: &Resources) -> Result<Arc<dyn TtsEngine>, LoadError> {
    let gate = Arc::clone(&resources.gate);
    Ok(match config {
        TtsConfig::Espeak(config) => Arc::new(EspeakTts::load(config)?),
        TtsConfig::OpenAi(config) => Arc::new(OpenAiTts::open(config)?),
        TtsConfig::Piper(config) => Arc::new(PiperTts::load(config, &resources.onnxruntime, gate)?),
        TtsConfig::Kokoro(config) => Arc::new(KokoroTts::load(config, &resources.onnxruntime, gate)?),
        TtsConfig::Scripted(config) => Arc::new(ScriptedTts::new(config)),
    })
}

/// The most slots an engine may have: more is a slip of the pen, and would be as many threads or sequences.
const MAX_SLOTS: usize = 256;

/// How one kind of engine is built.
type Load<C, E> = fn(&C, &Resources) -> Result<Arc<E>, LoadError>;

fn build<C: Entry, E: ?Sized + Described + 'static>(
    list: &str,
    entries: &[C],
    (resources, load): (&Resources, Load<C, E>),
    errors: &mut Vec<LoadError>,
) -> Vec<Loaded<E>> {
    let mut wrong = |key: String, value: String, reason: &str| {
        errors.push(LoadError::Config { key, value, reason: reason.to_owned() });
    };
    if entries.is_empty() {
        wrong(list.to_owned(), "[]".into(), "name at least one engine, or leave the list out");
    }
    let mut names = BTreeSet::new();
    let mut usable = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let (name, slots) = (entry.name(), entry.slots());
        if name.is_empty() || !names.insert(name) {
            wrong(format!("{list}[{index}].name"), name.to_owned(), "every engine has a name of its own");
        } else if !(1..=MAX_SLOTS).contains(&slots) {
            wrong(format!("{list}[{index}].slots"), slots.to_string(), "from 1 to 256");
        } else {
            usable.push(entry);
        }
    }
    if !entries.is_empty() && entries.iter().all(Entry::fallback) {
        wrong(format!("{list}[0].fallback"), "true".into(), "one engine at least is not a fallback");
    }
    let mut loaded = Vec::new();
    let growth = Growth::watch();
    for entry in usable {
        match growth.around(|| load_one(entry, resources, load)) {
            (Ok(engine), measured) => {
                let measured = growth.with_process(measured, (engine.process)(&engine.engine));
                measured.tell(list, &engine.name, engine.slots);
                loaded.push(Loaded { measured, ..engine });
            }
            (Err(error), _) => errors.push(error),
        }
    }
    loaded
}

fn load_one<C: Entry, E: ?Sized + Described + 'static>(
    entry: &C,
    resources: &Resources,
    load: Load<C, E>,
) -> Result<Loaded<E>, LoadError> {
    let engine = load(entry, resources)?;
    let (again, resources) = (entry.clone(), resources.clone());
    let endpoint = entry.endpoint();
    let device = Some(engine.device_of()).filter(|_| endpoint.is_none());
    Ok(Loaded {
        name: entry.name().to_owned(),
        model: ModelInfo { device, ..engine.describe(entry.name()) },
        engine,
        slots: entry.slots(),
        fallback: entry.fallback(),
        computes: entry.computes_on(device),
        device,
        endpoint,
        process: E::process_of,
        measured: LoadGrowth::default(),
        rebuild: Arc::new(move || load(&again, &resources)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineCost;
    use crate::engine::compute::Unlimited;

    const SCRIPTED: &str = r#"
        vad = { kind = "scripted", threshold_dbfs = -30.0 }
        [[stt]]
        kind = "scripted"
        calls = [[{ after_ms = 40, text = "hello" }]]
        [[llm]]
        kind = "scripted"
        slots = 3
        [[tts]]
        kind = "scripted"
        [[tts]]
        kind = "scripted"
        name = "second"
        character_ms = 10
    "#;

    #[test]
    fn scripted_engines_load_from_toml() {
        let config: EnginesConfig = toml::from_str(SCRIPTED).expect("the documented form");
        let engines = load(&config, Arc::new(Unlimited)).expect("nothing to go wrong");
        assert_eq!(engines.llm[0].slots, 3);
        let names: Vec<&str> = engines.tts.iter().map(|loaded| loaded.name.as_str()).collect();
        assert_eq!(names, ["scripted-tts", "second"]);
    }

    #[test]
    fn configuration_round_trips_and_unknown_keys_are_refused() {
        for config in [EnginesConfig::default(), toml::from_str(SCRIPTED).expect("valid")] {
            let text = toml::to_string(&config).expect("it serializes");
            assert_eq!(toml::from_str::<EnginesConfig>(&text).expect("and back"), config);
        }
        let error = toml::from_str::<EnginesConfig>("[[tts]]\nkind = \"espeak\"\nlangauge = \"de\"");
        assert!(error.expect_err("a typo").to_string().contains("langauge"));
    }

    #[test]
    fn engines_behind_urls_tell_their_limits() {
        let text = r#"
            [[stt]]
            kind = "openai"
            url = "http://127.0.0.1:8000/v1"
            model = "whisper-1"
            [[llm]]
            kind = "openai"
            name = "local"
            url = "http://127.0.0.1:11434/v1"
            model = "qwen3"
            slots = 2
            sampling = { temperature = 0.5 }
            extra = { chat_template_kwargs = { enable_thinking = false } }
            limits = { requests_per_minute = 60 }
            timeouts = { connect_ms = 100 }
            [[llm]]
            kind = "openai"
            url = "https://api.example/v1"
            model = "m"
            api_key_env = "CARGO_PKG_NAME"
            fallback = true
            [[tts]]
            kind = "openai"
            url = "http://127.0.0.1:8000/v1"
            model = "tts-1"
            voices = ["anna"]
        "#;
        let config: EnginesConfig = toml::from_str(text).expect("the documented form");
        let again = toml::to_string(&config).expect("it serializes");
        assert_eq!(toml::from_str::<EnginesConfig>(&again).expect("and back"), config);
        let engines = load(&config, Arc::new(Unlimited)).expect("nothing is connected to yet");
        let endpoint = engines.llm[0].endpoint.expect("it is one");
        assert_eq!((endpoint.limits.requests_per_minute, endpoint.limits.min_interval_ms), (60, 50));
        assert_eq!((endpoint.timeouts.connect_ms, endpoint.timeouts.between_ms), (100, 5_000));
        assert!(engines.stt[0].endpoint.is_some() && engines.tts[0].endpoint.is_some());
        assert!(!engines.llm[0].computes && !engines.stt[0].computes && !engines.tts[0].computes);
        assert_eq!(engines.tts[0].model.voices, ["anna"]);
        assert!(costs(&config).iter().all(|priced| priced.cost == Ok(EngineCost::default())));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = r#"
            stt = []
            [[llm]]
            kind = "scripted"
            slots = 0
            [[llm]]
            kind = "onnx"
            model = "/nowhere/llm"
            [[tts]]
            kind = "espeak"
            program = "/nowhere/espeak-ng"
            [[tts]]
            kind = "scripted"
            name = "espeak"
        "#;
        let config: EnginesConfig = toml::from_str(text).expect("well formed");
        let errors = load(&config, Arc::new(Unlimited)).expect_err("nothing of it works");
        let told = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(errors.len(), 5, "{told}");
        for part in
            ["stt = []", "llm[0].slots = 0", "tts[1].name = espeak", "/nowhere/llm", "/nowhere/espeak-ng"]
        {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
    }
}
