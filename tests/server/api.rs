//! `/api` over real sockets: who sees what, cancelling, and how limits and endings look on the wire. Scripted
//! engines.

use crate::socket::{Client, DEADLINE, start};
use antiphon::app::Server;
use antiphon::backend::catalog::{LlmConfig, TtsConfig};
use antiphon::backend::scripted::{ScriptedLlmConfig, ScriptedTtsConfig, Step};
use antiphon::config::Config;
use antiphon::server::{KeyConfig, KeyRole};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;

/// Every answer of the language model takes these steps.
fn config(llm: Vec<Step>) -> Config {
    let mut config = crate::socket::config();
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
    let key = key.map_or_else(String::new, |key| format!("\nAuthorization: Bearer {key}"));
    let body = body.map_or_else(String::new, |body| body.to_string());
    let request = format!("{method} {path}\nContent-Type: application/json{key}");
    crate::socket::http(server.address(), &request, &body).await
}

/// A client with its session; gives the session's id too.
async fn connect(server: &Server, key: Option<&str>) -> (Client, String) {
    let mut client = Client::try_connect_as(server.address(), "", key).await.expect("the upgrade");
    let created = client.until("session.created").await;
    (client, created["session"]["id"].as_str().expect("an id").to_owned())
}

/// The last event and the close code.
async fn ending(client: &mut Client) -> (Value, u16) {
    let mut last = Value::Null;
    loop {
        match client.frame().await {
            Message::Text(text) => last = serde_json::from_str(&text).expect("JSON"),
            Message::Close(frame) => return (last, frame.expect("a code").code.into()),
            _ => {}
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
    let (mut client, id) = connect(&server, None).await;
    client.ask("Hello").await;
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
    let (mut anna, annas) = connect(&server, Some("anna")).await;
    let (_ben, bens) = connect(&server, Some("ben")).await;
    anna.ask("Hello").await;
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
    let (mut anna, _) = connect(&server, Some("anna")).await;
    for key in ["anna", "root"] {
        anna.ask("Hello").await;
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
    let (mut anna, _) = connect(&server, Some("anna")).await;
    let (mut ben, _) = connect(&server, Some("ben")).await;
    for client in [&mut anna, &mut ben] {
        client.ask("Hello").await;
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
    let (mut anna, _) = connect(&server, Some("anna")).await;
    let refused = Client::try_connect_as(server.address(), "", Some("anna")).await;
    let refused = refused.err().expect("one session at most");
    assert_eq!((refused.status, refused.retry_after), (429, Some(10)));
    assert_eq!(refused.body["error"]["code"], "session_limit_reached");
    anna.ask("Hello").await;
    anna.until("response.done").await;
    anna.send(json!({"type": "response.create", "event_id": "mine"})).await;
    let error = anna.until("error").await["error"].clone();
    assert_eq!((&error["type"], &error["event_id"]), (&json!("rate_limit_error"), &json!("mine")));
    assert_eq!(error["code"], "inference_rate_limit_exceeded");
    let message = error["message"].as_str().expect("a text");
    assert!(
        message.contains("session.per_user.max_responses_per_minute") && message.contains("Try again in")
    );
    let (mut ben, _) = connect(&server, Some("ben")).await;
    ben.ask("Hello").await;
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
        let (mut client, _) = connect(&server, None).await;
        let (last, closed) = ending(&mut client).await;
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
    let (mut client, _) = connect(&server, None).await;
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
