//! The whole server on scripted engines as clients reach it: WebSockets, and HTTP by hand.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use antiphon::app::Server;
use antiphon::backend::catalog::{EnginesConfig, LlmConfig, SttConfig, TtsConfig, VadConfig};
use antiphon::config::Config;
use antiphon::protocol::ServerMessage;
use antiphon::store::StoreKind;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Far more than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The engines of a server in a process of its own.
pub(crate) const SCRIPTED: &str = "[[engines.stt]]\nkind = \"scripted\"\n[[engines.llm]]\nkind = \"scripted\"\n\
                                   [[engines.tts]]\nkind = \"scripted\"\n[engines.vad]\nkind = \"scripted\"\n";

pub(crate) fn config() -> Config {
    let mut config = Config {
        engines: EnginesConfig {
            stt: vec![SttConfig::Scripted(Default::default())],
            llm: vec![LlmConfig::Scripted(Default::default())],
            tts: vec![TtsConfig::Scripted(Default::default())],
            vad: VadConfig::Scripted(Default::default()),
            ..EnginesConfig::default()
        },
        ..Config::default()
    };
    config.server.bind = "127.0.0.1:0".parse().expect("an address");
    config.store.kind = StoreKind::Memory;
    config
}

pub(crate) async fn start(config: Config) -> Server {
    Server::start(config).await.expect("scripted engines always start")
}

/// A client on its socket.
pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

/// The answer to an upgrade that was refused: status, `Retry-After`, body.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Value,
}

impl Client {
    /// Connects; `query` follows `?model=test`.
    pub(crate) async fn try_connect(address: SocketAddr, query: &str) -> Result<Self, Refused> {
        Self::try_connect_as(address, query, None).await
    }

    /// The same with an API key.
    pub(crate) async fn try_connect_as(
        address: SocketAddr,
        query: &str,
        key: Option<&str>,
    ) -> Result<Self, Refused> {
        let url = format!("ws://{address}/v1/realtime?model=test{query}");
        let mut request = url.into_client_request().expect("a request");
        if let Some(key) = key {
            let value = format!("Bearer {key}").parse().expect("a header");
            request.headers_mut().insert("authorization", value);
        }
        match timeout(DEADLINE, connect_async(request)).await.expect("an answer in time") {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(Refused {
                status: response.status().as_u16(),
                retry_after: response
                    .headers()
                    .get("retry-after")
                    .and_then(|value| value.to_str().ok()?.parse().ok()),
                body: serde_json::from_slice(response.body().as_deref().unwrap_or_default()).expect("JSON"),
            }),
            Err(other) => panic!("no HTTP answer: {other}"),
        }
    }

    pub(crate) async fn connect(address: SocketAddr, query: &str) -> Self {
        Self::try_connect(address, query).await.expect("the upgrade")
    }

    /// Connects and has its session.
    pub(crate) async fn admitted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address, "").await;
        assert_eq!(client.event().await["type"], "session.created");
        client
    }

    pub(crate) async fn send(&mut self, event: Value) {
        self.0.send(Message::Text(event.to_string().into())).await.expect("the socket is open");
    }

    pub(crate) async fn frame(&mut self) -> Message {
        let frame = timeout(DEADLINE, self.0.next()).await.expect("a frame in time");
        frame.expect("the socket is open").expect("a good frame")
    }

    /// The next event; each is read by the wire types too.
    pub(crate) async fn event(&mut self) -> Value {
        loop {
            match self.frame().await {
                Message::Text(text) => {
                    let read: ServerMessage = serde_json::from_str(&text).expect("an event of the protocol");
                    assert!(!read.event_id.is_empty());
                    return serde_json::from_str(&text).expect("JSON");
                }
                Message::Ping(_) => {}
                other => panic!("expected an event, got {other:?}"),
            }
        }
    }

    /// The next event of this kind, which comes in time: pings keep no test waiting for what never comes.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        let mut others = Vec::new();
        let wanted = async {
            loop {
                let event = self.event().await;
                if event["type"] == kind {
                    return event;
                }
                others.push(event);
            }
        };
        match timeout(DEADLINE, wanted).await {
            Ok(event) => event,
            Err(_) => panic!("no {kind} came, only {others:#?}"),
        }
    }

    /// Adds a user message.
    pub(crate) async fn item(&mut self, text: &str) {
        let content = json!([{"type": "input_text", "text": text}]);
        let item = json!({"type": "message", "role": "user", "content": content});
        self.send(json!({"type": "conversation.item.create", "item": item})).await;
    }

    /// Asks something in writing.
    pub(crate) async fn ask(&mut self, text: &str) {
        self.item(text).await;
        let response = json!({"output_modalities": ["text"]});
        self.send(json!({"type": "response.create", "response": response})).await;
    }

    /// The text that it is answered.
    pub(crate) async fn answer(&mut self) -> String {
        let done = self.until("response.done").await["response"].clone();
        assert_eq!(done["status"], "completed", "{done}");
        done["output"][0]["content"][0]["text"].as_str().expect("text").to_owned()
    }

    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.frame().await {
                return frame.expect("a code").code.into();
            }
        }
    }

    /// Closes, and waits for the server to do so too.
    pub(crate) async fn leave(mut self) {
        self.0.close(None).await.expect("closes");
        let rest = async { while let Some(Ok(_)) = self.0.next().await {} };
        timeout(DEADLINE, rest).await.expect("the server answers a close");
    }
}

/// An HTTP request by hand; gives the status and the body.
pub(crate) async fn http(address: SocketAddr, request: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let length = body.len();
    let (line, headers) = request.split_once('\n').expect("a request line and a header");
    let request = format!("{line} HTTP/1.1\r\n{}", headers.replace('\n', "\r\n"));
    let head = format!(
        "{request}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("in time").expect("reads");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Value {
    http(address, &format!("GET {path}\nAccept: */*"), "").await.1
}

/// Looks at `path` until `wanted` holds.
pub(crate) async fn see(address: SocketAddr, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let seen = get(address, path).await;
            if wanted(&seen) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, look).await.unwrap_or_else(|_| panic!("{path} never showed it"))
}

/// The program as a process of its own, ended when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts it in `folder`, whose `antiphon.toml` it reads, and waits until it is ready.
    pub(crate) fn start(folder: &Path) -> Self {
        use std::io::{BufRead, BufReader};
        let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANTIPHON_"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon"));
        for (name, _) in ours {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "--bind", "127.0.0.1:0"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("log")).expect("writable"))
            .spawn()
            .expect("the program was built for this test");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
        let url = line.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address = url.expect("it says where it listens").parse().expect("an address");
        Self { child, address }
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(kill.expect("kill is everywhere").success());
    }

    /// Resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
