//! Whatever a client sends, in whatever order: the events that it gets make sense, and the session lives or is properly
//! closed. The whole server on scripted engines, over real sockets.

mod rules;

use crate::socket::{Client, config, start};
use antiphon::app::Server;
use antiphon::backend::catalog::LlmConfig;
use antiphon::backend::scripted::{ScriptedLlmConfig, Step};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::SinkExt;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestCaseError, TestRunner};
use rules::Stream;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// What a client does next. Numbers choose among the items and responses that there are.
#[derive(Clone, Debug)]
enum Deed {
    Sound { loud: bool, ms: usize },
    Event(Value),
    Item { id: usize, previous: usize, kind: usize },
    OnItem { event: usize, number: usize, audio_end_ms: u64 },
    Respond(Value),
    Cancel(Option<usize>),
    Update(Value),
    Text(String),
    Binary(Vec<u8>),
}

const IDS: [&str; 4] = ["item_a", "item_b", "item_c", "item_missing"];

fn step() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (any::<bool>(), 1_usize..12).prop_map(|(loud, tenths)| Deed::Sound { loud, ms: tenths * 100 }),
        2 => prop_oneof![
            Just(json!({"type": "input_audio_buffer.commit"})),
            Just(json!({"type": "input_audio_buffer.clear"})),
            Just(json!({"type": "output_audio_buffer.clear"})),
        ].prop_map(Deed::Event),
        4 => (0..IDS.len(), 0_usize..7, 0_usize..7)
            .prop_map(|(id, previous, kind)| Deed::Item { id, previous, kind }),
        4 => (0_usize..4, 0_usize..9, 0_u64..3_000)
            .prop_map(|(event, number, audio_end_ms)| Deed::OnItem { event, number, audio_end_ms }),
        5 => response().prop_map(Deed::Respond),
        2 => proptest::option::of(0_usize..3).prop_map(Deed::Cancel),
        3 => update().prop_map(Deed::Update),
        1 => "[ -~]{0,40}".prop_map(Deed::Text),
        1 => "(session|response|conversation\\.item|input_audio_buffer)\\.[a-z]{3,9}"
            .prop_map(|kind| Deed::Event(json!({"type": kind, "item_id": 7, "session": [], "response": "x"}))),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Deed::Binary),
    ]
}

fn response() -> impl Strategy<Value = Value> {
    let input =
        json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Aside."}]}]);
    prop_oneof![
        3 => Just(Value::Null),
        2 => Just(json!({"output_modalities": ["text"], "metadata": {"topic": "hi"}})),
        2 => Just(json!({"conversation": "none", "input": input, "output_modalities": ["text"]})),
        1 => Just(json!({"conversation": "none"})),
        1 => Just(json!({"input": [{"type": "item_reference", "id": "item_a"}]})),
        1 => Just(json!({"input": [{"type": "item_reference", "id": "item_missing"}]})),
        1 => Just(json!({"max_output_tokens": 1, "instructions": "Be short.", "tools": []})),
        1 => Just(json!({"audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"}}})),
        1 => Just(json!({"output_modalities": ["smell"], "max_output_tokens": 0})),
    ]
}

fn update() -> impl Strategy<Value = Value> {
    let detection = |value: Value| json!({"audio": {"input": {"turn_detection": value}}});
    prop_oneof![
        Just(detection(Value::Null)),
        Just(detection(json!({"type": "server_vad", "silence_duration_ms": 200}))),
        Just(detection(json!({"type": "server_vad", "interrupt_response": false}))),
        Just(detection(json!({"type": "semantic_vad", "eagerness": "high", "create_response": false}))),
        Just(detection(json!({"type": "psychic_vad"}))),
        Just(json!({"audio": {"input": {"format": {"type": "audio/pcma"}}}})),
        Just(json!({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}})),
        Just(json!({"audio": {"input": {"transcription": {"model": "whisper-1"}}}})),
        Just(json!({"output_modalities": ["text"], "instructions": "", "truncation": "disabled"})),
        Just(json!({"output_modalities": ["audio"], "tools": [], "tool_choice": "none"})),
        Just(json!({"audio": {"output": {"voice": "nobody"}}})),
    ]
}

fn sound(loud: bool, ms: usize) -> Value {
    let wave = |at: usize| if loud && (at / 20).is_multiple_of(2) { 8_000_i16 } else { 0 };
    let bytes: Vec<u8> = (0..ms * 24).flat_map(|at| wave(at).to_le_bytes()).collect();
    json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(bytes)})
}

fn item(id: usize, previous: usize, kind: usize) -> Value {
    let message = |role: &str, part: Value| json!({"type": "message", "role": role, "content": [part]});
    let mut item = match kind {
        0 | 1 => message("user", json!({"type": "input_text", "text": "Hello."})),
        2 => message("system", json!({"type": "input_text", "text": "Be kind."})),
        3 => message("assistant", json!({"type": "output_text", "text": "Hi."})),
        4 => json!({"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": "{}"}),
        5 => json!({"type": "function_call_output", "call_id": "call_1", "output": "noon"}),
        _ => message("user", json!({"type": "input_image", "image_url": "data:,"})),
    };
    if id < IDS.len() - 1 {
        item["id"] = json!(IDS[id]);
    }
    let mut event = json!({"type": "conversation.item.create", "item": item});
    match previous {
        0 => event["previous_item_id"] = json!("root"),
        1..=4 => event["previous_item_id"] = json!(IDS[previous - 1]),
        _ => {}
    }
    event
}

