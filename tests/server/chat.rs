//! `POST /v1/chat/completions` over real sockets: what is refused, what streams, what fails, who is cancelled, and
//! that nothing is held for a client that is gone or does not read. Scripted engines.

use std::time::Duration;

use crate::socket::{DEADLINE, config, get, see, start};
use antiphon::app::Server;
use antiphon::backend::catalog::{LlmConfig, SttConfig};
use antiphon::backend::onnx_llm::OnnxLlmConfig;
use antiphon::backend::scripted::{Hang, ScriptedLlmConfig, Step};
use antiphon::backend::whisper::WhisperConfig;
use antiphon::config::Config;
use antiphon::engine::Device;
use antiphon::server::{KeyConfig, KeyRole, ServerRole};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

fn saying(calls: Vec<Vec<Step>>) -> Config {
    let mut config = config();
    let llm = ScriptedLlmConfig { calls, word_ms: 0, ..Default::default() };
    config.engines.llm = vec![LlmConfig::Scripted(llm)];
    config
}

fn with_keys(mut config: Config, names: &[&str]) -> Config {
    let key = |name: &&str| KeyConfig {
        name: (*name).to_owned(),
        sha256: Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect(),
        role: KeyRole::Admin,
    };
    config.server.auth.keys = names.iter().map(key).collect();
    config
}

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hello."}]})
}

fn hello_with(fields: Value) -> Value {
    let (Value::Object(mut body), Value::Object(fields)) = (hello(), fields) else {
        panic!("both are objects")
    };
    body.extend(fields);
    Value::Object(body)
}

fn client() -> reqwest::Client {
    // Once for the process; the second time it is there.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::new()
}

/// The answer's head is there; its body may be read piece by piece, or never.
async fn ask_as(key: &str, server: &Server, body: &Value) -> reqwest::Response {
    let url = format!("http://{}/v1/chat/completions", server.address());
    let request = client().post(url).bearer_auth(key).json(body).send();
    timeout(DEADLINE, request).await.expect("in time").expect("an answer")
}

async fn ask(server: &Server, body: &Value) -> reqwest::Response {
    ask_as("anna", server, body).await
}

