//! `/api` over real sockets: who sees what, cancelling, and how limits and endings look on the wire. Scripted
//! engines.

mod socket;

use std::time::Duration;

use antiphon::app::Server;
use antiphon::backend::catalog::{LlmConfig, TtsConfig};
use antiphon::backend::scripted::{ScriptedLlmConfig, ScriptedTtsConfig, Step};
use antiphon::config::Config;
use antiphon::server::{KeyConfig, KeyRole};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use socket::start;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const DEADLINE: Duration = Duration::from_secs(30);

/// Every answer of the language model takes these steps.
fn config(llm: Vec<Step>) -> Config {
    let mut config = socket::config();
    config.engines.llm =
        vec![LlmConfig::Scripted(ScriptedLlmConfig { calls: vec![llm], ..Default::default() })];
    config
}

fn with_keys(mut config: Config) -> Config {
    let key = |name: &str, role| {
        let sha256 = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        KeyConfig { name: name.to_owned(), sha256, role }
    };
    config.server.auth.keys =
        vec![key("anna", KeyRole::User), key("ben", KeyRole::User), key("root", KeyRole::Admin)];
    config
}

/// The status and the body. `key` is the key's text, its name as well.
async fn ask(server: &Server, method: &str, path: &str, key: Option<&str>) -> (u16, Value) {
    send(server, method, path, key, None).await
}

