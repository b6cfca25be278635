//! Client secrets over real sockets: what they open, what they do not, and whose they are. Scripted engines.

use std::net::SocketAddr;

use crate::socket::{Client, config, http, start};
use antiphon::config::Config;
use antiphon::server::{KeyConfig, KeyRole};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const PATH: &str = "/v1/realtime/client_secrets";

fn with_keys() -> Config {
    let mut config = config();
    config.server.auth.keys = [("anna", KeyRole::User), ("root", KeyRole::Admin)]
        .map(|(name, role)| {
            let sha256 = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
            KeyConfig { name: name.to_owned(), sha256, role }
        })
        .to_vec();
    config
}

/// Asks as the holder of `key`, which is its own name.
async fn ask(address: SocketAddr, method: &str, path: &str, (key, body): (&str, &Value)) -> (u16, Value) {
    let request = format!("{method} {path}\nAuthorization: Bearer {key}\nContent-Type: application/json");
    http(address, &request, &body.to_string()).await
}

async fn make(address: SocketAddr, body: &Value) -> Value {
    let (status, answer) = ask(address, "POST", PATH, ("anna", body)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Connects with a header; gives the error's code where it is refused.
async fn connect(
    address: SocketAddr,
    query: &str,
    (name, value): (&'static str, String),
) -> Result<Client, (u16, Value)> {
    let mut request = format!("ws://{address}/v1/realtime{query}").into_client_request().expect("a request");
    request.headers_mut().insert(name, value.parse().expect("a header"));
    match connect_async(request).await {
        Ok((socket, _)) => Ok(Client(socket)),
        Err(Error::Http(refused)) => {
            let body: Value =
                serde_json::from_slice(refused.body().as_deref().expect("a body")).expect("JSON");
            Err((refused.status().as_u16(), body["error"]["code"].clone()))
        }
        Err(other) => panic!("no HTTP answer: {other}"),
    }
}

fn bearer(secret: &Value) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", secret["value"].as_str().expect("a secret")))
}

#[tokio::test]
async fn a_secret_opens_sessions_of_its_maker_with_its_settings() {
    let server = start(with_keys()).await;
    let session = json!({
        "type": "realtime", "model": "gpt-realtime", "instructions": "Rhyme.",
        "audio": {"input": {"turn_detection": null}, "output": {"voice": "marin"}},
    });
    let body = json!({"session": session, "expires_after": {"anchor": "created_at", "seconds": 7_200}});
    let secret = make(server.address(), &body).await;
    let effective = &secret["session"];
    assert_eq!(
        (&effective["object"], &effective["model"]),
        (&json!("realtime.session"), &json!("gpt-realtime"))
    );
    assert_eq!(
        (&effective["instructions"], &effective["audio"]["output"]["voice"]),
        (&json!("Rhyme."), &json!("marin"))
    );
    assert_eq!(effective["audio"]["input"]["turn_detection"], Value::Null);
    assert!(effective["id"].as_str().is_some_and(|id| id.starts_with("sess_")), "{secret}");
    let unix = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let life = secret["expires_at"].as_u64().expect("a time").saturating_sub(unix);
    assert!((7_140..=7_200).contains(&life), "{life} s");

    let protocol =
        format!("realtime, openai-insecure-api-key.{}", secret["value"].as_str().expect("a secret"));
    let mut first = connect(server.address(), "", bearer(&secret)).await.expect("it opens");
    let mut second = connect(server.address(), "?model=mine", ("sec-websocket-protocol", protocol))
        .await
        .expect("a browser too");
    for (client, model) in [(&mut first, "gpt-realtime"), (&mut second, "mine")] {
        let session = client.until("session.created").await["session"].clone();
        assert_eq!((&session["model"], &session["instructions"]), (&json!(model), &json!("Rhyme.")));
        assert_eq!(session["audio"]["output"]["voice"], "marin");
    }
    first
        .send(json!({"type": "session.update", "session": {"type": "realtime", "instructions": "Sing."}}))
        .await;
    assert_eq!(first.until("session.updated").await["session"]["instructions"], "Sing.");
    first.ask("Hello").await;
    assert_eq!(first.answer().await, "You said: Hello");
    let (_, seen) = ask(server.address(), "GET", "/api/sessions", ("anna", &Value::Null)).await;
    let owners: Vec<_> = seen["sessions"].as_array().expect("a list").iter().map(|it| &it["owner"]).collect();
    assert_eq!(owners, ["anna", "anna"], "sessions are the maker's");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn sessions_count_against_the_makers_quota() {
    let mut config = with_keys();
    config.session.per_user.max_sessions = 1;
    let server = start(config).await;
    let secret = make(server.address(), &json!({})).await;
    let mut first = connect(server.address(), "", bearer(&secret)).await.expect("it opens");
    first.until("session.created").await;
    let refused = connect(server.address(), "", bearer(&secret)).await.err().expect("one is all there is");
    assert_eq!(refused, (429, json!("session_limit_reached")));
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_secret_does_nothing_but_open_sessions() {
    for config in [with_keys(), config()] {
        let server = start(config).await;
        let secret = make(server.address(), &json!({})).await["value"].as_str().expect("a secret").to_owned();
        for (method, path) in [
            ("POST", PATH),
            ("POST", "/v1/audio/speech"),
            ("GET", "/api/status"),
            ("GET", "/api/sessions"),
            ("DELETE", "/api/requests"),
            ("GET", "/api/config"),
        ] {
            let body = json!({"input": "Hello"});
            let (status, answer) = ask(server.address(), method, path, (&secret, &body)).await;
            assert_eq!(
                (status, &answer["error"]["code"]),
                (401, &json!("invalid_api_key")),
                "{path}: {answer}"
            );
            let message = answer["error"]["message"].as_str().expect("a text");
            assert!(message.contains("client secret") && !message.contains(&secret), "{message}");
        }
        let unknown = json!({"value": "ek_guess"});
        let refused = connect(server.address(), "", bearer(&unknown)).await.err();
        assert_eq!(refused, Some((401, json!("invalid_api_key"))), "also where no key is needed");
        server.stop().await.expect("everything ends");
    }
}

#[tokio::test]
async fn without_keys_a_secret_works_too() {
    let server = start(config()).await;
    let body = json!({"session": {"type": "realtime", "instructions": "Rhyme."}});
    let secret = make(server.address(), &body).await;
    let mut client = connect(server.address(), "", bearer(&secret)).await.expect("it opens");
    assert_eq!(client.until("session.created").await["session"]["instructions"], "Rhyme.");
    client.ask("Hello").await;
    assert_eq!(client.answer().await, "You said: Hello");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_field_when_the_secret_is_made() {
    let server = start(with_keys()).await;
    let session = |fields: Value| json!({"session": fields});
    for (body, param, code) in [
        (json!({"expires_after": {"seconds": 5}}), json!("expires_after.seconds"), "integer_below_min_value"),
        (session(json!({"type": "chat"})), json!("session.type"), "invalid_value"),
        (
            session(json!({"type": "realtime", "audio": {"output": {"speed": 7}}})),
            json!("session.audio.output.speed"),
            "decimal_above_max_value",
        ),
        (
            session(json!({"type": "realtime", "tools": [{"type": "mcp", "server_label": "x"}]})),
            json!("session.tools[0].type"),
            "invalid_value",
        ),
        (json!([]), Value::Null, "invalid_type"),
    ] {
        let (status, answer) = ask(server.address(), "POST", PATH, ("anna", &body)).await;
        let error = &answer["error"];
        assert_eq!(
            (status, &error["param"], &error["code"]),
            (400, &param, &json!(code)),
            "{body}: {answer}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    let (status, _) = ask(server.address(), "POST", PATH, ("nobody", &json!({}))).await;
    assert_eq!(status, 401);
    let large = session(json!({"type": "realtime", "instructions": "x".repeat(300_000)}));
    let (status, answer) = ask(server.address(), "POST", PATH, ("anna", &large)).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("request_too_large")));
    for path in ["/v1/realtime/sessions", "/v1/realtime/transcription_sessions"] {
        let (status, answer) = ask(server.address(), "POST", path, ("anna", &json!({}))).await;
        assert_eq!((status, &answer["error"]["code"]), (410, &json!("beta_api_shape_disabled")));
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains(PATH)), "{answer}");
    }
    let evil = format!("POST {PATH}\nAuthorization: Bearer anna\nOrigin: https://evil.example");
    assert_eq!(http(server.address(), &evil, "{}").await.0, 403);
    server.stop().await.expect("everything ends");
}
