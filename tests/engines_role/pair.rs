//! The two servers, and a person who talks with the one in front.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use antiphon::app::Server;
use antiphon::audio::wav::encode_wav;
use antiphon::backend::catalog::{LlmConfig, SttConfig, TtsConfig};
use antiphon::backend::openai::{OpenAiLlmConfig, OpenAiSttConfig, OpenAiTtsConfig};
use antiphon::config::Config;
use antiphon::store::StoreKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::socket::{Client, DEADLINE, http};

const KEY: &str = "the-key-of-the-server-in-front";
/// 24 kHz, 16 bit.
const BYTES_PER_S: usize = 48_000;

/// The server that has the engines: a process of its own.
pub(crate) struct Behind {
    folder: TempDir,
    pub(crate) address: SocketAddr,
    process: Process,
}

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Behind {
    /// Starts it with the engines of `engines`, or with its own where that says nothing.
    pub(crate) fn start(engines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sha256: String = Sha256::digest(KEY).iter().map(|byte| format!("{byte:02x}")).collect();
        let keys = "[[server.auth.keys]]\nname = \"front\"\nrole = \"admin\"\n";
        let config = format!("{keys}sha256 = \"{sha256}\"\n{engines}");
        std::fs::write(folder.path().join("antiphon.toml"), config).expect("writable");
        let key = folder.path().join("key");
        std::fs::write(&key, KEY).expect("writable");
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("its owner may");
        let (process, address) = Self::run(&folder, "127.0.0.1:0");
        Self { folder, address, process }
    }

    /// Kills it as nothing can that is kind.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().expect("it runs");
        self.process.0.wait().expect("it ends");
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        let (process, address) = Self::run(&self.folder, &self.address.to_string());
        assert_eq!(address, self.address);
        self.process = process;
    }

    fn run(folder: &TempDir, bind: &str) -> (Process, SocketAddr) {
        let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANTIPHON_"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon"));
        for (name, _) in ours {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "--role", "engines", "--bind", bind, "--config"])
            .arg(folder.path().join("antiphon.toml"))
            .current_dir(env!("CARGO_MANIFEST_DIR")) // where the models are
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("log")).expect("writable"))
            .spawn()
            .expect("the program was built for this test");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert!(line.contains("engines only"), "{line}{}", log());
        let url = line.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        (Process(child), url.expect("it says where").parse().expect("an address"))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        http(self.address, &format!("GET {path}\nAuthorization: Bearer {KEY}"), "").await.1
    }

    /// Looks at `path` until `wanted` holds.
    pub(crate) async fn see(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                let seen = self.get(path).await;
                if wanted(&seen) {
                    return seen;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, look).await.unwrap_or_else(|_| panic!("{path} never showed it"))
    }

    /// Requests of a kind that ended so.
    pub(crate) async fn requests(&self, kind: &str, status: &str) -> usize {
        let seen = self.get("/api/requests").await;
        let requests = seen["requests"].as_array().expect("a list").iter();
        requests.filter(|request| request["kind"] == kind && request["status"] == status).count()
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        // Once for the process; the second time it is there.
        rustls::crypto::ring::default_provider().install_default().ok();
        let url = format!("http://{}{path}", self.address);
        reqwest::Client::new().post(url).bearer_auth(KEY).timeout(DEADLINE)
    }

    /// Its voice says it, 24 kHz 16 bit.
    pub(crate) async fn says(&self, text: &str) -> Vec<u8> {
        let body = json!({"input": text, "voice": "alloy", "response_format": "pcm"});
        let answer = self.post("/v1/audio/speech").json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.bytes().await.expect("audio").to_vec()
    }

    /// Its ear hears it.
    pub(crate) async fn hears(&self, pcm: &[u8]) -> String {
        let samples: Vec<i16> =
            pcm.chunks_exact(2).map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]])).collect();
        let file = reqwest::multipart::Part::bytes(encode_wav(&samples, 24_000)).file_name("speech.wav");
        let form = reqwest::multipart::Form::new().part("file", file);
        let answer = self.post("/v1/audio/transcriptions").multipart(form).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        answer["text"].as_str().expect("text").to_owned()
    }

    /// A configuration whose engines are all behind this server's URL.
    pub(crate) fn front(&self) -> Config {
        let mut config = Config::default();
        config.server.bind = "127.0.0.1:0".parse().expect("an address");
        config.store.kind = StoreKind::Memory;
        config.pools.breaker_backoff_ms = 100;
        let url = format!("http://{}/v1", self.address);
        let api_key_file: Option<PathBuf> = Some(self.folder.path().join("key"));
        config.engines.stt = vec![SttConfig::OpenAi(OpenAiSttConfig {
            name: "far-ear".to_owned(),
            url: url.clone(),
            model: "whisper".to_owned(),
            api_key_file: api_key_file.clone(),
            ..Default::default()
        })];
        config.engines.llm = vec![LlmConfig::OpenAi(OpenAiLlmConfig {
            name: "far-mind".to_owned(),
            url: url.clone(),
            model: "antiphon".to_owned(),
            api_key_file: api_key_file.clone(),
            ..Default::default()
        })];
        config.engines.tts = vec![TtsConfig::OpenAi(OpenAiTtsConfig {
            name: "far-voice".to_owned(),
            url,
            model: "espeak".to_owned(),
            api_key_file,
            ..Default::default()
        })];
        config
    }
}