async fn send(
    server: &Server,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<Value>,
) -> (u16, Value) {
    let mut stream = TcpStream::connect(server.address()).await.expect("connects");
    let key = key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
    let body = body.map_or_else(String::new, |body| body.to_string());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{key}");
    let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all((head + &length).as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("in time").expect("reads");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn try_connect(server: &Server, key: Option<&str>) -> Result<Self, Error> {
        let url = format!("ws://{}/v1/realtime?model=test", server.address());
        let mut request = url.into_client_request().expect("a request");
        if let Some(key) = key {
            let value = format!("Bearer {key}").parse().expect("a header");
            request.headers_mut().insert("authorization", value);
        }
        Ok(Self(connect_async(request).await?.0))
    }

    /// Connects; gives the session's id too.
    async fn connect(server: &Server, key: Option<&str>) -> (Self, String) {
        let mut client = Self::try_connect(server, key).await.expect("the upgrade");
        let created = client.until("session.created").await;
        (client, created["session"]["id"].as_str().expect("an id").to_owned())
    }

    async fn send(&mut self, event: Value) {
        self.0.send(Message::Text(event.to_string().into())).await.expect("the socket is open");
    }

    async fn frame(&mut self) -> Message {
        let frame = timeout(DEADLINE, self.0.next()).await.expect("a frame in time");
        frame.expect("the socket is open").expect("a good frame")
    }

    async fn until(&mut self, kind: &str) -> Value {
        loop {
            if let Message::Text(text) = self.frame().await {
                let event: Value = serde_json::from_str(&text).expect("JSON");
                if event["type"] == kind {
                    return event;
                }
            }
        }
    }

    async fn respond(&mut self) {
        let content = json!([{"type": "input_text", "text": "Hello"}]);
        let item = json!({"type": "message", "role": "user", "content": content});
        self.send(json!({"type": "conversation.item.create", "item": item})).await;
        self.send(json!({"type": "response.create", "response": {"output_modalities": ["text"]}})).await;
    }

    /// The last event and the close code.
    async fn ending(&mut self) -> (Value, u16) {
        let mut last = Value::Null;
        loop {
            match self.frame().await {
                Message::Text(text) => last = serde_json::from_str(&text).expect("JSON"),
                Message::Close(frame) => return (last, frame.expect("a code").code.into()),
                _ => {}
            }
        }
    }
}

fn slow() -> Vec<Step> {
    vec![Step::text(60_000, "Late.")]
}

fn quick() -> Vec<Step> {
    vec![Step::text(1, "Here you are.")]
}

#[tokio::test]
async fn status_tells_the_whole_server() {
    let server = start(config(quick())).await;
    let (mut client, id) = Client::connect(&server, None).await;
    client.respond().await;
    client.until("response.done").await;
    let (_, body) = ask(&server, "GET", &format!("/api/sessions/{id}"), None).await;
    assert_eq!(body["requests"][0]["owner"], Value::Null, "without keys, this machine sees all: {body}");
    assert_eq!(body["requests"][0]["status"], "COMPLETED", "{body}");
    let (status, body) = ask(&server, "GET", "/api/status", None).await;
    assert_eq!(status, 200);
    assert_eq!((&body["version"], &body["ready"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(true)));
    assert_eq!((&body["sessions"]["open"], &body["admission"]["max_sessions"]), (&json!(1), &json!(200)));
    assert_eq!((&body["degradation"], &body["compute"]["in_use"]), (&json!("none"), &json!(0)));
    let requests = &body["requests"];
    for (name, expected) in [("active", 0), ("peak", 1), ("total", 1), ("succeeded", 1), ("failed", 0)] {
        assert_eq!(requests[name], expected, "{name}: {requests}");
    }
    assert_eq!(requests["success_rate"], 1.0);
    assert!(requests["average_ms"].as_f64().is_some_and(|ms| ms >= 1.0), "{requests}");
    assert_eq!(body["pools"].as_array().map(Vec::len), Some(3));
    assert!(body["process"]["resident_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{body}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn users_see_their_own_and_an_administrator_all() {
    let server = start(with_keys(config(quick()))).await;
    let (mut anna, annas) = Client::connect(&server, Some("anna")).await;
    let (_ben, bens) = Client::connect(&server, Some("ben")).await;
    anna.respond().await;
    let id = anna.until("response.done").await["response"]["id"].as_str().expect("an id").to_owned();
    let ids = |body: &Value, of: &str| -> Vec<String> {
        let list = body[of].as_array().expect("a list").iter();
        list.map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
    };
    let (_, body) = ask(&server, "GET", "/api/sessions", Some("anna")).await;
    assert_eq!(ids(&body, "sessions"), std::slice::from_ref(&annas));
    assert_eq!(body["sessions"][0]["owner"], "anna");
    let (_, body) = ask(&server, "GET", "/api/sessions", Some("root")).await;
    assert_eq!(ids(&body, "sessions"), [annas.clone(), bens.clone()]);
    let (_, body) = ask(&server, "GET", "/api/requests", Some("anna")).await;
    assert_eq!(ids(&body, "requests"), std::slice::from_ref(&id));
    assert_eq!(
        (&body["requests"][0]["status"], &body["requests"][0]["kind"]),
        (&json!("COMPLETED"), &json!("response"))
    );
    let (_, body) = ask(&server, "GET", "/api/requests", Some("ben")).await;
    assert!(ids(&body, "requests").is_empty());
    let (status, body) = ask(&server, "GET", &format!("/api/sessions/{annas}"), Some("root")).await;
    assert_eq!((status, ids(&body, "requests")), (200, vec![id.clone()]));
    assert!(body["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{body}");
    let (_, unknown) = ask(&server, "GET", "/api/sessions/sess_x", Some("ben")).await;
    for (method, path) in
        [("GET", format!("/api/sessions/{annas}")), ("DELETE", format!("/api/requests/{id}"))]
    {
        let (status, foreign) = ask(&server, method, &path, Some("ben")).await;
        assert_eq!(
            (status, &foreign["error"]["code"]),
            (404, &unknown["error"]["code"]),
            "{path}: {foreign}"
        );
    }
    for path in ["/api/status", "/api/sessions", "/api/requests"] {
        assert_eq!(ask(&server, "GET", path, None).await.0, 401, "{path}");
    }
    let (status, body) = ask(&server, "GET", "/api/requests?limit=x", Some("anna")).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid_query")));
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_cancelled_response_is_seen_by_its_client_and_the_session_goes_on() {
    let server = start(with_keys(config(slow()))).await;
    let (mut anna, _) = Client::connect(&server, Some("anna")).await;
    for key in ["anna", "root"] {
        anna.respond().await;
        let id = anna.until("response.created").await["response"]["id"].as_str().expect("an id").to_owned();
        let path = format!("/api/requests/{id}");
        assert_eq!(ask(&server, "DELETE", &path, Some("ben")).await.0, 404);
        assert_eq!(ask(&server, "DELETE", &path, Some(key)).await, (200, json!({"cancelled": [id]})));
        let done = anna.until("response.done").await["response"].clone();
        assert_eq!((&done["id"], &done["status"]), (&json!(id), &json!("cancelled")));
        assert_eq!(done["status_details"]["reason"], "client_cancelled");
        let (status, body) = ask(&server, "DELETE", &path, Some(key)).await;
        assert_eq!((status, &body["error"]["code"]), (409, &json!("request_not_active")));
    }
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn cancelling_all_cancels_ones_own_and_for_an_administrator_all() {
    let server = start(with_keys(config(slow()))).await;
    let (mut anna, _) = Client::connect(&server, Some("anna")).await;
    let (mut ben, _) = Client::connect(&server, Some("ben")).await;
    for client in [&mut anna, &mut ben] {
        client.respond().await;
        client.until("response.created").await;
    }
    let (_, body) = ask(&server, "DELETE", "/api/requests", Some("anna")).await;
    assert_eq!(body["cancelled"].as_array().map(Vec::len), Some(1));
    anna.until("response.done").await;
    let (_, body) = ask(&server, "GET", "/api/requests?active=true", Some("root")).await;
    assert_eq!(body["requests"].as_array().map(Vec::len), Some(1), "{body}");
    assert_eq!(body["requests"][0]["owner"], "ben");
    ask(&server, "DELETE", "/api/requests", Some("root")).await;
    assert_eq!(ben.until("response.done").await["response"]["status"], "cancelled");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_speech_is_a_request_too_and_can_be_cancelled() {
    let mut config = with_keys(config(quick()));
    let calls = vec![vec![Step::text(60_000, "{text}")]];
    config.engines.tts = vec![TtsConfig::Scripted(ScriptedTtsConfig { calls, ..Default::default() })];
    config.session.per_user.max_concurrent_requests = 1;
    let server = start(config).await;
    let body = || Some(json!({"input": "Hello"}));
    let stop = async {
        let running = loop {
            let (_, body) = ask(&server, "GET", "/api/requests", Some("anna")).await;
            if body["requests"][0]["id"].is_string() {
                break body["requests"][0].clone();
            }
        };
        assert_eq!((&running["kind"], &running["session"]), (&json!("speech"), &Value::Null));
        let (status, refused) = send(&server, "POST", "/v1/audio/speech", Some("anna"), body()).await;
        assert_eq!((status, &refused["error"]["type"]), (429, &json!("rate_limit_error")), "{refused}");
        assert_eq!(refused["error"]["code"], "user_concurrency_limit_exceeded");
        let id = running["id"].as_str().expect("an id");
        assert_eq!(ask(&server, "DELETE", &format!("/api/requests/{id}"), Some("anna")).await.0, 200);
    };
    let speech = send(&server, "POST", "/v1/audio/speech", Some("anna"), body());
    let ((status, answer), ()) = tokio::join!(speech, stop);
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("request_cancelled")));
    let (_, body) = ask(&server, "GET", "/api/requests", Some("anna")).await;
    assert_eq!(body["requests"][0]["status"], "CANCELLED");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_limit_is_told_on_the_wire_with_its_code_key_and_retry() {
    let mut config = with_keys(config(quick()));
    config.session.per_user.max_responses_per_minute = 1;
    config.session.per_user.max_sessions = 1;
    let server = start(config).await;
    let (mut anna, _) = Client::connect(&server, Some("anna")).await;
    let Err(Error::Http(refused)) = Client::try_connect(&server, Some("anna")).await else {
        panic!("not refused")
    };
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (429, &b"10"[..]));
    let body: Value = serde_json::from_slice(refused.body().as_deref().expect("a body")).expect("JSON");
    assert_eq!(body["error"]["code"], "session_limit_reached");
    anna.respond().await;
    anna.until("response.done").await;
    anna.send(json!({"type": "response.create", "event_id": "mine"})).await;
    let error = anna.until("error").await["error"].clone();
    assert_eq!((&error["type"], &error["event_id"]), (&json!("rate_limit_error"), &json!("mine")));
    assert_eq!(error["code"], "inference_rate_limit_exceeded");
    let message = error["message"].as_str().expect("a text");
    assert!(
        message.contains("session.per_user.max_responses_per_minute") && message.contains("Try again in")
    );
    let (mut ben, _) = Client::connect(&server, Some("ben")).await;
    ben.respond().await;
    assert_eq!(ben.until("response.done").await["response"]["status"], "completed");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn the_end_of_a_session_is_told_before_the_close_frame() {
    for (key, code, close) in [("idle_s", "session_idle", 1008), ("max_session_s", "session_expired", 1008)] {
        let mut config = config(quick());
        let limits = &mut config.session.limits;
        *(if key == "idle_s" { &mut limits.idle_s } else { &mut limits.max_session_s }) = 1;
        let server = start(config).await;
        let (mut client, _) = Client::connect(&server, None).await;
        let (last, closed) = client.ending().await;
        assert_eq!((&last["type"], &last["error"]["code"]), (&json!("error"), &json!(code)), "{last}");
        assert!(last["error"]["message"].as_str().is_some_and(|text| text.contains(key)), "{last}");
        assert_eq!(closed, close);
        server.stop().await.expect("everything ends");
    }
}

#[tokio::test]
async fn a_socket_without_life_is_told_and_closed() {
    let mut config = config(quick());
    config.server.ping_interval_s = 1;
    let server = start(config).await;
    let (mut client, _) = Client::connect(&server, None).await;
    timeout(DEADLINE, async {
        while !server.sessions().is_empty() {
            tokio::task::yield_now().await; // the client is not polled: it answers no ping
        }
    })
    .await
    .expect("the session ends");
    // Read as bytes: a client that answered the pings now would find the socket closed.
    let MaybeTlsStream::Plain(socket) = client.0.get_mut() else { panic!("no TLS here") };
    let mut rest = Vec::new();
    timeout(DEADLINE, socket.read_to_end(&mut rest)).await.expect("in time").expect("reads");
    let text = String::from_utf8_lossy(&rest);
    assert!(text.contains(r#""code":"client_silent""#), "{text}");
    let (close, code) = (rest.iter().rposition(|byte| *byte == 0x88).expect("a close frame"), 1008u16);
    assert_eq!(rest[close + 2..close + 4], code.to_be_bytes());
    server.stop().await.expect("everything ends");
}