async fn answer(server: &Server, body: &Value) -> (u16, Value) {
    let response = ask(server, body).await;
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// What stands behind `data:` in a whole stream.
async fn datas(response: reqwest::Response) -> Vec<String> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = timeout(DEADLINE, response.text()).await.expect("in time").expect("text");
    body.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

/// The library of ONNX Runtime that tests have is the one for the CPU: nothing of it can use a GPU.
#[tokio::test]
async fn engines_for_a_gpu_that_is_not_there_serve_on_the_cpu_and_say_so() {
    let mut config = config();
    let gpu = Device::Cuda(0);
    config.engines.llm = vec![LlmConfig::Onnx(OnnxLlmConfig { device: gpu, ..Default::default() })];
    config.engines.stt = vec![SttConfig::Whisper(WhisperConfig { device: gpu, ..Default::default() })];
    let server = start(config).await;
    let (status, told) = answer(&server, &hello()).await;
    let said = told["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    assert!(status == 200 && !said.is_empty(), "{told}");
    let models = get(server.address(), "/v1/models").await;
    let devices: Vec<_> =
        models["data"].as_array().expect("a list").iter().map(|m| &m["antiphon"]["device"]).collect();
    assert_eq!(devices, ["cpu", "cpu", "cpu"], "{models}");
    let status = get(server.address(), "/api/status").await;
    assert_eq!(status["compute"]["gpus"], json!([]), "{status}");
    for pool in [0, 1] {
        assert_eq!(status["pools"][pool]["instances"][0]["device"], "cpu", "{status}");
    }
    server.stop().await.expect("nothing blocks");
}

async fn idle(server: &Server) -> Value {
    see(server.address(), "/api/status", |seen| {
        let pools = seen["pools"].as_array().expect("pools");
        seen["requests"]["active"] == 0 && pools.iter().all(|pool| pool["in_use"] == 0)
    })
    .await
}

#[tokio::test]
async fn an_answer_comes_whole_or_in_chunks() {
    let server = start(saying(vec![vec![Step::text(1, "{system} {user} {messages}")]])).await;
    let messages = json!([
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Good "}, {"type": "text", "text": "morning."}]},
    ]);
    let (status, whole) = answer(&server, &json!({"model": "gpt-4o", "messages": messages})).await;
    let choice = &whole["choices"][0];
    assert_eq!(
        (status, &choice["message"]["content"]),
        (200, &json!("Be short. Good morning. 2")),
        "{whole}"
    );
    assert_eq!((&whole["model"], &choice["finish_reason"]), (&json!("gpt-4o"), &json!("stop")));
    assert_eq!(whole["usage"]["prompt_tokens"], 4);
    let record = get(server.address(), "/api/requests").await["requests"][0].clone();
    assert_eq!((&record["kind"], &record["status"]), (&json!("completion"), &json!("COMPLETED")), "{record}");
    assert_eq!((&record["session"], &record["stages"][0]["stage"]), (&Value::Null, &json!("llm")));
    let id = record["id"].as_str().and_then(|id| id.strip_prefix("req_")).expect("an id");
    assert_eq!(whole["id"], format!("chatcmpl-{id}"), "the answer's id leads to its record");

    let options = json!({"stream": true, "stream_options": {"include_usage": true}, "max_tokens": 3});
    let mut body = json!({"messages": messages});
    body.as_object_mut().expect("a body").extend(options.as_object().expect("fields").clone());
    let datas = datas(ask(&server, &body).await).await;
    let (end, chunks) = datas.split_last().expect("chunks");
    assert_eq!(end, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|data| serde_json::from_str(data).expect("JSON")).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "Be short. Good ", "three words are three tokens");
    let [.., last, usage] = chunks.as_slice() else { panic!("{chunks:?}") };
    assert_eq!((&last["choices"][0]["finish_reason"], &last["usage"]), (&json!("length"), &Value::Null));
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(3)));
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn calls_of_tools_are_answered_one_or_several() {
    let both = vec![Step::tool_call(1, "clock", r#"{"zone":"UTC"}"#), Step::tool_call(1, "clock", "{}")];
    let server = start(saying(vec![both.clone(), both, vec![Step::text(1, "Noon, says {messages}.")]])).await;
    let tools =
        json!([{"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}]);
    let (_, whole) = answer(&server, &hello_with(json!({"tools": tools}))).await;
    let calls = whole["choices"][0]["message"]["tool_calls"].as_array().expect("calls").clone();
    assert_eq!((calls.len(), &whole["choices"][0]["finish_reason"]), (2, &json!("tool_calls")), "{whole}");
    assert_eq!(calls[0]["function"], json!({"name": "clock", "arguments": "{\"zone\":\"UTC\"}"}));
    let one = hello_with(json!({"tools": tools, "parallel_tool_calls": false, "stream": true}));
    let datas = datas(ask(&server, &one).await).await.join("\n");
    assert!(datas.contains(r#""name":"clock""#) && !datas.contains(r#""index":1"#), "{datas}");
    let result = json!({"role": "tool", "tool_call_id": calls[0]["id"], "content": "12:00"});
    let assistant = json!({"role": "assistant", "content": null, "tool_calls": [calls[0]]});
    let messages = json!([{"role": "user", "content": "What time is it?"}, assistant, result]);
    let (_, last) = answer(&server, &json!({"messages": messages, "tools": tools})).await;
    assert_eq!(last["choices"][0]["message"]["content"], "Noon, says 3.");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_field() {
    let server = start(saying(vec![vec![Step::text(1, "Hi.")]])).await;
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
    for (fields, status, code, param) in [
        (json!({"model": "lama"}), 404, "model_not_found", "model"),
        (json!({"model": "scripted-stt"}), 404, "model_not_found", "model"),
        (json!({"messages": image}), 400, "invalid_value", "messages"),
        (json!({"stop": ["\n"]}), 400, "unsupported_parameter", "stop"),
        (json!({"temperature": 3}), 400, "invalid_value", "temperature"),
        (json!({"max_tokens": 0}), 400, "invalid_value", "max_tokens"),
    ] {
        let (found, answer) = answer(&server, &hello_with(fields)).await;
        let error = &answer["error"];
        assert_eq!(
            (found, &error["code"], &error["param"]),
            (status, &json!(code), &json!(param)),
            "{answer}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    let (status, unread) = answer(&server, &json!({"messages": "Hello."})).await;
    assert_eq!((status, &unread["error"]["code"]), (400, &json!("invalid_request")), "{unread}");
    let status = get(server.address(), "/api/status").await;
    assert_eq!(status["requests"]["total"], 0, "no engine was asked: {status}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_failure_has_a_status_at_first_and_is_an_error_in_the_stream_later() {
    let fails = || vec![Step::error(1, "broken")];
    let mut config = saying(vec![fails(), fails(), vec![Step::text(1, "First."), Step::error(1, "broken")]]);
    config.pools.breaker_failures = 100;
    let server = start(config).await;
    let (status, refused) = answer(&server, &hello_with(json!({"stream": true}))).await;
    assert_eq!((status, &refused["error"]["code"]), (502, &json!("server_error")), "{refused}");
    let datas = datas(ask(&server, &hello_with(json!({"stream": true}))).await).await;
    let last: Value = serde_json::from_str(datas.last().expect("data")).expect("JSON");
    assert!(datas.iter().any(|data| data.contains("First.")), "{datas:?}");
    assert_eq!((&last["error"]["code"], last.get("type")), (&json!("server_error"), None), "{datas:?}");
    let (status, broken) = answer(&server, &hello()).await;
    assert_eq!((status, &broken["error"]["type"]), (502, &json!("server_error")), "{broken}");
    assert_eq!(get(server.address(), "/api/requests").await["requests"][0]["status"], "ERROR");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_call() {
    let begins = vec![Step::text(1, "Well, "), Step::hang(Hang::UntilCancelled)];
    let server = start(saying(vec![begins, vec![Step::hang(Hang::UntilCancelled)]])).await;
    let mut running = ask(&server, &hello_with(json!({"stream": true}))).await;
    let first = timeout(DEADLINE, running.chunk()).await.expect("in time").expect("a chunk");
    assert!(first.is_some_and(|bytes| bytes.starts_with(b"data: ")));
    assert_eq!(get(server.address(), "/api/status").await["pools"][1]["in_use"], 1);
    drop(running);
    assert_eq!(idle(&server).await["requests"]["cancelled"], 1);
    // Also where nothing has come yet.
    let url = format!("http://{}/v1/chat/completions", server.address());
    let client = client();
    let waiting = client.post(url).json(&hello()).timeout(Duration::from_secs(600)).send();
    tokio::select! {
        _ = waiting => panic!("it hangs"),
        _ = see(server.address(), "/api/status", |seen| seen["pools"][1]["in_use"] == 1) => {}
    }
    drop(client);
    assert_eq!(idle(&server).await["requests"]["cancelled"], 2);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_no_engine() {
    // 950 KB of text, and as much around it.
    let words = "antiphonal-".repeat(20) + " ";
    let server = start(saying(vec![vec![Step::text(1, words.repeat(4_300))]])).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut socket = socket.connect(server.address()).await.expect("connects");
    let body = hello_with(json!({"stream": true})).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.expect("writes");
    see(server.address(), "/api/status", |seen| {
        let llm = &seen["pools"][1];
        llm["instances"][0]["calls"]["succeeded"] == 1 && llm["in_use"] == 0
    })
    .await;
    let mut answer = String::new();
    timeout(DEADLINE, socket.read_to_string(&mut answer)).await.expect("in time").expect("text");
    assert_eq!(answer.matches("antiphonal-").count(), 20 * 4_300, "it is all there when the client reads on");
    assert!(answer.contains("data: [DONE]"));
    assert_eq!(idle(&server).await["requests"]["succeeded"], 1);
    server.stop().await.expect("everything ends");
}

/// The id of this key's first request that runs.
async fn running_request(server: &Server, key: &str) -> String {
    let list = format!("GET /api/requests?active=true\nAuthorization: Bearer {key}");
    loop {
        let (_, seen) = crate::socket::http(server.address(), &list, "").await;
        if let Some(id) = seen["requests"][0]["id"].as_str() {
            return id.to_owned();
        }
    }
}

#[tokio::test]
async fn limits_of_a_key_are_told_and_a_request_can_be_cancelled() {
    let mut config = with_keys(saying(vec![vec![Step::hang(Hang::UntilCancelled)]]), &["anna", "ben"]);
    config.session.per_user.max_concurrent_requests = 1;
    config.session.per_user.max_responses_per_minute = 2;
    let server = start(config).await;
    let refused = async |key: &str| {
        let response = ask_as(key, &server, &hello()).await;
        assert!(response.headers().contains_key("retry-after") || response.status() == 401);
        let status = response.status().as_u16();
        let body: Value = response.json().await.expect("JSON");
        (status, body["error"]["code"].as_str().expect("a code").to_owned())
    };
    assert_eq!(refused("nobody").await, (401, "invalid_api_key".to_owned()));
    let body = hello();
    for _ in 0..2 {
        let cancel = async {
            let id = running_request(&server, "anna").await;
            assert_eq!(refused("anna").await, (429, "user_concurrency_limit_exceeded".to_owned()));
            let cancel = format!("DELETE /api/requests/{id}\nAuthorization: Bearer anna");
            assert_eq!(crate::socket::http(server.address(), &cancel, "").await.0, 200);
        };
        let ((status, answer), ()) = tokio::join!(answer(&server, &body), cancel);
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("request_cancelled")), "{answer}");
    }
    assert_eq!(refused("anna").await.0, 429, "two responses a minute");
    server.stop().await.expect("everything ends");
}

/// One slot. Anna's four calls stand in line before Ben's one: Ben does not wait for all of them.
#[tokio::test]
async fn each_key_has_its_own_place_in_the_order() {
    let mut config = with_keys(saying(vec![vec![Step::text(60, "{user}")]]), &["anna", "ben"]);
    if let LlmConfig::Scripted(llm) = &mut config.engines.llm[0] {
        llm.slots = 1;
    }
    config.session.per_user.max_concurrent_requests = 10;
    let server = start(config).await;
    let waits = async |count: usize| {
        let list = "GET /api/status\nAuthorization: Bearer anna";
        while crate::socket::http(server.address(), list, "").await.1["pools"][1]["waiting"] != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let done = std::sync::Mutex::new(Vec::new());
    let call = async |key: &'static str| {
        let body = ask_as(key, &server, &hello()).await.text().await.expect("text");
        assert!(body.contains("Hello."), "{body}");
        done.lock().expect("no panic").push(key);
    };
    let ben = async {
        waits(4).await;
        call("ben").await;
    };
    tokio::join!(call("anna"), call("anna"), call("anna"), call("anna"), call("anna"), ben);
    let order = done.into_inner().expect("no panic");
    let place = order.iter().position(|key| *key == "ben").expect("it was served");
    assert!(place <= 2, "ben came after {place} calls of anna: {order:?}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_server_of_engines_has_nothing_for_people_who_talk() {
    let mut config = config();
    config.server.role = ServerRole::Engines;
    let server = start(config).await;
    for path in
        ["/v1/realtime?model=x", "/", "/assets/app.js", "/api/sessions", "/v1/realtime/client_secrets"]
    {
        let (status, body) =
            crate::socket::http(server.address(), &format!("GET {path}\nAccept: */*"), "").await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (404, &json!("not_found_in_role_engines")),
            "{path}: {body}"
        );
        let message = body["error"]["message"].as_str().expect("a message");
        assert!(message.contains("server.role") && message.contains("/v1/chat/completions"), "{message}");
    }
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/models",
        "/api/status",
        "/api/requests",
        "/api/config",
        "/api/alerts",
    ] {
        let (status, body) =
            crate::socket::http(server.address(), &format!("GET {path}\nAccept: */*"), "").await;
        assert_eq!(status, 200, "{path}: {body}");
    }
    let (status, whole) = answer(&server, &hello()).await;
    assert_eq!((status, &whole["choices"][0]["message"]["content"]), (200, &json!("You said: Hello.")));
    let status = get(server.address(), "/api/status").await;
    assert_eq!(status["store"], Value::Null, "no sessions are kept: {status}");
    server.stop().await.expect("everything ends");
}