/// The frame of a step, given what the client has seen.
fn frame(step: &Deed, seen: &Stream) -> Message {
    let event = match step {
        Deed::Text(text) => return Message::Text(text.clone().into()),
        Deed::Binary(bytes) => return Message::Binary(bytes.clone().into()),
        Deed::Sound { loud, ms } => sound(*loud, *ms),
        Deed::Event(event) => event.clone(),
        Deed::Item { id, previous, kind } => item(*id, *previous, *kind),
        Deed::OnItem { event, number, audio_end_ms } => {
            let event = ["retrieve", "delete", "truncate", "truncate"][*event];
            let id = seen.some_item(*number).unwrap_or_else(|| IDS[3].to_owned());
            let (kind, index) = (format!("conversation.item.{event}"), number % 2);
            json!({"type": kind, "item_id": id, "content_index": index, "audio_end_ms": audio_end_ms})
        }
        Deed::Respond(response) if response.is_null() => json!({"type": "response.create"}),
        Deed::Respond(response) => json!({"type": "response.create", "response": response}),
        Deed::Cancel(None) => json!({"type": "response.cancel"}),
        Deed::Cancel(Some(number)) => {
            let open = seen.open_responses();
            let id = open.get(number % open.len().max(1)).map_or("resp_missing", String::as_str);
            json!({"type": "response.cancel", "response_id": id})
        }
        Deed::Update(change) => {
            let mut session = change.clone();
            session["type"] = json!("realtime");
            json!({"type": "session.update", "session": session})
        }
    };
    Message::Text(event.to_string().into())
}

/// A client and what it has seen.
struct Talk {
    client: Client,
    seen: Stream,
    marks: u64,
}

impl Talk {
    async fn begin(server: &Server) -> Self {
        let client = Client::connect(server.address(), "").await;
        Self { client, seen: Stream::default(), marks: 0 }
    }

    async fn read(&mut self) -> Value {
        let event = self.client.event().await;
        self.seen.read(&event);
        event
    }

    /// Reads all that the server has to say to what was sent so far.
    async fn catch_up(&mut self) {
        self.marks += 1;
        let mark = json!(format!("mark_{}", self.marks));
        self.client.send(json!({"type": "mark", "event_id": mark})).await;
        while self.read().await["error"]["event_id"] != mark {}
    }

    /// Ends all that runs, and looks whether the session is whole.
    async fn settle(&mut self) {
        self.client.send(json!({"type": "input_audio_buffer.clear"})).await;
        let quiet = json!({"type": "realtime", "audio": {"input": {"turn_detection": null}}});
        self.client.send(json!({"type": "session.update", "session": quiet})).await;
        self.silence().await;
        // An answer waits for every transcript before it: when it is over, no turn is under way any more.
        self.client.ask("Are you there?").await;
        while self.read().await["type"] != "response.done" {}
        self.silence().await;
        self.seen.settled();
    }

    async fn silence(&mut self) {
        self.catch_up().await;
        while !self.seen.open_responses().is_empty() {
            for id in self.seen.open_responses() {
                self.client.send(json!({"type": "response.cancel", "response_id": id})).await;
            }
            self.catch_up().await;
        }
    }
}

async fn talk(server: &Server, steps: &[Deed]) {
    let mut talk = Talk::begin(server).await;
    talk.catch_up().await;
    for (number, step) in steps.iter().enumerate() {
        let frame = frame(step, &talk.seen);
        talk.client.0.send(frame).await.expect("the socket is open");
        if number % 3 == 0 {
            talk.catch_up().await; // the rest comes in bursts
        }
    }
    talk.settle().await;
    talk.client.leave().await;
}

#[test]
fn whatever_a_client_sends_its_events_make_sense() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut config = config();
    // Quotas have tests of their own.
    config.session.limits.max_requests_per_minute = 100_000;
    config.session.limits.max_concurrent_requests = 50;
    config.session.per_user.max_responses_per_minute = 100_000;
    config.session.per_user.max_concurrent_requests = 50;
    let calls = [
        vec![Step::text(1, "You said: {user} Is there anything else that I can do for you?")],
        vec![Step::text(1, "Let me look."), Step::tool_call(1, "clock", "{}")],
        vec![Step::text(20, "Well."), Step::error(1, "scripted failure")],
    ];
    let calls = calls.into_iter().cycle().take(10_000).collect();
    let llm = ScriptedLlmConfig { calls, word_ms: 1, ..ScriptedLlmConfig::default() };
    config.engines.llm = vec![LlmConfig::Scripted(llm)];
    let server = runtime.block_on(start(config));
    let steps = proptest::collection::vec(step(), 1..40);
    let mut runner = TestRunner::new(Cases {
        cases: 64,
        max_shrink_iters: 200,
        max_shrink_time: 60_000,
        ..Cases::default()
    });
    let result = runner.run(&steps, |steps| {
        runtime.block_on(talk(&server, &steps));
        Ok::<(), TestCaseError>(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    runtime.block_on(server.stop()).expect("it stops in time");
}
