//! `antiphon models` as people run it, against a stand-in hub, and a server on what it pulled.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use antiphon::audio::Resampler;
use antiphon::backend::espeak::{EspeakConfig, EspeakTts};
use antiphon::engine::CancelFlag;
use antiphon::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt;
use serde_json::json;

use crate::hub::{Fault, Served, Side, StandIn, sha256};
use crate::socket::{Client, DEADLINE, Program};

const EARS: &str = "/org/ears/resolve/v1/a.bin";

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The program in `folder`, with the hub's address and nothing else of this machine's settings.
fn command(folder: &Path, hub: &StandIn, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon"));
    let foreign = |name: &str| {
        let name = name.to_uppercase();
        name.starts_with("ANTIPHON_") || name.starts_with("HF_") || name.ends_with("_PROXY")
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| foreign(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.env("HOME", folder).env_remove("XDG_DATA_HOME").env_remove("XDG_CACHE_HOME");
    command.env("HF_ENDPOINT", hub.endpoint()).current_dir(folder).args(args).stdin(Stdio::null());
    command
}

/// Runs it to its end while this thread's servers go on.
async fn run(mut command: Command) -> Run {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs");
    let Output { status, stdout, stderr } = output.expect("the program was built for this test");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    Run { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

async fn models(folder: &Path, hub: &StandIn, args: &[&str]) -> Run {
    let args: Vec<&str> = ["models"].iter().chain(args).copied().collect();
    run(command(folder, hub, &args)).await
}

/// A folder whose configuration names a catalogue with the model `ears` of one file.
fn folder(facts: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = format!(
        "[[model]]\nname = \"ears\"\nkind = \"stt\"\nabout = \"\"\nlanguages = [\"en\"]\nlicence = \"MIT\"\n\
         source = {{ hub = \"org/ears\", revision = \"v1\" }}\nmain = \"a.bin\"\n\
         files = [{{ path = \"a.bin\"{facts} }}]\nengine = {{ kind = \"whisper\" }}\n"
    );
    std::fs::write(folder.path().join("mine.toml"), catalogue).expect("writable");
    let config = "[models]\ndir = \"store\"\ncatalogue = \"mine.toml\"\n[[engines.stt]]\nkind = \"whisper\"\n\
                  model = \"models:ears\"\n";
    std::fs::write(folder.path().join("antiphon.toml"), config).expect("writable");
    folder
}

#[tokio::test]
async fn a_model_is_pulled_listed_found_checked_and_removed() {
    let (hub, bytes) = (StandIn::start().await, vec![7; 1_234_567]);
    let digest = hub.add(EARS, &bytes);
    let folder = folder(&format!(", bytes = 1234567, sha256 = \"{digest}\""));
    let models = |args: &'static [&'static str]| models(folder.path(), &hub, args);
    let check = || run(command(folder.path(), &hub, &["check"]));

    let absent = check().await;
    assert_eq!(absent.code, Some(2));
    let told = "antiphon.toml:6: `engines.stt[0].model` = \"models:ears\": the model `ears` is not installed in \
                store; run `antiphon models pull ears`";
    assert!(absent.stderr.contains(told), "{}", absent.stderr);
    let path = models(&["path", "ears"]).await;
    assert_eq!((path.code, path.stdout.as_str()), (Some(1), ""));

    let pull = models(&["pull", "ears"]).await;
    assert_eq!(pull.code, Some(0), "{}", pull.stderr);
    assert!(
        pull.stderr.contains("ears/a.bin: 2 MB\n") && pull.stderr.contains("ears/a.bin: 50 %\n"),
        "{}",
        pull.stderr
    );
    assert!(pull.stderr.ends_with("ears/a.bin: downloaded\n"), "plain lines, no bars: {}", pull.stderr);
    assert!(pull.stdout.contains("ears is installed: store/ears (MIT)\n"), "{}", pull.stdout);
    assert!(
        pull.stdout.contains("[[engines.stt]]\nkind = \"whisper\"\nmodel = \"models:ears\"\n"),
        "{}",
        pull.stdout
    );
    assert_eq!(std::fs::read(folder.path().join("store/ears/a.bin")).expect("in place"), bytes);

    let path = models(&["path", "ears"]).await;
    assert_eq!((path.code, path.stdout.as_str()), (Some(0), "store/ears/a.bin\n"));
    let list = models(&["list"]).await.stdout;
    let row = list.lines().find(|line| line.starts_with("ears ")).expect("a row");
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        ["ears", "stt", "en", "2", "MB", ">=2", "MB", "yes", "MIT"]
    );
    assert!(list.contains("whisper-base.en ") && list.contains("\ncpu-en "), "the built-in ones too: {list}");
    assert_eq!(check().await.code, Some(0), "the configuration finds it");

    let whole = models(&["verify"]).await;
    assert_eq!((whole.code, whole.stdout.as_str()), (Some(0), "ears: whole\n"));
    std::fs::write(folder.path().join("store/ears/a.bin"), vec![8; 1_234_567]).expect("writable");
    let damaged = models(&["verify", "ears"]).await;
    assert_eq!(damaged.code, Some(1));
    assert!(damaged.stdout.contains("ears: damaged\n  a.bin has the checksum"), "{}", damaged.stdout);
    assert!(damaged.stderr.contains("`antiphon models pull NAME`"), "{}", damaged.stderr);

    let asked = models(&["remove", "ears"]).await;
    assert_eq!(asked.code, Some(1));
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    let removed = models(&["remove", "ears", "--yes"]).await;
    assert_eq!((removed.code, removed.stdout.as_str()), (Some(0), "ears is removed\n"));
    assert!(!folder.path().join("store/ears").exists());
    let unknown = models(&["pull", "eers"]).await;
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("did you mean `ears`?"), "{}", unknown.stderr);
}

#[tokio::test]
async fn ctrl_c_keeps_what_was_downloaded() {
    let (hub, bytes) = (StandIn::start().await, vec![7; 400_000]);
    let digest = hub.add(EARS, &bytes);
    let folder = folder(&format!(", sha256 = \"{digest}\""));
    hub.fault(Side::Content, EARS, [Fault::Stall(100_000)]);
    let mut pull = command(folder.path(), &hub, &["models", "pull", "ears"]);
    let pull = pull.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("built for this test");
    let part = folder.path().join("store/.parts/ears/a.bin.part");
    let grown = async {
        while part.metadata().map_or(0, |meta| meta.len()) < 100_000 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, grown).await.expect("the first bytes arrive");
    let kill = Command::new("kill").args(["-INT", &pull.id().to_string()]).status();
    assert!(kill.expect("kill is everywhere").success());
    let ended = tokio::task::spawn_blocking(move || pull.wait_with_output()).await.expect("runs");
    let ended = ended.expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(told.contains("stopped; what was downloaded is kept"), "{told}");
    hub.seen();
    let again = models(folder.path(), &hub, &["pull", "ears"]).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains("going on at 100 kB"), "{}", again.stderr);
    assert_eq!(hub.seen_by(Side::Content)[0].range.as_deref(), Some("bytes=100000-"));
    assert_eq!(std::fs::read(folder.path().join("store/ears/a.bin")).expect("in place"), bytes);
}

