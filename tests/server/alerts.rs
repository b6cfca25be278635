//! Alerts of a whole server: an engine that fails, is told, and recovers; thresholds that change; who may see.
//! Scripted engines.

use std::net::SocketAddr;

use crate::socket::{Client, config, http, see, start};
use antiphon::backend::catalog::LlmConfig;
use antiphon::backend::scripted::{ScriptedLlmConfig, Step};
use antiphon::config::Config;
use antiphon::server::{KeyConfig, KeyRole};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The language model takes these calls in turn; alerts follow at once.
fn quick(calls: Vec<Vec<Step>>) -> Config {
    let mut config = config();
    config.engines.llm = vec![LlmConfig::Scripted(ScriptedLlmConfig { calls, ..Default::default() })];
    (config.alerts.for_s, config.alerts.resolve_s, config.alerts.window_s) = (0, 0, 8);
    config.pools.breaker_failures = 100;
    config
}

fn find<'a>(seen: &'a Value, list: &str, name: &str, subject: &Value) -> Option<&'a Value> {
    let entries = seen[list].as_array()?;
    entries.iter().find(|entry| entry["name"] == name && entry["subject"] == *subject)
}

/// Waits until the alert is in this state; gives it.
async fn state(address: SocketAddr, (name, subject): (&str, Value), wanted: &str) -> Value {
    let is =
        |seen: &Value| find(seen, "alerts", name, &subject).is_some_and(|alert| alert["state"] == wanted);
    let seen = see(address, "/api/alerts", is).await;
    find(&seen, "alerts", name, &subject).expect("it was seen").clone()
}

#[tokio::test]
async fn an_engine_that_fails_fires_an_alert_that_is_resolved_when_it_works_again() {
    let fails = || vec![Step::error(1, "broken")];
    // Each answer tries twice: two answers fail, then all is well.
    let calls = [fails(), fails(), fails(), fails(), vec![Step::text(1, "Here I am.")]];
    let server = start(quick(calls.to_vec())).await;
    let address = server.address();
    let about = || ("engine_errors", json!("scripted-llm"));
    let calm = state(address, about(), "inactive").await;
    assert_eq!((&calm["value"], &calm["next_step"]), (&Value::Null, &Value::Null), "nothing is known yet");
    let mut client = Client::admitted(address).await;
    for _ in 0..2 {
        client.ask("Hello").await;
        assert_eq!(client.until("response.done").await["response"]["status"], "failed");
    }
    let firing = state(address, about(), "firing").await;
    assert_eq!(
        (&firing["value"], &firing["threshold"], &firing["unit"]),
        (&json!(1.0), &json!(0.1), &json!("part of the calls"))
    );
    assert!(firing["next_step"].as_str().is_some_and(|text| text.contains("log")), "{firing}");
    let (_, metrics) = http(address, "GET /metrics\nAccept: */*", "").await;
    let metrics = metrics.as_str().expect("text");
    assert!(metrics.contains("antiphon_alerts_firing{alert=\"memory\"} 0"), "{metrics}");

    client.ask("Hello").await;
    assert_eq!(client.answer().await, "Here I am.");
    let resolved = state(address, about(), "resolved").await;
    assert!(resolved["since_ms"].as_u64() > firing["since_ms"].as_u64(), "{resolved}");
    let (_, seen) = http(address, "GET /api/alerts\nAccept: */*", "").await;
    let steps: Vec<_> = seen["history"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|entry| entry["name"] == "engine_errors")
        .map(|entry| (entry["from"].clone(), entry["to"].clone()))
        .collect();
    assert_eq!(steps, [(json!("firing"), json!("resolved")), (json!("inactive"), json!("firing"))]);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_pool_without_a_healthy_engine_is_told() {
    let mut config = quick(vec![vec![Step::error(1, "broken")]]);
    config.pools.breaker_failures = 1;
    config.alerts.pool_down_s = 0.5;
    config.alerts.for_s = 3_600; // it does not wait for that
    let server = start(config).await;
    let mut client = Client::admitted(server.address()).await;
    client.ask("Hello").await;
    client.until("response.done").await;
    let firing = state(server.address(), ("pool_down", json!("llm")), "firing").await;
    assert!(firing["value"].as_f64().is_some_and(|seconds| seconds >= 0.5), "{firing}");
    state(server.address(), ("pool_down", json!("stt")), "inactive").await;
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_threshold_changes_while_the_server_runs() {
    let mut config = quick(vec![vec![Step::text(1, "Hi.")]]);
    config.server.max_sessions = 1;
    let server = start(config).await;
    let address = server.address();
    let put = async |alerts: Value| {
        let body = json!({"alerts": alerts}).to_string();
        http(address, "PUT /api/config\nContent-Type: application/json", &body).await
    };
    let _first = Client::admitted(address).await;
    let mut second = Client::connect(address, "&queue=events").await;
    assert_eq!(second.event().await["position"], 1);
    let about = || ("queue_length", Value::Null);
    let calm = see(address, "/api/alerts", |seen| {
        find(seen, "alerts", "queue_length", &Value::Null).is_some_and(|alert| alert["value"] == 1.0)
    })
    .await;
    assert_eq!(find(&calm, "alerts", "queue_length", &Value::Null).expect("seen")["state"], "inactive");
    let (status, changed) = put(json!({"queue_length": 1})).await;
    assert_eq!((status, &changed["changed"][0]["acts"]), (200, &json!("now")), "{changed}");
    state(address, about(), "firing").await;
    assert_eq!(put(json!({"queue_length": 0})).await.0, 200);
    state(address, about(), "off").await;
    let (status, refused) = put(json!({"memory_share": -1})).await;
    assert_eq!((status, &refused["error"]["param"]), (422, &json!("alerts.memory_share")), "{refused}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn only_an_administrator_sees_alerts() {
    let mut config = config();
    let key = |name: &str, role| {
        let sha256 = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        KeyConfig { name: name.to_owned(), sha256, role }
    };
    config.server.auth.keys = vec![key("anna", KeyRole::User), key("root", KeyRole::Admin)];
    let server = start(config).await;
    for (name, status) in [("root", 200), ("anna", 403), ("eve", 401)] {
        let request = format!("GET /api/alerts\nAuthorization: Bearer {name}");
        let (found, body) = http(server.address(), &request, "").await;
        assert_eq!(found, status, "{name}: {body}");
        assert_eq!(body["alerts"].is_array(), status == 200, "{body}");
    }
    server.stop().await.expect("everything ends");
}