/// Who talks with the server in front.
pub(crate) struct Person {
    pub(crate) client: Client,
}

/// One turn as its person knows it.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) heard: String,
    pub(crate) answered: String,
    /// 24 kHz 16 bit.
    pub(crate) audio: Vec<u8>,
    /// The response, as it ended.
    pub(crate) response: Value,
}

impl Person {
    pub(crate) async fn meet(front: &Server) -> Self {
        let mut client = Client::admitted(front.address()).await;
        let input = json!({"transcription": {"model": "whisper-1"}});
        let session = json!({"type": "realtime", "audio": {"input": input}});
        client.send(json!({"type": "session.update", "session": session})).await;
        client.until("session.updated").await;
        Self { client }
    }

    /// Says it and falls silent.
    pub(crate) async fn say(&mut self, pcm: &[u8]) {
        let silence = vec![0; BYTES_PER_S * 3 / 2];
        for chunk in pcm.chunks(BYTES_PER_S).chain(silence.chunks(BYTES_PER_S)) {
            let append = json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(chunk)});
            self.client.send(append).await;
        }
    }

    /// Says it and hears the answer to its end.
    pub(crate) async fn turn(&mut self, pcm: &[u8]) -> Turn {
        timeout(DEADLINE, self.heard_and_answered(pcm)).await.expect("an answer in time")
    }

    async fn heard_and_answered(&mut self, pcm: &[u8]) -> Turn {
        self.say(pcm).await;
        let mut turn = Turn::default();
        while turn.response.is_null() {
            let event = self.client.event().await;
            let text = |field: &str| event[field].as_str().unwrap_or_default();
            match text("type") {
                "conversation.item.input_audio_transcription.completed" => {
                    turn.heard = text("transcript").to_owned()
                }
                "response.output_audio_transcript.delta" => turn.answered.push_str(text("delta")),
                "response.output_audio.delta" => {
                    turn.audio.extend(STANDARD.decode(text("delta")).expect("base64"));
                }
                // Before it is heard, another turn ends.
                "response.done" if !turn.heard.is_empty() => turn.response = event["response"].clone(),
                "error" => panic!("{event}"),
                _ => {}
            }
        }
        turn
    }
}

/// Words without marks, for comparing what was said.
pub(crate) fn words(text: &str) -> Vec<String> {
    let clean = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(clean).collect()
}