#[tokio::test]
async fn a_proxy_is_used_and_offline_uses_none() {
    let hub = StandIn::start().await;
    let digest = hub.put_small(EARS, b"small");
    let folder = folder(&format!(", sha256 = \"{digest}\""));
    let mut pull = command(folder.path(), &hub, &["models", "pull", "ears"]);
    pull.env("HF_ENDPOINT", "http://hub.invalid")
        .env("HTTP_PROXY", hub.endpoint())
        .env("HF_TOKEN", "hf_secret");
    let pulled = run(pull).await;
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    let seen = hub.seen();
    assert_eq!((seen[0].host.as_str(), seen[0].path.as_str()), ("hub.invalid", EARS));
    assert!(!pulled.stdout.contains("hf_secret") && !pulled.stderr.contains("hf_secret"));
    models(folder.path(), &hub, &["remove", "ears", "-y"]).await;
    let offline = models(folder.path(), &hub, &["pull", "ears", "--offline"]).await;
    assert_eq!(offline.code, Some(1));
    assert!(offline.stderr.contains("the network may not be used (--offline"), "{}", offline.stderr);
    assert!(hub.seen().is_empty());
}

/// The files of a starter model, as a hub has them: its path in the repository here, and there.
fn publish(hub: &StandIn, repo: &str, folder: &str, files: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/starter").join(folder);
    let entries = files.iter().map(|path| {
        let bytes =
            std::fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}; `make starter`"));
        let at = format!("/{repo}/resolve/v1/{path}");
        // A hub keeps small files itself and sends large ones from elsewhere.
        let digest = if bytes.len() > 100_000 { hub.add(&at, &bytes) } else { hub.put_small(&at, &bytes) };
        format!("{{ path = \"{path}\", bytes = {}, sha256 = \"{digest}\" }}", bytes.len())
    });
    entries.collect::<Vec<_>>().join(", ")
}

