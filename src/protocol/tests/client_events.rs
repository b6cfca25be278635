//! Reading of client events: each one round trips, each mistake is named.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;

fn every_event() -> Vec<Value> {
    [session_updates(), buffer_and_item_events(), response_requests()].concat()
}

fn session_updates() -> Vec<Value> {
    vec![
        json!({"type": "session.update", "event_id": "e1", "session": {
            "type": "realtime", "model": "gpt-realtime", "output_modalities": ["audio"], "instructions": "",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "transcription": {"model": "gpt-4o-mini-transcribe", "language": "en"},
                    "noise_reduction": null,
                    "turn_detection": {"type": "server_vad", "threshold": 0.25, "idle_timeout_ms": null,
                        "create_response": false},
                },
                "output": {"format": {"type": "audio/pcmu"}, "voice": {"id": "v1"}, "speed": 1.5},
            },
            "tools": [
                {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},
                {"type": "mcp", "server_label": "docs", "require_approval": "never"},
            ],
            "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": true,
            "reasoning": {"effort": "low"}, "max_output_tokens": 4096,
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
            "prompt": null, "tracing": "auto", "include": ["item.input_audio_transcription.logprobs"],
        }}),
        json!({"type": "session.update", "session": {"type": "realtime", "tracing": "auto"}}),
        json!({"type": "session.update", "session": {"type": "realtime", "max_output_tokens": "inf",
            "tool_choice": "required", "truncation": "disabled", "tracing": {"workflow_name": "w"},
            "audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}},
                "output": {"voice": "marin"}}}}),
        json!({"type": "session.update", "session": {"type": "transcription",
            "audio": {"input": {"turn_detection": null}}}}),
    ]
}

