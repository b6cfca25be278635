//! Processes that are killed, or hang, while ten sessions talk.

use std::f64::consts::TAU;
use std::net::SocketAddr;

use antiphon::app::Server;
use antiphon::audio::pcm;
use antiphon::backend::Placement;
use antiphon::backend::catalog::{LlmConfig, SttConfig};
use antiphon::backend::onnx_llm::OnnxLlmConfig;
use antiphon::backend::scripted::{ScriptedSttConfig, Step};
use antiphon::config::Config;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::{Value, json};

use super::socket::{Client, config, get, see, start};
use super::{program, signal, starter};

const SESSIONS: usize = 10;

/// So many speech-to-text engines that say which tone they hear, each in a process of its own.
fn hearing(engines: usize, slots: usize, after_ms: u64) -> Config {
    let engine = |number: usize| {
        SttConfig::Scripted(ScriptedSttConfig {
            name: format!("ear-{number}"),
            slots,
            placement: Placement::Process,
            calls: vec![vec![Step::text(after_ms, "a tone of {hz}")]],
            ..ScriptedSttConfig::default()
        })
    };
    let mut config = config();
    config.engines.program = program();
    config.engines.stt = (0..engines).map(engine).collect();
    // Ten at once, each on its own connection; what waits for a slot is not what is tested.
    config.pools.max_wait_ms = 30_000;
    config
}

/// Half a second of a tone, 24 kHz.
fn tone(hz: usize) -> String {
    let sample = |at: u32| (f64::from(at) * hz as f64 * TAU / 24_000.0).sin() * 8_000.0;
    let samples: Vec<i16> = (0..12_000).map(|at| sample(at) as i16).collect();
    STANDARD.encode(pcm::to_le_bytes(&samples))
}

/// A session that speaks when it wants to, and is answered in text.
async fn open(address: SocketAddr) -> Client {
    let mut client = Client::admitted(address).await;
    let session = json!({"type": "realtime", "output_modalities": ["text"], "audio": {"input": {"turn_detection": null}}});
    client.send(json!({"type": "session.update", "session": session})).await;
    client.until("session.updated").await;
    client
}

/// Says a tone of its own in each turn; only that may come back.
async fn speak(client: &mut Client, hz: usize) {
    client.send(json!({"type": "input_audio_buffer.append", "audio": tone(hz)})).await;
    client.send(json!({"type": "input_audio_buffer.commit"})).await;
    client.send(json!({"type": "response.create"})).await;
    assert_eq!(client.answer().await, format!("You said: a tone of {hz}"));
}

async fn ears(address: SocketAddr) -> Value {
    get(address, "/api/status").await["pools"][0].clone()
}

fn sum(pool: &Value, of: impl Fn(&Value) -> &Value) -> u64 {
    pool["instances"].as_array().expect("a list").iter().filter_map(|instance| of(instance).as_u64()).sum()
}

/// Whether every instance serves, and one was built anew.
fn is_whole(pool: &Value, slots: usize) -> bool {
    let instances = pool["instances"].as_array().expect("a list");
    pool["slots"] == slots
        && sum(pool, |instance| &instance["restarts"]) == 1
        && instances.iter().all(|i| i["breaker"] == "closed" && i["process"]["is_running"] == true)
}

/// Sends a signal to the first process that has calls; tells how many it had at least.
async fn strike(address: SocketAddr, name: &str) -> u64 {
    let is_busy = |instance: &&Value| instance["in_use"].as_u64() > Some(0);
    let busy = |status: &Value| {
        let instances = status["pools"][0]["instances"].as_array().expect("a list");
        instances.iter().find(is_busy).cloned()
    };
    let status = see(address, "/api/status", |status| busy(status).is_some()).await;
    let struck = busy(&status).expect("it was");
    signal(struck["process"]["pid"].as_u64().expect("a process"), name);
    struck["in_use"].as_u64().expect("a number")
}

async fn talk_through(server: &Server, blow: &str) {
    let address = server.address();
    let mut clients = join_all((0..SESSIONS).map(|_| open(address))).await;
    let turns = clients.iter_mut().enumerate().map(|(number, client)| async move {
        for turn in 0..3 {
            speak(client, 200 + 100 * number + 10 * turn).await;
        }
    });
    let (_, had) = tokio::join!(join_all(turns), strike(address, blow));
    assert!(had > 0, "it was struck in mid-call");
}

