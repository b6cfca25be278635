//! GPUs as `/api/status`, `/metrics` and `/api/alerts` show them, with memory that is made up. Scripted engines.

use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;

use crate::socket::{DEADLINE, config, get, http, see};
use antiphon::app::Server;
use antiphon::engine::Device;
use antiphon::telemetry::LogFilter;
use antiphon::telemetry::gpus::GpuReader;
use antiphon::telemetry::machine::GpuMemory;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Far from those that a machine of the tests might have.
const GPU: u32 = 7;

/// A server with an engine on a GPU, as its scheduler sees it.
async fn start(read: GpuReader) -> Server {
    let mut config = config();
    config.alerts.for_s = 0;
    let server = Server::start_on(config, LogFilter::default(), read).await.expect("scripted engines start");
    server.pools().scheduler.device(Device::Cuda(GPU));
    server
}

async fn metrics(address: SocketAddr) -> String {
    let (_, text) = http(address, "GET /metrics\nAccept: */*", "").await;
    text.as_str().expect("text").to_owned()
}

fn memory(status: &Value) -> &Value {
    &status["compute"]["gpus"][0]["memory"]
}

#[tokio::test]
async fn the_memory_of_a_gpu_in_use_is_shown_counted_and_watched() {
    let told = |used_bytes| GpuMemory { total_bytes: 1000, used_bytes, own_bytes: Some(300) };
    let read = move |number: u32| (number == GPU).then(|| told(960));
    let server = start(Box::new(read)).await;
    let address = server.address();
    let status = see(address, "/api/status", |seen| !memory(seen).is_null()).await;
    assert_eq!(status["compute"]["gpus"][0]["device"], "cuda:7", "{status}");
    assert_eq!(*memory(&status), json!({"total_bytes": 1000, "used_bytes": 960, "own_bytes": 300}));
    let text = metrics(address).await;
    for (kind, bytes) in [("total", 1000), ("used", 960), ("own", 300)] {
        let line = format!("antiphon_gpu_memory_bytes{{gpu=\"7\",kind=\"{kind}\"}} {bytes}");
        assert!(text.lines().any(|found| found == line), "{line} is missing from:\n{text}");
    }
    let alert = |seen: &Value| {
        let alerts = seen["alerts"].as_array().cloned().unwrap_or_default();
        alerts.into_iter().find(|alert| alert["name"] == "gpu_memory")
    };
    let fires = |seen: &Value| alert(seen).is_some_and(|alert| alert["state"] == "firing");
    let firing = alert(&see(address, "/api/alerts", fires).await).expect("it fires");
    assert_eq!((&firing["subject"], &firing["value"]), (&json!("cuda:7"), &json!(0.96)), "{firing}");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn where_no_engine_is_on_a_gpu_none_is_asked() {
    let (asked, seen) = sync_channel(1);
    let read = move |number| asked.send(number).ok().and(None);
    let server = Server::start_on(config(), LogFilter::default(), Box::new(read)).await.expect("it starts");
    let status = get(server.address(), "/api/status").await;
    assert_eq!(status["compute"]["gpus"], json!([]), "{status}");
    assert!(!metrics(server.address()).await.contains("antiphon_gpu_memory_bytes{"), "nor is there a figure");
    server.stop().await.expect("everything ends");
    assert!(seen.try_iter().next().is_none());
}

#[tokio::test]
async fn a_driver_that_never_answers_holds_up_nobody() {
    let (asked, seen) = sync_channel(9);
    let (_held, never) = sync_channel::<()>(0);
    let read = move |number| {
        asked.send(number).ok()?;
        never.recv().ok()?;
        None
    };
    let server = start(Box::new(read)).await;
    // It hangs by now.
    let number = tokio::task::spawn_blocking(move || seen.recv()).await.expect("no panic");
    assert_eq!(number, Ok(GPU));
    for _ in 0..3 {
        let status = timeout(DEADLINE, get(server.address(), "/api/status")).await.expect("in time");
        assert_eq!((status["ready"].clone(), memory(&status)), (json!(true), &Value::Null), "{status}");
    }
    assert!(!metrics(server.address()).await.contains("antiphon_gpu_memory_bytes{gpu=\"7\""));
    server.stop().await.expect("it is not waited for");
}
