//! The whole server on scripted engines, over real sockets: the upgrade, bad frames, close codes, isolation
//! under churn, shutdown.

use crate::socket::{Client, DEADLINE, config, get, start};
use antiphon::app::Server;
use futures::SinkExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Asks in writing, with the same words as metadata.
async fn write(client: &mut Client, text: &str) {
    client.item(text).await;
    let response = json!({"output_modalities": ["text"], "metadata": {"said": text}});
    client.send(json!({"type": "response.create", "response": response})).await;
}

#[tokio::test]
async fn bad_frames_get_an_error_each_and_the_session_goes_on() {
    let server = start(config()).await;
    let mut client = Client::admitted(server.address()).await;
    let text = |text: &str| Message::Text(text.to_owned().into());
    let append = |audio: &str| json!({"event_id": "e1", "type": "input_audio_buffer.append", "audio": audio});
    let cases = [
        (text("{"), "invalid_json", Value::Null),
        (text("[]"), "invalid_json", Value::Null),
        (text("{}"), "invalid_event", Value::Null),
        (text(r#"{"type":"response.creat","event_id":"e1"}"#), "invalid_value", json!("e1")),
        (text(&append("***").to_string()), "invalid_value", json!("e1")),
        (text(&append("AAAA").to_string()), "invalid_value", json!("e1")),
        (Message::Binary(vec![0; 4].into()), "invalid_frame", Value::Null),
        (
            text(
                r#"{"type":"session.update","event_id":"e1","session":{"type":"realtime","audio":{"input":{"format":{"type":"audio/pcm","rate":16000}}}}}"#,
            ),
            "invalid_value",
            json!("e1"),
        ),
        (text(r#"{"type":"response.cancel","event_id":"e1"}"#), "response_cancel_not_active", json!("e1")),
        (
            text(r#"{"type":"conversation.item.retrieve","event_id":"e1","item_id":"item_x"}"#),
            "item_retrieve_invalid_item_id",
            json!("e1"),
        ),
        (text(r#"{"type":"input_audio_buffer.commit"}"#), "input_audio_buffer_commit_empty", Value::Null),
    ];
    for (frame, code, event_id) in cases {
        let sent = frame.to_string();
        client.0.send(frame).await.expect("the socket is open");
        let error = client.until("error").await["error"].clone();
        assert_eq!(error["code"], code, "{sent}: {error}");
        assert_eq!(error["event_id"], event_id, "{sent}: {error}");
    }
    write(&mut client, "Still there?").await;
    assert_eq!(client.until("response.done").await["response"]["status"], "completed");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_frame_over_the_limit_is_told_its_size() {
    let mut config = config();
    config.server.max_frame_bytes = 1_000;
    let server = start(config).await;
    let mut client = Client::admitted(server.address()).await;
    let audio = "A".repeat(1_200);
    client.send(json!({"type": "input_audio_buffer.append", "audio": audio})).await;
    let error = client.until("error").await["error"].clone();
    assert_eq!(error["code"], "frame_too_large");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("1000")), "{error}");
    write(&mut client, "Hi").await;
    client.until("response.done").await;
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_partial_update_changes_what_it_names_and_everything_is_echoed() {
    let server = start(config()).await;
    let mut client = Client::admitted(server.address()).await;
    let detection = json!({"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 700});
    let input = json!({"turn_detection": detection, "transcription": {"model": "whisper-1"}});
    let session = json!({"type": "realtime", "tracing": "auto", "audio": {"input": input}});
    client.send(json!({"type": "session.update", "session": session})).await;
    client.until("session.updated").await;
    let detection = json!({"type": "server_vad", "prefix_padding_ms": 200, "interrupt_response": false});
    let session = json!({"type": "realtime", "audio": {"input": {"turn_detection": detection}}});
    client.send(json!({"type": "session.update", "session": session})).await;
    let updated = client.until("session.updated").await["session"].clone();
    assert_eq!(updated["tracing"], "auto");
    let input = &updated["audio"]["input"];
    assert_eq!(input["transcription"]["model"], "whisper-1");
    let expected = json!({
        "type": "server_vad", "threshold": 0.6, "prefix_padding_ms": 200, "silence_duration_ms": 700,
        "idle_timeout_ms": null, "create_response": true, "interrupt_response": false,
    });
    assert_eq!(input["turn_detection"], expected);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn the_upgrade_answers_the_subprotocol_and_refuses_with_a_reason() {
    let server = start(config()).await;
    let url = format!("ws://{}/v1/realtime?model=x", server.address());
    let request = |name: &'static str, value: &'static str| {
        let mut request = url.as_str().into_client_request().expect("a request");
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        request
    };
    let offered = request("sec-websocket-protocol", "realtime, openai-insecure-api-key.abc");
    let (_, response) = connect_async(offered).await.expect("the upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "realtime");
    let (_, response) = connect_async(url.as_str()).await.expect("the upgrade");
    assert!(response.headers().get("sec-websocket-protocol").is_none());
    for (name, value, status) in
        [("openai-beta", "realtime=v1", 400), ("origin", "https://evil.example", 403)]
    {
        let Err(Error::Http(refused)) = connect_async(request(name, value)).await else {
            panic!("{name} was not refused");
        };
        assert_eq!(refused.status().as_u16(), status);
        let body: Value = serde_json::from_slice(refused.body().as_deref().expect("a body")).expect("JSON");
        assert!(body["error"]["message"].is_string(), "{body}");
    }
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_full_server_answers_503_and_takes_the_next_when_one_leaves() {
    let mut config = config();
    config.server.max_sessions = 1;
    config.server.admission.max_connections = 1;
    let server = start(config).await;
    let mut first = Client::admitted(server.address()).await;
    let url = format!("ws://{}/v1/realtime", server.address());
    let Err(Error::Http(refused)) = connect_async(url.as_str()).await else { panic!("not refused") };
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, &b"5"[..]));
    first.0.close(None).await.expect("closes");
    timeout(DEADLINE, async {
        while connect_async(url.as_str()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the place is free again");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn shutdown_closes_every_session_with_1012_and_ends_every_task() {
    let server = start(config()).await;
    let mut clients = [Client::admitted(server.address()).await, Client::admitted(server.address()).await];
    let closed = async move {
        for client in &mut clients {
            assert_eq!(client.close_code().await, 1012);
        }
    };
    let (stopped, ()) = tokio::join!(server.stop(), closed);
    stopped.expect("everything ends");
}

/// Sessions come, talk and go at once; each must hear its own words alone, and nothing may stay behind.
#[tokio::test]
async fn under_churn_nobody_hears_anybody_else() {
    let server = start(config()).await;
    futures::future::join_all((0..16).map(|number| come_talk_and_go(&server, number))).await;
    timeout(DEADLINE, async {
        while !server.sessions().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("every session ends with its client");
    assert!(server.pools().stats().iter().all(|pool| pool.in_use == 0 && pool.waiting == 0));
    server.stop().await.expect("everything ends");
}

async fn come_talk_and_go(server: &Server, number: usize) {
    for round in 0..4 {
        let mut client = Client::admitted(server.address()).await;
        for turn in 0..3 {
            let said = format!("word-{number}-{round}-{turn}");
            write(&mut client, &said).await;
            let done = client.until("response.done").await["response"].clone();
            assert_eq!(done["metadata"]["said"], said);
            assert_eq!(done["output"][0]["content"][0]["text"], format!("You said: {said}"));
        }
        if round % 2 == 0 {
            client.0.close(None).await.expect("closes");
        } // else it vanishes without a word
    }
}

#[tokio::test]
async fn a_spoken_turn_goes_over_the_wire_in_order() {
    let server = start(config()).await;
    let mut client = Client::admitted(server.address()).await;
    let tone: Vec<u8> = (0..24_000)
        .flat_map(|at| (if (at / 20) % 2 == 0 { 8_000i16 } else { -8_000 }).to_le_bytes())
        .collect();
    let silence = vec![0; 48_000 * 2];
    for audio in [tone, silence] {
        let audio = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, audio);
        client.send(json!({"type": "input_audio_buffer.append", "audio": audio})).await;
    }
    let started = client.until("input_audio_buffer.speech_started").await;
    let committed = client.until("input_audio_buffer.committed").await;
    assert_eq!(started["item_id"], committed["item_id"]);
    let added = client.until("conversation.item.added").await;
    let part = &added["item"]["content"][0];
    assert!(part["type"] == "input_audio" && part.get("transcript").is_some(), "{part}");
    let done = client.until("response.done").await["response"].clone();
    assert_eq!(done["status"], "completed");
    assert!(done["usage"]["output_token_details"]["audio_tokens"].is_u64(), "{done}");
    assert!(done["antiphon"]["timings_ms"]["endpointing"].is_u64(), "{done}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_next_step() {
    let server = start(config()).await;
    let mut taken = config();
    taken.server.bind = server.address();
    let error = Server::start(taken).await.expect_err("the port is taken").to_string();
    assert!(error.contains(&server.address().to_string()) && error.contains("--bind"), "{error}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn health_metrics_and_pages_answer() {
    let server = start(config()).await;
    let mut client = Client::admitted(server.address()).await;
    write(&mut client, "Hi").await;
    client.until("response.done").await;
    for (path, expected) in [
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/metrics", "antiphon_sessions_active"),
        ("/", "<!doctype html"),
        ("/assets/app.js", "import"),
        ("/nothing", "not_found"),
    ] {
        let body = get(server.address(), path).await.to_string();
        assert!(body.to_lowercase().contains(expected), "{path}: {body}");
    }
    server.stop().await.expect("everything ends");
}
