//! Changes of the configuration while the server runs: over HTTP and by SIGHUP, felt by sessions that run.

use std::time::Duration;

use crate::socket::{Client, Program, SCRIPTED, config, get, http, see, start};
use crate::support::Stage;
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt};
use antiphon::server::{KeyConfig, KeyRole};
use antiphon::session::{FeaturesConfig, LiveSettings, SessionConfig, SessionEvent};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

async fn put(address: std::net::SocketAddr, patch: &Value) -> (u16, Value) {
    http(address, "PUT /api/config\nContent-Type: application/json", &patch.to_string()).await
}

/// Puts three messages into a conversation that may hold two.
async fn assert_two_items_at_most(client: &mut Client) {
    for text in ["one", "two"] {
        client.item(text).await;
        client.until("conversation.item.added").await;
    }
    client.item("three").await;
    assert_eq!(client.until("error").await["error"]["code"], "conversation_too_long");
}

#[tokio::test]
async fn a_running_session_feels_a_changed_limit_and_goes_on() {
    let server = start(config()).await;
    let mut client = Client::admitted(server.address()).await;
    let (status, body) = put(server.address(), &json!({"session": {"limits": {"max_items": 2}}})).await;
    let changed = json!({"key": "session.limits.max_items", "from": 500, "to": 2, "acts": "now"});
    assert_eq!((status, &body["changed"]), (200, &json!([changed])), "{body}");
    assert_two_items_at_most(&mut client).await;
    let toml = "session.limits.max_items = 10\n[session.defaults]\ninstructions = \"Rhyme.\"\n";
    let (status, body) =
        http(server.address(), "PUT /api/config\nContent-Type: application/toml", toml).await;
    assert_eq!(status, 200, "{body}");
    client.ask("Still there?").await;
    assert_eq!(client.answer().await, "You said: Still there?");
    let mut next = Client::connect(server.address(), "").await;
    assert_eq!(next.event().await["session"]["instructions"], "Rhyme.");
    let shown = get(server.address(), "/api/config").await;
    assert_eq!(shown["config"]["session"]["limits"]["max_items"], 10);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_raised_limit_lets_in_those_who_wait() {
    let mut config = config();
    config.server.max_sessions = 1;
    let server = start(config).await;
    let first = Client::admitted(server.address()).await;
    let mut second = Client::connect(server.address(), "&queue=events").await;
    assert_eq!(second.event().await["position"], 1);
    assert_eq!(put(server.address(), &json!({"server": {"max_sessions": 2}})).await.0, 200);
    assert_eq!(second.event().await["type"], "session.created");
    first.leave().await;
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn sequential_processing_leaves_one_permit_of_the_cpu() {
    let mut config = config();
    config.pools.cpu_permits = 7;
    let server = start(config).await;
    let permits = || server.pools().scheduler.device_load().1;
    assert_eq!(permits(), 7);
    for (concurrent, expected) in [(false, 1), (true, 7)] {
        let patch = json!({"features": {"concurrent_processing": concurrent}});
        assert_eq!(put(server.address(), &patch).await.0, 200);
        assert_eq!(permits(), expected);
    }
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_patch_with_keys_that_need_a_restart_changes_nothing_and_says_why() {
    let server = start(config()).await;
    let patch = json!({
        "server": {"bind": "127.0.0.1:9", "max_sessions": 5},
        "telemetry": {"log_format": "json"},
        "session": {"limits": {"idle_s": 9}},
    });
    let (status, body) = put(server.address(), &patch).await;
    assert_eq!((status, &body["error"]["code"]), (409, &"restart_required".into()), "{body}");
    let keys = body["error"]["keys"].as_array().expect("a list");
    let names: Vec<_> = keys.iter().filter_map(|key| key["key"].as_str()).collect();
    assert_eq!(names, ["server.bind", "telemetry.log_format"]);
    assert_eq!(keys[0]["reason"], "the address is taken when the server starts");
    assert!(keys[0]["advice"].as_str().is_some_and(|advice| advice.contains("restart")), "{body}");
    let shown = get(server.address(), "/api/config").await["config"].clone();
    assert_eq!(
        (&shown["server"]["max_sessions"], &shown["session"]["limits"]["idle_s"]),
        (&200.into(), &600.into())
    );
    // The value that a key has already is no change.
    let patch = json!({"telemetry": {"log_format": "text"}, "session": {"limits": {"idle_s": 9}}});
    assert_eq!(put(server.address(), &patch).await.0, 200);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_wrong_patch_is_told_every_problem_and_changes_nothing() {
    let server = start(config()).await;
    let patch = json!({
        "pools": {"max_wait_ms": 1},
        "server": {"max_sesions": 5},
        "session": {"limits": {"idle_s": "long", "max_items": 7}},
    });
    let (status, body) = put(server.address(), &patch).await;
    assert_eq!((status, &body["error"]["code"]), (422, &"invalid_config".into()), "{body}");
    let keys = body["error"]["keys"].as_array().expect("a list");
    let mut told: Vec<String> =
        keys.iter().map(|key| format!("{} | {} | {}", key["key"], key["reason"], key["advice"])).collect();
    told.sort();
    let expected = [
        r#""pools.max_wait_ms" | "1: out of range" | "allowed are 50 to 60000, the nearest is 50""#,
        r#""server.max_sesions" | "5: no such key" | "did you mean `max_sessions`?""#,
        r#""session.limits.idle_s" | "\"long\": wrong type" | "write a whole number, 0 or more""#,
    ];
    assert_eq!(told, expected);
    assert_eq!(get(server.address(), "/api/config").await["config"]["session"]["limits"]["max_items"], 500);
    for (body, status) in [("{", 422), ("[1]", 422), ("", 422), ("{}", 200)] {
        let answer = http(server.address(), "PUT /api/config\nContent-Type: application/json", body).await;
        assert_eq!(answer.0, status, "{body}: {}", answer.1);
    }
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn only_an_admin_sees_and_changes_the_configuration_and_no_secret_is_shown() {
    let sha256 = |key: &str| Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let key = |name: &str, role| KeyConfig { name: name.to_owned(), sha256: sha256(name), role };
    let mut config = config();
    config.server.auth.keys = vec![key("anna", KeyRole::Admin), key("otto", KeyRole::User)];
    let server = start(config).await;
    for (holder, status) in [("anna", 200), ("otto", 403), ("eve", 401)] {
        for method in ["GET", "PUT"] {
            let request = format!("{method} /api/config\nAuthorization: Bearer {holder}");
            let (found, body) = http(server.address(), &request, "{}").await;
            assert_eq!(found, status, "{method} as {holder}: {body}");
            assert!(!body.to_string().contains(&sha256("anna")), "{body}");
            assert_eq!(method == "GET" && status == 200, body.to_string().contains("otto"), "{body}");
        }
    }
    let (status, _) = http(server.address(), "PUT /api/config\nOrigin: https://evil.example", "{}").await;
    assert_eq!(status, 403);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn sighup_applies_what_is_live_and_names_what_waits_for_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |text: &str| {
        std::fs::write(folder.path().join("antiphon.toml"), format!("{text}{SCRIPTED}")).expect("writable");
    };
    let log = || std::fs::read_to_string(folder.path().join("log")).expect("readable");
    write("[telemetry]\nlog = \"error\"\n");
    let mut server = Program::start(folder.path());
    let mut client = Client::admitted(server.address).await;

    write("[server]\nping_interval_s = 7\n[session.limits]\nmax_items = 2\n[telemetry]\nlog = \"info\"\n");
    server.signal("-HUP");
    let shown =
        see(server.address, "/api/config", |shown| shown["config"]["session"]["limits"]["max_items"] == 2)
            .await;
    assert_eq!(shown["waiting_for_restart"], json!(["server.ping_interval_s"]));
    assert_eq!(shown["config"]["server"]["ping_interval_s"], 20, "what is shown is what acts");
    assert_two_items_at_most(&mut client).await;
    let told = log();
    assert!(told.contains("server.ping_interval_s") && told.contains("waits for a restart"), "{told}");

    // A file with a problem changes nothing, and the server goes on.
    write("[session.limits]\nmax_items = 1\nidle = 5\n");
    server.signal("-HUP");
    let wait = async {
        while !log().contains("session.limits.max_items` = 1: out of range") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(crate::socket::DEADLINE, wait).await.expect("the problem is told");
    assert!(log().contains("`session.limits.idle` = 5: no such key"), "{}", log());
    assert_eq!(get(server.address, "/api/config").await["config"]["session"]["limits"]["max_items"], 2);

    // What is written wins over what was put.
    assert_eq!(put(server.address, &json!({"session": {"limits": {"max_items": 9}}})).await.0, 200);
    write("[session.limits]\nmax_items = 3\n");
    server.signal("-HUP");
    see(server.address, "/api/config", |shown| shown["config"]["session"]["limits"]["max_items"] == 3).await;
    assert_eq!(get(server.address, "/api/config").await["waiting_for_restart"], json!([]));
    client.leave().await;
    server.signal("-TERM");
    assert_eq!(server.child.wait().expect("it was started").code(), Some(0));
}

fn changed(change: impl FnOnce(&mut SessionConfig, &mut FeaturesConfig)) -> LiveSettings {
    let (mut config, mut features) = Default::default();
    change(&mut config, &mut features);
    LiveSettings::new(config, features)
}

#[tokio::test(start_paused = true)]
async fn a_shorter_idle_time_counts_from_its_change() {
    let stage = Stage::new(ScriptedStt::saying(1, "Hi."), ScriptedLlm::echoing());
    let mut client = stage.open();
    tokio::time::sleep(Duration::from_secs(300)).await;
    stage.router.reconfigure(changed(|config, _| config.limits.idle_s = 60));
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(stage.router.len(), 1, "it is not ended by the change");
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.until(|event| matches!(event, SessionEvent::Closing(_)).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn endpointing_and_speculation_change_under_a_running_session() {
    let stage = Stage::new(ScriptedStt::saying(1, "Good morning."), ScriptedLlm::echoing());
    let mut client = stage.open();
    stage.router.reconfigure(changed(|config, features| {
        config.endpointing.complete_ms = 1_000;
        config.endpointing.unsure_ms = 1_000;
        features.speculation = false;
    }));
    client.sound(true, 600).await;
    client.sound(false, 800).await;
    assert_eq!((stage.stt.stats().started, stage.llm.stats().started), (1, 0), "nothing is begun ahead");
    client.sound(false, 600).await;
    let timings = client.response_done().await.timings.expect("it is over");
    assert!(timings.endpointing.is_some_and(|ms| ms >= 1_000.0), "{timings:?}");
}

#[tokio::test(start_paused = true)]
async fn less_room_for_audio_keeps_what_is_there() {
    let stage = Stage::new(ScriptedStt::saying(1, "Hi."), ScriptedLlm::echoing());
    let mut client = stage.open_with(|settings| settings.turn_detection = None);
    client.sound(true, 3_000).await;
    stage.router.reconfigure(changed(|config, _| config.limits.max_input_audio_ms = 1_000));
    client.sound(true, 60).await; // the first may cross the change on its way
    let limit = client
        .until(|event| match event {
            SessionEvent::Error { error, .. } => Some(error.to_string()),
            _ => None,
        })
        .await;
    assert!(limit.contains("1000 ms"), "{limit}");
    client.send(antiphon::session::Action::CommitAudio).await;
    let seconds = client
        .until(|event| match event {
            SessionEvent::TranscriptionCompleted { audio, .. } => Some(audio.seconds),
            _ => None,
        })
        .await;
    assert!((seconds - 3.0).abs() < 0.1, "{seconds}");
}