fn buffer_and_item_events() -> Vec<Value> {
    vec![
        json!({"type": "input_audio_buffer.append", "event_id": "e2", "audio": "AAAA"}),
        json!({"type": "input_audio_buffer.commit", "event_id": "e3"}),
        json!({"type": "input_audio_buffer.clear"}),
        json!({"type": "conversation.item.create", "previous_item_id": "root", "item": {
        "type": "message", "id": "item_1", "role": "user", "content": [
            {"type": "input_text", "text": "hi"},
            {"type": "input_audio", "audio": "AAAA", "transcript": null},
            {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
        ]}}),
        json!({"type": "conversation.item.create", "item": {
        "type": "message", "role": "assistant", "status": "completed", "object": "realtime.item",
        "content": [
            {"type": "output_text", "text": "yes"},
            {"type": "output_audio", "transcript": "no"},
            {"type": "input_text", "text": "as Pipecat has it"},
        ]}}),
        json!({"type": "conversation.item.create", "item": {
            "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}}),
        json!({"type": "conversation.item.create", "item": {
            "type": "function_call_output", "call_id": "call_1", "output": "4"}}),
        json!({"type": "conversation.item.create", "item": {
            "type": "mcp_approval_response", "approval_request_id": "a", "approve": true}}),
        json!({"type": "conversation.item.retrieve", "item_id": "item_1"}),
        json!({"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 1500}),
        json!({"type": "conversation.item.delete", "item_id": "item_1"}),
    ]
}

fn response_requests() -> Vec<Value> {
    vec![
        json!({"type": "response.create"}),
        json!({"type": "response.create", "response": {
        "conversation": "none", "output_modalities": ["text"], "instructions": "be brief",
        "audio": {"output": {"format": {"type": "audio/pcma"}, "voice": "marin"}},
        "metadata": {"client_event_id": "e9"}, "max_output_tokens": 1, "tools": [], "tool_choice": "none",
        "input": [
            {"type": "item_reference", "id": "item_1"},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "hi"}]},
        ]}}),
        json!({"type": "response.create", "response": {"input": []}}),
        json!({"type": "response.cancel", "response_id": "resp_1"}),
        json!({"type": "response.cancel"}),
        json!({"type": "output_audio_buffer.clear"}),
    ]
}

#[test]
fn every_client_event_round_trips() {
    let mut seen: Vec<String> = Vec::new();
    for event in every_event() {
        let message = parse_client_event(&event.to_string()).unwrap_or_else(|e| panic!("{event}: {e:?}"));
        assert_eq!(serde_json::from_str::<Value>(&message.to_json().unwrap()).unwrap(), event);
        assert_eq!(serde_json::from_value::<ClientMessage>(event.clone()).unwrap(), message);
        seen.push(event["type"].as_str().unwrap().to_owned());
    }
    for kind in CLIENT_EVENT_TYPES {
        assert!(seen.iter().any(|name| name == kind), "{kind} has no example");
    }
}

#[test]
fn unknown_fields_and_nulls_are_ignored() {
    let text = r#"{"type":"session.update","event_id":null,"trace":1,"session":{"type":"realtime","temperature":0.8,
        "instructions":null,"audio":{"input":{"format":null},"output":null},"hue":[1]}}"#;
    let message = parse_client_event(text).unwrap();
    assert_eq!(message.event_id, None);
    let ClientEvent::SessionUpdate(event) = message.event else { panic!("{message:?}") };
    assert_eq!(event.session.instructions, None);
    let text = r#"{"type":"response.create","response":null}"#;
    let event = ClientEvent::ResponseCreate(ResponseCreateEvent::default());
    assert_eq!(parse_client_event(text).unwrap().event, event);
}

#[test]
fn pcm_without_a_rate_is_24_khz() {
    let format: AudioFormat = serde_json::from_value(json!({"type": "audio/pcm"})).unwrap();
    assert_eq!(format, AudioFormat::PCM);
}

/// The event's text; the code, the field and a piece of the message that it must give.
type BadInput = (&'static str, &'static str, Option<&'static str>, &'static str);

fn check(cases: &[BadInput]) {
    for (text, code, param, message) in cases {
        let error = parse_client_event(text).expect_err(text);
        assert_eq!(error.code.as_str(), *code, "{text}: {error:?}");
        assert_eq!(error.param.as_deref(), *param, "{text}: {error:?}");
        assert!(error.message.contains(message), "{text}: {error:?}");
    }
}

fn session(body: &str) -> String {
    format!(r#"{{"type":"session.update","session":{{"type":"realtime",{body}}}}}"#)
}

fn check_sessions(cases: &[BadInput]) {
    for (body, code, param, message) in cases {
        let text: &'static str = session(body).leak();
        check(&[(text, code, *param, message)]);
    }
}

#[test]
fn malformed_json() {
    check(&[
        ("", "invalid_json", None, "not a JSON object: EOF"),
        ("{", "invalid_json", None, "EOF"),
        ("nonsense", "invalid_json", None, "line 1 column 2"),
        (r#"{"type":"response.create"} x"#, "invalid_json", None, "trailing characters"),
        (r#"{"type":"input_audio_buffer.append","audio":"AAA"#, "invalid_json", None, "EOF"),
        ("[]", "invalid_json", None, "expected an object"),
        ("\"response.create\"", "invalid_json", None, "expected an object"),
        ("null", "invalid_json", None, "expected an object"),
    ]);
}

#[test]
fn missing_and_unknown_types() {
    check(&[
        ("{}", "invalid_event", None, "The 'type' field is missing."),
        (r#"{"type":7}"#, "invalid_event", Some("type"), "expected a string, got 7."),
        (r#"{"type":null}"#, "invalid_event", Some("type"), "expected a string, got null."),
        (
            r#"{"type":"response.creat"}"#,
            "invalid_value",
            Some("type"),
            "unknown event 'response.creat'. Did you mean 'response.create'? Supported values are: 'session.update'",
        ),
        (r#"{"type":"zzz"}"#, "invalid_value", Some("type"), "unknown event 'zzz'. Supported values are:"),
    ]);
}

#[test]
fn missing_fields() {
    check(&[
        (r#"{"type":"session.update"}"#, "missing_required_parameter", Some("session"), "'session'"),
        (
            r#"{"type":"session.update","session":{}}"#,
            "missing_required_parameter",
            Some("session.type"),
            "Missing required parameter: 'session.type'.",
        ),
        (r#"{"type":"input_audio_buffer.append"}"#, "missing_required_parameter", Some("audio"), "'audio'"),
        (r#"{"type":"conversation.item.create"}"#, "missing_required_parameter", Some("item"), "'item'"),
        (
            r#"{"type":"conversation.item.create","item":{"role":"user"}}"#,
            "missing_required_parameter",
            Some("item.type"),
            "'item.type'",
        ),
        (
            r#"{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text"}]}}"#,
            "missing_required_parameter",
            Some("item.content[0].text"),
            "'item.content[0].text'",
        ),
        (
            r#"{"type":"conversation.item.truncate","item_id":"a","content_index":0}"#,
            "missing_required_parameter",
            Some("audio_end_ms"),
            "'audio_end_ms'",
        ),
        (
            r#"{"type":"conversation.item.delete"}"#,
            "missing_required_parameter",
            Some("item_id"),
            "'item_id'",
        ),
    ]);
}

#[test]
fn wrong_types() {
    check(&[
        (
            r#"{"type":"input_audio_buffer.append","audio":5}"#,
            "invalid_type",
            Some("audio"),
            "Invalid 'audio': expected a string, got integer 5.",
        ),
        (
            r#"{"type":"conversation.item.truncate","item_id":"a","content_index":0,"audio_end_ms":"1"}"#,
            "invalid_type",
            Some("audio_end_ms"),
            "expected a whole number, got string \"1\".",
        ),
        (
            r#"{"type":"conversation.item.truncate","item_id":"a","content_index":0,"audio_end_ms":-1}"#,
            "invalid_value",
            Some("audio_end_ms"),
            "got integer -1.",
        ),
        (r#"{"type":"session.update","session":[]}"#, "invalid_type", Some("session"), "expected an object"),
        (
            r#"{"type":"response.create","response":[]}"#,
            "invalid_type",
            Some("response"),
            "expected an object",
        ),
        (
            r#"{"type":"conversation.item.create","item":"x"}"#,
            "invalid_type",
            Some("item"),
            "expected an object",
        ),
        (
            r#"{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":1}]}}"#,
            "invalid_type",
            Some("item.content[0].text"),
            "expected a string, got integer 1.",
        ),
        (
            r#"{"type":"conversation.item.create","item":{"type":"message","role":"robot","content":[]}}"#,
            "invalid_value",
            Some("item.role"),
            "Supported values are: 'system', 'user', 'assistant'.",
        ),
        (r#"{"type":"response.cancel","event_id":4}"#, "invalid_type", Some("event_id"), "expected a string"),
    ]);
}

#[test]
fn wrong_session_types() {
    check_sessions(&[
        (
            r#""instructions":5"#,
            "invalid_type",
            Some("session.instructions"),
            "expected a string, got integer 5.",
        ),
        (r#""audio":[]"#, "invalid_type", Some("session.audio"), "expected an object, got sequence."),
        (
            r#""audio":{"input":{"turn_detection":{"type":"server_vad","silence_duration_ms":"500"}}}"#,
            "invalid_type",
            Some("session.audio.input.turn_detection.silence_duration_ms"),
            "expected a whole number from 0 to 4294967295, got string \"500\".",
        ),
        (
            r#""audio":{"input":{"turn_detection":{"type":"sever_vad"}}}"#,
            "invalid_value",
            Some("session.audio.input.turn_detection.type"),
            "unknown value 'sever_vad'. Did you mean 'server_vad'? Supported values are: 'server_vad', 'semantic_vad'.",
        ),
        (
            r#""audio":{"input":{"format":"pcm16"}}"#,
            "invalid_type",
            Some("session.audio.input.format"),
            "expected an object, got string \"pcm16\".",
        ),
        (
            r#""tools":[{"type":"function","name":"f"},{"type":"function","description":"d"}]"#,
            "missing_required_parameter",
            Some("session.tools[1].name"),
            "'session.tools[1].name'",
        ),
        (
            r#""tools":[{"type":"function","name":"f","parameters":[]}]"#,
            "invalid_type",
            Some("session.tools[0].parameters"),
            "expected an object",
        ),
        (r#""tool_choice":"any""#, "invalid_value", Some("session.tool_choice"), "its name, got \"any\"."),
        (
            r#""max_output_tokens":-3"#,
            "invalid_value",
            Some("session.max_output_tokens"),
            "or \"inf\", got -3.",
        ),
        (r#""max_output_tokens":1.5"#, "invalid_value", Some("session.max_output_tokens"), "got 1.5."),
        (r#""truncation":7"#, "invalid_value", Some("session.truncation"), "got 7."),
        (
            r#""tracing":"on""#,
            "invalid_value",
            Some("session.tracing"),
            "expected 'auto' or an object, got \"on\".",
        ),
        (
            r#""output_modalities":["video"]"#,
            "invalid_value",
            Some("session.output_modalities[0]"),
            "'video'",
        ),
    ]);
}

#[test]
fn turn_detection_out_of_range() {
    check_sessions(&[
        (
            r#""audio":{"input":{"turn_detection":{"type":"server_vad","threshold":1.5}}}"#,
            "decimal_above_max_value",
            Some("session.audio.input.turn_detection.threshold"),
            "decimal above maximum value. Expected a value <= 1, but got 1.5 instead.",
        ),
        (
            r#""audio":{"input":{"turn_detection":{"type":"server_vad","threshold":-0.1}}}"#,
            "decimal_below_min_value",
            Some("session.audio.input.turn_detection.threshold"),
            ">= 0, but got -0.1",
        ),
        (
            r#""audio":{"input":{"turn_detection":{"type":"server_vad","silence_duration_ms":60001}}}"#,
            "integer_above_max_value",
            Some("session.audio.input.turn_detection.silence_duration_ms"),
            "integer above maximum value. Expected a value <= 60000, but got 60001 instead.",
        ),
        (
            r#""audio":{"input":{"turn_detection":{"type":"server_vad","silence_duration_ms":-5}}}"#,
            "invalid_value",
            Some("session.audio.input.turn_detection.silence_duration_ms"),
            "expected a whole number from 0 to 4294967295, got integer -5.",
        ),
        (
            r#""audio":{"input":{"turn_detection":{"type":"server_vad","idle_timeout_ms":4999}}}"#,
            "integer_below_min_value",
            Some("session.audio.input.turn_detection.idle_timeout_ms"),
            ">= 5000, but got 4999",
        ),
        (
            r#""audio":{"input":{"turn_detection":{"type":"server_vad","idle_timeout_ms":30001}}}"#,
            "integer_above_max_value",
            Some("session.audio.input.turn_detection.idle_timeout_ms"),
            "<= 30000, but got 30001",
        ),
    ]);
}

#[test]
fn other_values_out_of_range() {
    check_sessions(&[
        (
            r#""audio":{"input":{"format":{"type":"audio/pcm","rate":16000}}}"#,
            "invalid_value",
            Some("session.audio.input.format.rate"),
            "'audio/pcm' has a rate of 24000 Hz, but got 16000 instead.",
        ),
        (
            r#""audio":{"output":{"format":{"type":"audio/pcm","rate":48000}}}"#,
            "invalid_value",
            Some("session.audio.output.format.rate"),
            "48000",
        ),
        (
            r#""audio":{"output":{"speed":2}}"#,
            "decimal_above_max_value",
            Some("session.audio.output.speed"),
            "1.5",
        ),
        (
            r#""audio":{"output":{"speed":0.2}}"#,
            "decimal_below_min_value",
            Some("session.audio.output.speed"),
            "0.25",
        ),
        (r#""audio":{"output":{"voice":""}}"#, "invalid_value", Some("session.audio.output.voice"), "empty"),
        (r#""max_output_tokens":0"#, "integer_below_min_value", Some("session.max_output_tokens"), ">= 1"),
        (
            r#""max_output_tokens":4097"#,
            "integer_above_max_value",
            Some("session.max_output_tokens"),
            "<= 4096",
        ),
        (
            r#""truncation":{"type":"retention_ratio","retention_ratio":1.1}"#,
            "decimal_above_max_value",
            Some("session.truncation.retention_ratio"),
            "1.1",
        ),
        (
            r#""output_modalities":["text","audio"]"#,
            "invalid_value",
            Some("session.output_modalities"),
            "supported combinations are ['audio'] and ['text']",
        ),
        (r#""output_modalities":[]"#, "invalid_value", Some("session.output_modalities"), "supported"),
    ]);
    check(&[(
        r#"{"type":"session.update","session":{"type":"transcription","audio":{"input":{"turn_detection":{"type":"semantic_vad"}}}}}"#,
        "invalid_value",
        Some("session.audio.input.turn_detection.type"),
        "'server_vad' or null",
    )]);
}

#[test]
fn strings_and_maps_too_long() {
    let long = "é".repeat(1025);
    let tools = format!(r#""tools":[{{"type":"function","name":"f","description":"{long}"}}]"#);
    let error = parse_client_event(&session(&tools)).unwrap_err();
    assert_eq!(error.code, ErrorCode::STRING_ABOVE_MAX_LENGTH);
    assert_eq!(
        error.message,
        "Invalid 'session.tools[0].description': string too long. Expected a string with maximum length 1024, but \
         got a string with length 1025 instead."
    );
    let event_id = "x".repeat(513);
    let error = parse_client_event(&json!({"type": "response.cancel", "event_id": event_id}).to_string());
    let error = error.unwrap_err();
    assert_eq!((error.code.as_str(), error.param.as_deref()), ("string_above_max_length", Some("event_id")));
    assert_eq!(error.event_id, None);
    let pairs: serde_json::Map<_, _> = (0..17).map(|i| (i.to_string(), json!("v"))).collect();
    let cases = [
        (Value::Object(pairs), "object_above_max_properties", "response.metadata"),
        (json!({"k".repeat(65): "v"}), "string_above_max_length", "response.metadata"),
        (json!({"k": "v".repeat(513)}), "string_above_max_length", "response.metadata.k"),
        (json!({"k": 1}), "invalid_type", "response.metadata.k"),
    ];
    for (metadata, code, param) in cases {
        let event = json!({"type": "response.create", "response": {"metadata": metadata}}).to_string();
        let error = parse_client_event(&event).unwrap_err();
        assert_eq!((error.code.as_str(), error.param.as_deref()), (code, Some(param)), "{error:?}");
    }
}

#[test]
fn content_must_fit_the_role() {
    check(&[
        (
            r#"{"type":"conversation.item.create","item":{"type":"message","role":"system","content":[{"type":"input_audio"}]}}"#,
            "invalid_value",
            Some("item.content[0].type"),
            "a message of role 'system' holds 'input_text', but got 'input_audio'.",
        ),
        (
            r#"{"type":"conversation.item.create","item":{"type":"message","role":"assistant","content":[{"type":"output_audio","audio":"AA"}]}}"#,
            "invalid_value",
            Some("item.content[0].audio"),
            "send its text",
        ),
        (
            r#"{"type":"conversation.item.create","item":{"type":"message","id":"","role":"user","content":[]}}"#,
            "invalid_value",
            Some("item.id"),
            "empty",
        ),
        (
            r#"{"type":"conversation.item.create","item":{"type":"item_reference","id":"item_1"}}"#,
            "invalid_value",
            Some("item.type"),
            "'item_reference'",
        ),
        (
            r#"{"type":"response.create","response":{"input":[{"type":"message","role":"user","content":[{"type":"output_text","text":""}]}]}}"#,
            "invalid_value",
            Some("response.input[0].content[0].type"),
            "'output_text'",
        ),
    ]);
}

#[test]
fn beta_names_are_explained() {
    check(&[
        (
            r#"{"type":"session.update","session":{"modalities":["text","audio"]}}"#,
            "unknown_parameter",
            Some("session.modalities"),
            "'session.modalities' is the beta protocol; use 'session.output_modalities'.",
        ),
        (
            r#"{"type":"session.update","session":{"type":"realtime","turn_detection":null}}"#,
            "unknown_parameter",
            Some("session.turn_detection"),
            "use 'session.audio.input.turn_detection'",
        ),
        (
            r#"{"type":"response.create","response":{"voice":"marin"}}"#,
            "unknown_parameter",
            Some("response.voice"),
            "use 'response.audio.output.voice'",
        ),
        (
            r#"{"type":"conversation.item.create","item":{"type":"message","role":"assistant","content":[{"type":"text","text":"a"}]}}"#,
            "invalid_value",
            Some("item.content[0].type"),
            "'text' is the beta protocol; use 'output_text'.",
        ),
        (
            r#"{"type":"transcription_session.update","session":{}}"#,
            "invalid_value",
            Some("type"),
            "is the beta protocol; use 'session.update'",
        ),
    ]);
}

#[test]
fn a_session_alone_is_checked_as_in_its_event() {
    let update = parse_session_update(&json!({"type": "realtime", "instructions": "x"})).unwrap();
    assert_eq!(
        update,
        SessionUpdate { instructions: Some("x".to_owned()), ..SessionUpdate::new(SessionType::Realtime) }
    );
    for (session, param) in [
        (json!({}), "session.type"),
        (json!({"type": "realtime", "voice": "x"}), "session.voice"),
        (json!({"type": "realtime", "max_output_tokens": 0}), "session.max_output_tokens"),
        (json!({"type": "realtime", "tools": 1}), "session.tools"),
        (json!("x"), "session"),
    ] {
        assert_eq!(parse_session_update(&session).unwrap_err().param.as_deref(), Some(param));
    }
}

#[test]
fn errors_carry_the_event_id_where_it_can_be_read() {
    let cases = [
        (r#"{"event_id":"e1","type":"nope"}"#, Some("e1")),
        (r#"{"type":"session.update","session":{},"event_id":"e2"}"#, Some("e2")),
        (r#"{"event_id":"e3","type":"input_audio_buffer.append","audio":"AAA"#, Some("e3")),
        (r#"{"event_id":"e4"}"#, Some("e4")),
        (r#"{"type":"response.cancel","event_id":["e5"]}"#, None),
        (r#"{"type":"input_audio_buffer.append","audio":"#, None),
    ];
    for (text, event_id) in cases {
        let error = parse_client_event(text).expect_err(text);
        assert_eq!(error.event_id.as_deref(), event_id, "{text}");
        assert_eq!(ErrorBody::from(error).event_id.as_deref(), event_id);
    }
}

#[test]
fn messages_do_not_repeat_long_values() {
    let long = "x".repeat(100_000);
    for body in [
        json!({"type": long}),
        json!({"type": "session.update", "session": long}),
        json!({"type": "session.update", "session": {"type": long}}),
        json!({"type": "session.update", "session": {"type": "realtime", "max_output_tokens": long}}),
        json!({"type": "conversation.item.create", "item": {"type": long}}),
        json!({"type": "response.cancel", "event_id": [long]}),
    ] {
        let error = parse_client_event(&body.to_string()).unwrap_err();
        assert!(error.message.len() < 600, "{} bytes", error.message.len());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)), // exact in JSON
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "realtime",
            "message",
            "server_vad",
            "function",
            "audio/pcm",
            "inf",
            "user"
        ])
        .prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "type",
        "session",
        "item",
        "response",
        "audio",
        "input",
        "output",
        "format",
        "turn_detection",
        "tools",
        "content",
        "role",
        "metadata",
        "event_id",
        "rate",
        "tool_choice",
        "a`: b",
        "",
    ]);
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// An example with one value, anywhere in it, replaced.
fn mutated(mut event: Value, steps: &[prop::sample::Index], replacement: Value) -> Value {
    let mut place = &mut event;
    for step in steps {
        let len = match &*place {
            Value::Object(map) => map.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        if len == 0 {
            break;
        }
        place = match place {
            Value::Object(map) => map.values_mut().nth(step.index(len)).unwrap(),
            other => &mut other[step.index(len)],
        };
    }
    *place = replacement;
    event
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        drop(parse_client_event(&text));
    }

    #[test]
    fn arbitrary_json_never_panics(value in any_json(), kind in prop::sample::select(CLIENT_EVENT_TYPES.to_vec())) {
        let mut event = value;
        if let Value::Object(map) = &mut event {
            map.insert("type".to_owned(), Value::from(kind));
        }
        drop(parse_client_event(&event.to_string()));
    }

    #[test]
    fn mutated_events_never_panic_and_what_is_accepted_round_trips(
        event in prop::sample::select(every_event()),
        steps in prop::collection::vec(any::<prop::sample::Index>(), 1..7),
        replacement in any_json(),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = mutated(event, &steps, replacement).to_string();
        if let Ok(message) = parse_client_event(&text) {
            prop_assert_eq!(parse_client_event(&message.to_json().unwrap()).unwrap(), message);
        }
        let end = cut.index(text.len());
        prop_assert!(!text.is_char_boundary(end) || parse_client_event(&text[..end]).is_err());
    }
}
