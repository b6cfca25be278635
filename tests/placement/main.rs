//! Engines in processes of their own: what they say, what their deaths cost, and that none is left behind. Real
//! processes of the real program; scripted engines where timing counts, the starter models where truth does.

mod deaths;
mod ends;
mod engines;
mod moonshine;
#[path = "../socket/mod.rs"]
#[expect(dead_code, reason = "a part of it is used here")]
mod socket;

use std::path::PathBuf;
use std::time::Duration;

use antiphon::backend::Placement;
use antiphon::backend::catalog::{EnginesConfig, LlmConfig, SttConfig, TtsConfig};
use antiphon::backend::espeak::EspeakConfig;
use antiphon::backend::onnx_llm::OnnxLlmConfig;
use antiphon::backend::whisper::WhisperConfig;
use tokio::time::timeout;

use socket::DEADLINE;

/// The program that tests' engines run in: the one that runs here is a test.
fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_antiphon").into()
}

/// The engines that the server comes with, all placed there.
fn starter(placement: Placement) -> EnginesConfig {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let stt = WhisperConfig {
        model: root.join("models/starter/stt/ggml-starter.bin"),
        placement,
        ..WhisperConfig::default()
    };
    let llm = OnnxLlmConfig { model: root.join("models/starter/llm"), placement, ..OnnxLlmConfig::default() };
    let tts = EspeakConfig { placement, ..EspeakConfig::default() };
    EnginesConfig {
        onnxruntime: root.join(".cache/onnxruntime/libonnxruntime.so"),
        program: program(),
        stt: vec![SttConfig::Whisper(stt)],
        llm: vec![LlmConfig::Onnx(llm)],
        tts: vec![TtsConfig::Espeak(tts)],
        ..EnginesConfig::default()
    }
}

/// Sends a signal by its name.
fn signal(pid: u64, name: &str) {
    let kill = std::process::Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(kill.expect("kill is everywhere").success(), "{name} {pid}");
}

/// Whether a process runs, or its end was never seen to: then it is a zombie.
fn exists(pid: u64) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

/// Whether a process runs.
fn runs(pid: u64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains("Z (zombie)"))
}

/// Looks until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(DEADLINE, look).await.is_ok(), "not {what}");
}