const CATALOGUE: &str = r#"
[[model]]
name = "starter-ears"
kind = "stt"
about = ""
languages = ["en"]
licence = "MIT OR Apache-2.0"
source = { hub = "org/ears", revision = "v1" }
main = "ggml-starter.bin"
files = [EARS]
engine = { kind = "whisper", language = "en" }

[[model]]
name = "starter-mind"
kind = "llm"
about = ""
languages = ["en"]
licence = "MIT OR Apache-2.0"
source = { hub = "org/mind", revision = "v1" }
files = [MIND]
engine = { kind = "onnx", file = "onnx/model.onnx" }

[[bundle]]
name = "starters"
about = ""
device = "cpu"
models = ["starter-ears", "starter-mind"]
"#;

#[tokio::test]
async fn a_server_on_pulled_models_answers_a_spoken_turn() {
    let hub = StandIn::start().await;
    let ears = publish(&hub, "org/ears", "stt", &["ggml-starter.bin"]);
    let files = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "onnx/model.onnx",
    ];
    let mind = publish(&hub, "org/mind", "llm", &files);
    hub.fault(Side::Content, "/org/ears/resolve/v1/ggml-starter.bin", [Fault::Cut(5_000_000)]);
    hub.fault(Side::Hub, "/org/mind/resolve/v1/onnx/model.onnx", [Fault::Status(429, Some("0"))]);
    let folder = tempfile::tempdir().expect("a folder");
    let catalogue = CATALOGUE.replace("[EARS]", &format!("[{ears}]")).replace("[MIND]", &format!("[{mind}]"));
    std::fs::write(folder.path().join("mine.toml"), catalogue).expect("writable");
    let base = "[models]\ndir = \"store\"\ncatalogue = \"mine.toml\"\n[store]\nkind = \"memory\"\n";
    std::fs::write(folder.path().join("antiphon.toml"), base).expect("writable");

    let pulled = models(folder.path(), &hub, &["pull", "starters"]).await;
    assert_eq!(pulled.code, Some(0), "{}{}", pulled.stdout, pulled.stderr);
    let (_, settings) = pulled.stdout.split_once("antiphon.toml:\n\n").expect("it says what to write");
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime/libonnxruntime.so");
    let engines = format!("[engines]\nonnxruntime = \"{}\"\n", library.display());
    std::fs::write(folder.path().join("antiphon.toml"), format!("{base}{engines}{settings}"))
        .expect("writable");

    let program = Program::start(folder.path());
    let mut client = Client::admitted(program.address).await;
    let session = json!({"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper"}}}});
    client.send(json!({"type": "session.update", "session": session})).await;
    let mut speech = spoken("My name is Anna and I live in Oslo.").await;
    speech.extend(vec![0; 48_000]);
    for chunk in speech.chunks(2_400) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        client.send(json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(bytes)})).await;
    }
    let (mut heard, mut answered, mut audio) = (String::new(), String::new(), 0);
    loop {
        let event = client.event().await;
        match event["type"].as_str().unwrap_or_default() {
            "conversation.item.input_audio_transcription.completed" => {
                heard = event["transcript"].as_str().expect("text").to_lowercase();
            }
            "response.output_audio.delta" => audio += event["delta"].as_str().expect("audio").len(),
            "response.output_audio_transcript.done" => {
                answered = event["transcript"].as_str().expect("text").to_lowercase();
            }
            "response.done" if event["response"]["status"] == "completed" => break,
            _ => {}
        }
    }
    assert!(heard.contains("my name is anna"), "{heard}");
    assert!(answered.contains("anna") || answered.contains("oslo"), "it answers what was said: {answered}");
    assert!(audio > 24_000, "{audio} characters of audio");
}

/// `text` in espeak-ng's voice at the protocol's 24 kHz.
async fn spoken(text: &str) -> Vec<i16> {
    let tts = EspeakTts::load(&EspeakConfig::default()).expect("apt-get install espeak-ng");
    let request = TtsRequest { text: text.into(), voice: "en-us".into(), speed: 1.0 };
    let events: Vec<TtsEvent> =
        tts.synthesize(request, CancelFlag::new()).try_collect().await.expect("speech");
    let mut samples = vec![0; 12_000];
    let mut resampler = Resampler::new(22_050, 24_000).expect("any rates");
    for event in events {
        if let TtsEvent::Audio(chunk) = event {
            samples.extend(resampler.push(&chunk.samples));
        }
    }
    samples
}

/// Kept beside its user: the hub sends small files itself, under a tag that is no checksum.
impl StandIn {
    fn put_small(&self, path: &str, bytes: &[u8]) -> String {
        self.put(path, Served { bytes: bytes.to_vec(), tag: "\"git\"".into(), linked: None });
        sha256(bytes)
    }
}
