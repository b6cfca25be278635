//! Clients that are cut off and come back.

use std::net::SocketAddr;

use antiphon::backend::catalog::{LlmConfig, SttConfig, TtsConfig};
use antiphon::backend::scripted::{ScriptedLlmConfig, ScriptedSttConfig, ScriptedTtsConfig, Step};
use antiphon::config::Config;
use antiphon::server::{KeyConfig, KeyRole};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::socket::{self, Client, see};

/// A client, and what it was told about its session.
pub(crate) struct Guest {
    pub(crate) client: Client,
    /// The session of `session.created`.
    pub(crate) session: Value,
}

/// Calls of the engines, one after another.
pub(crate) fn config(stt: Vec<Vec<Step>>, llm: Vec<Vec<Step>>) -> Config {
    let mut config = socket::config();
    let word_ms = 2;
    config.engines.stt = vec![SttConfig::Scripted(ScriptedSttConfig { calls: stt, ..Default::default() })];
    config.engines.llm =
        vec![LlmConfig::Scripted(ScriptedLlmConfig { calls: llm, word_ms, ..Default::default() })];
    config.engines.tts = vec![TtsConfig::Scripted(ScriptedTtsConfig::default())];
    config
}

pub(crate) fn echo() -> Vec<Vec<Step>> {
    vec![vec![Step::text(1, "You said: {user}")]]
}

pub(crate) fn hears(text: &str) -> Vec<Vec<Step>> {
    vec![vec![Step::text(1, text)]]
}

/// The same server with the keys of Anna and Ben, each key its owner's name.
pub(crate) fn with_keys(mut config: Config) -> Config {
    let key = |name: &str| {
        let sha256 = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        KeyConfig { name: name.to_owned(), sha256, role: KeyRole::User }
    };
    config.server.auth.keys = vec![key("anna"), key("ben")];
    config
}

/// Connects with a key; on a refusal, gives its status and body.
pub(crate) async fn connect_as(address: SocketAddr, query: &str, key: &str) -> Result<Client, (u16, Value)> {
    let url = format!("ws://{address}/v1/realtime?model=test{query}");
    let mut request = url.into_client_request().expect("a request");
    let value = format!("Bearer {key}").parse().expect("a header");
    request.headers_mut().insert("authorization", value);
    match connect_async(request).await {
        Ok((socket, _)) => Ok(Client(socket)),
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err((response.status().as_u16(), serde_json::from_slice(body).expect("JSON")))
        }
        Err(other) => panic!("no HTTP answer: {other}"),
    }
}

impl Guest {
    pub(crate) async fn new(address: SocketAddr) -> Self {
        Self::with(address, "").await
    }

    pub(crate) async fn with(address: SocketAddr, query: &str) -> Self {
        Self::greeted(Client::connect(address, query).await).await
    }

    pub(crate) async fn greeted(mut client: Client) -> Self {
        let event = client.event().await;
        assert_eq!(event["type"], "session.created", "{event}");
        Self { client, session: event["session"].clone() }
    }

    pub(crate) async fn resumed(address: SocketAddr, token: &str) -> Self {
        Self::with(address, &format!("&resume={token}")).await
    }

    /// Goes without a word.
    pub(crate) fn cut(self) -> Gone {
        Gone { id: self.id(), token: self.token() }
    }

    pub(crate) fn id(&self) -> String {
        self.session["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn token(&self) -> String {
        self.session["antiphon"]["resume_token"].as_str().expect("a token").to_owned()
    }

    pub(crate) fn left_off(&self) -> &Value {
        assert_eq!(self.session["antiphon"]["resumed"], true);
        &self.session["antiphon"]["left_off"]
    }

    /// Sends milliseconds of a tone, or of silence.
    pub(crate) async fn sound(&mut self, loud: bool, ms: usize) {
        let sample = |at: usize| {
            if !loud {
                0i16
            } else if (at / 20).is_multiple_of(2) {
                8_000
            } else {
                -8_000
            }
        };
        let bytes: Vec<u8> = (0..ms * 24).flat_map(|at| sample(at).to_le_bytes()).collect();
        let audio = STANDARD.encode(bytes);
        self.client.send(json!({"type": "input_audio_buffer.append", "audio": audio})).await;
    }

    pub(crate) async fn transcribed(&mut self) {
        self.update(json!({"audio": {"input": {"transcription": {"model": "any"}}}})).await;
    }

    pub(crate) async fn update(&mut self, mut session: Value) {
        session["type"] = json!("realtime");
        self.client.send(json!({"type": "session.update", "session": session})).await;
        self.client.until("session.updated").await;
    }

    pub(crate) async fn item(&mut self, id: &str) -> Value {
        self.client.send(json!({"type": "conversation.item.retrieve", "item_id": id})).await;
        loop {
            let event = self.client.event().await;
            match event["type"].as_str() {
                Some("conversation.item.retrieved") => return event["item"].clone(),
                Some("error") => return event,
                _ => {}
            }
        }
    }

    /// A round trip; by then the server knows that this client has its token.
    pub(crate) async fn settled(&mut self) {
        loop {
            if let Message::Ping(content) = self.client.frame().await
                && content.as_ref() == b"resumed"
            {
                break;
            }
        }
        self.update(json!({})).await;
    }
}

/// A session whose client is gone.
pub(crate) struct Gone {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Gone {
    /// Comes back and finds the same session.
    pub(crate) async fn back(&self, address: SocketAddr) -> Guest {
        let guest = Guest::resumed(address, &self.token).await;
        assert_eq!(guest.id(), self.id);
        assert_ne!(guest.token(), self.token, "each token is for one time");
        guest
    }

    /// The same once the server has noticed that the client went.
    pub(crate) async fn back_later(&self, address: SocketAddr) -> Guest {
        open_sessions(address, 0).await;
        self.back(address).await
    }
}

/// Waits until so many sessions are open.
pub(crate) async fn open_sessions(address: SocketAddr, open: usize) {
    see(address, "/api/status", |status| status["sessions"]["open"] == open).await;
}