/// Every session hears its own tones, whoever died meanwhile; only calls of the dead process are made twice; and the
/// pool is whole again by itself.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "how long it took, for who wants to know")]
async fn a_process_killed_in_mid_call_costs_its_calls_a_second_try_and_nobody_an_answer() {
    for (engines, slots) in [(2, 1), (2, 5), (1, 5)] {
        let server = start(hearing(engines, slots, 200)).await;
        let address = server.address();
        let before = failures(address).await;
        let begun = tokio::time::Instant::now();
        talk_through(&server, "-KILL").await;
        let status =
            see(address, "/api/status", |status| is_whole(&status["pools"][0], engines * slots)).await;
        eprintln!("{engines} processes of {slots}: all well after {} ms", begun.elapsed().as_millis());
        let failed = failures(address).await - before;
        assert!((1..=slots as u64).contains(&failed), "{failed} failed calls with {slots} slots: {status}");
        let mut late = open(address).await;
        speak(&mut late, 3_000).await;
        server.stop().await.expect("everything ends");
    }
}

/// Calls that failed because their process was gone, of all servers of this test.
async fn failures(address: SocketAddr) -> u64 {
    let metrics = get(address, "/metrics").await;
    let of_ears = |line: &&str| line.starts_with("antiphon_engine_errors_total") && line.contains("ear-");
    let lines = metrics.as_str().expect("text").lines().filter(of_ears);
    let gone = lines.filter(|line| line.contains("unavailable"));
    gone.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// A process that was stopped says nothing and reads nothing: its calls are tried elsewhere, and it is replaced.
#[tokio::test]
async fn a_process_that_hangs_is_found_and_replaced() {
    let mut config = hearing(2, 5, 100);
    (config.pools.first_output_ms, config.pools.stuck_after_ms) = (1_000, 300);
    let server = start(config).await;
    talk_through(&server, "-STOP").await;
    see(server.address(), "/api/status", |status| is_whole(&status["pools"][0], 10)).await;
    server.stop().await.expect("everything ends");
}

/// Nobody calls it, so nobody has to fail for it.
#[tokio::test]
async fn a_process_that_dies_in_its_sleep_is_replaced_before_anybody_calls() {
    let server = start(hearing(1, 2, 1)).await;
    let address = server.address();
    let pid = ears(address).await["instances"][0]["process"]["pid"].as_u64().expect("a process");
    signal(pid, "-ABRT"); // as ONNX Runtime and whisper.cpp end where they do not trust themselves
    see(address, "/api/status", |status| is_whole(&status["pools"][0], 2)).await;
    let pool = ears(address).await;
    assert_ne!(pool["instances"][0]["process"]["pid"], pid);
    speak(&mut open(address).await, 440).await;
    assert_eq!(sum(&ears(address).await, |instance| &instance["calls"]["failed"]), 0);
    server.stop().await.expect("everything ends");
}

/// The language model of the starter in two processes, and a name in each of ten conversations.
#[tokio::test]
async fn a_real_model_killed_in_mid_call_leaves_everybody_their_own_facts() {
    const NAMES: [&str; SESSIONS] =
        ["Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Julia", "Peter"];
    let mut config = config();
    let engines = starter(Placement::Process);
    let LlmConfig::Onnx(model) = &engines.llm[0] else { panic!("the starter is one") };
    let named = |name: &str| LlmConfig::Onnx(OnnxLlmConfig { name: name.into(), slots: 4, ..model.clone() });
    config.engines.llm = vec![named("mind-1"), named("mind-2")];
    (config.engines.program, config.engines.onnxruntime) = (engines.program, engines.onnxruntime);
    config.pools.max_wait_ms = 30_000;
    let server = start(config).await;
    let address = server.address();
    let minds = |status: &Value| status["pools"][1].clone();
    let talk = join_all(NAMES.iter().map(|name| async move {
        let mut client = Client::admitted(address).await;
        client.ask(&format!("My name is {name}.")).await;
        client.until("response.done").await;
        let mut known = 0;
        for _ in 0..4 {
            client.ask("What is my name?").await;
            let done = client.until("response.done").await["response"].clone();
            // Who had heard a part of an answer is told that it broke off; it is not said twice.
            if done["status"] == "completed" {
                let said = done["output"][0]["content"][0]["text"].as_str().expect("text").to_owned();
                let other = NAMES.iter().find(|other| *other != name && said.contains(*other));
                assert!(other.is_none(), "{name} is told of {other:?}: {said}");
                known += usize::from(said.contains(name));
            }
        }
        known
    }));
    let kill = async {
        let busy = |status: &Value| minds(status)["instances"][0]["in_use"].as_u64() > Some(0);
        let status = see(address, "/api/status", busy).await;
        signal(minds(&status)["instances"][0]["process"]["pid"].as_u64().expect("a process"), "-KILL");
    };
    let (known, ()) = tokio::join!(talk, kill);
    assert!(known.iter().all(|known| *known >= 1), "each knows its own name: {known:?}");
    assert!(
        known.iter().sum::<usize>() >= 4 * SESSIONS - 8,
        "only calls of the dead process break off: {known:?}"
    );
    see(address, "/api/status", |status| is_whole(&minds(status), 8)).await;
    server.stop().await.expect("everything ends");
}
