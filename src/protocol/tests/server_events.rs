//! One snapshot of each server event, and its reading by a client.

use serde_json::{Value, json};

use super::super::*;

fn text(text: &str) -> String {
    text.to_owned()
}

pub(super) fn realtime_session() -> RealtimeSession {
    RealtimeSession {
        object: RealtimeSessionObject::It,
        id: text("sess_1"),
        model: text("antiphon"),
        output_modalities: vec![Modality::Audio],
        instructions: text("Be brief."),
        tools: vec![Tool::Function(FunctionTool { name: text("time"), ..Default::default() })],
        tool_choice: ToolChoice::default(),
        parallel_tool_calls: None,
        reasoning: None,
        max_output_tokens: MaxTokens::INF,
        tracing: None,
        truncation: Truncation::default(),
        prompt: None,
        expires_at: 1_756_324_625,
        audio: SessionAudio {
            input: AudioInput {
                turn_detection: Some(TurnDetection::ServerVad(ServerVad::default())),
                ..AudioInput::default()
            },
            output: AudioOutput { format: AudioFormat::PCM, voice: Voice::Name(text("marin")), speed: 1.0 },
        },
        include: None,
        antiphon: Some(SessionExtension {
            resume_token: Some(text("secret")),
            ..SessionExtension::default()
        }),
    }
}

pub(super) fn transcription_session() -> Session {
    Session::Transcription(Box::new(TranscriptionSession {
        object: TranscriptionSessionObject::It,
        id: text("sess_2"),
        expires_at: 1_756_324_625,
        audio: TranscriptionAudio {
            input: AudioInput {
                format: AudioFormat::Pcmu,
                transcription: Some(Transcription { model: Some(text("whisper-1")), ..Default::default() }),
                noise_reduction: Some(NoiseReduction { kind: NoiseReductionType::NearField }),
                turn_detection: None,
            },
        },
        include: None,
        antiphon: None,
    }))
}

fn message(role: Role, status: ItemStatus, content: Vec<ContentPart>) -> Item {
    Item::Message(MessageItem {
        id: Some(text("item_1")),
        object: Some(ItemObject::It),
        status: Some(status),
        role,
        content,
    })
}

fn spoken_user_item(audio: Option<&str>, transcript: Option<&str>) -> Item {
    let part = InputAudioPart { audio: audio.map(text), transcript: transcript.map(text) };
    message(Role::User, ItemStatus::Completed, vec![ContentPart::InputAudio(part)])
}

fn spoken_item(status: ItemStatus) -> Item {
    let part = OutputAudioPart { audio: None, transcript: Some(text("Hello.")) };
    message(Role::Assistant, status, vec![ContentPart::OutputAudio(part)])
}

fn call_item() -> Item {
    Item::FunctionCall(FunctionCallItem {
        id: Some(text("item_2")),
        object: Some(ItemObject::It),
        status: Some(ItemStatus::Completed),
        call_id: Some(text("call_1")),
        name: text("time"),
        arguments: text("{}"),
    })
}

fn response(status: ResponseStatus) -> Response {
    Response {
        object: ResponseObject::It,
        id: text("resp_1"),
        status,
        status_details: None,
        output: vec![],
        conversation_id: Some(text("conv_1")),
        output_modalities: vec![Modality::Audio],
        max_output_tokens: MaxTokens::INF,
        audio: Some(ResponseAudio {
            output: ResponseAudioOutput { format: AudioFormat::PCM, voice: Voice::Name(text("marin")) },
        }),
        usage: None,
        metadata: None,
        antiphon: None,
    }
}

fn done(details: &StatusDetails) -> Response {
    Response {
        status_details: Some(details.clone()),
        usage: Some(Usage::text(30, 20, 12)),
        ..response(details.kind)
    }
}

fn at() -> PartRef {
    PartRef { response_id: text("resp_1"), item_id: text("item_1"), output_index: 0, content_index: 0 }
}

fn session_events() -> Vec<ServerEvent> {
    let error = ProtocolError::at("session.type", ErrorCode::MISSING_REQUIRED_PARAMETER, "Missing.");
    vec![
        ServerEvent::SessionCreated { session: Session::Realtime(Box::new(realtime_session())) },
        ServerEvent::SessionUpdated { session: transcription_session() },
        ServerEvent::ConversationCreated {
            conversation: Conversation { id: text("conv_1"), object: ConversationObject::It },
        },
        ServerEvent::Error { error: error.answering(Some(text("e1"))).into() },
        ServerEvent::RateLimitsUpdated {
            rate_limits: vec![RateLimit {
                name: RateLimitName::Requests,
                limit: 20,
                remaining: 19,
                reset_seconds: 3.0,
            }],
        },
    ]
}

fn input_events() -> Vec<ServerEvent> {
    let item_id = text("item_1");
    vec![
        ServerEvent::InputAudioBufferSpeechStarted { audio_start_ms: 700, item_id: item_id.clone() },
        ServerEvent::InputAudioBufferSpeechStopped { audio_end_ms: 2200, item_id: item_id.clone() },
        ServerEvent::InputAudioBufferCommitted { previous_item_id: None, item_id: item_id.clone() },
        ServerEvent::InputAudioBufferCleared,
        ServerEvent::InputAudioBufferTimeoutTriggered {
            audio_start_ms: 3000,
            audio_end_ms: 9000,
            item_id: item_id.clone(),
        },
        ServerEvent::ConversationItemAdded { previous_item_id: None, item: spoken_user_item(None, None) },
        ServerEvent::ConversationItemDone { previous_item_id: Some(text("item_0")), item: call_item() },
        ServerEvent::ConversationItemRetrieved { item: spoken_user_item(Some("AAAA"), Some("Hi.")) },
        ServerEvent::ConversationItemTruncated {
            item_id: item_id.clone(),
            content_index: 0,
            audio_end_ms: 900,
        },
        ServerEvent::ConversationItemDeleted { item_id: item_id.clone() },
        ServerEvent::InputAudioTranscriptionDelta {
            item_id: item_id.clone(),
            content_index: 0,
            delta: text("Hi"),
            logprobs: Some(vec![Logprob { token: text("Hi"), logprob: -0.25, bytes: b"Hi".to_vec() }]),
        },
        ServerEvent::InputAudioTranscriptionCompleted {
            item_id: item_id.clone(),
            content_index: 0,
            transcript: text("Hi."),
            usage: TranscriptionUsage::Duration { seconds: 1.5 },
            logprobs: None,
            languages: Some(vec![DetectedLanguage { code: text("en") }]),
        },
        ServerEvent::InputAudioTranscriptionFailed {
            item_id,
            content_index: 0,
            error: TranscriptionError {
                kind: Some(text("transcription_error")),
                code: Some(ErrorCode::other("audio_unintelligible")),
                message: Some(text("The audio could not be transcribed.")),
                param: None,
            },
        },
    ]
}

fn translation_events() -> Vec<ServerEvent> {
    vec![
        ServerEvent::AntiphonTranslationPartial {
            item_id: text("item_1"),
            content_index: 0,
            language: text("es"),
            revision: 2,
            source: text("My name"),
            text: text("Mi nombre"),
        },
        ServerEvent::AntiphonTranslationCompleted {
            item_id: text("item_1"),
            content_index: 0,
            language: text("es"),
            source: text("My name is Anna."),
            text: text("Me llamo Anna."),
        },
        ServerEvent::AntiphonTranslationFailed {
            item_id: text("item_1"),
            content_index: 0,
            language: text("de"),
            error: TranscriptionError { code: Some(ErrorCode::OVERLOADED), ..TranscriptionError::default() },
        },
    ]
}

fn response_events() -> Vec<ServerEvent> {
    let mut complete = done(&StatusDetails::completed());
    complete.output = vec![spoken_item(ItemStatus::Completed), call_item()];
    complete.metadata = Some([(text("client_event_id"), text("e9"))].into());
    let timings_ms =
        ResponseTimings { endpointing: Some(500), llm_first_token: Some(90), ..ResponseTimings::default() };
    complete.antiphon = Some(ResponseExtension { timings_ms });
    let audio = |transcript: &str| ResponsePart::Audio { transcript: Some(text(transcript)) };
    vec![
        ServerEvent::ResponseCreated { response: Box::new(response(ResponseStatus::InProgress)) },
        ServerEvent::ResponseDone { response: Box::new(complete) },
        ServerEvent::ResponseOutputItemAdded {
            response_id: text("resp_1"),
            output_index: 0,
            item: message(Role::Assistant, ItemStatus::InProgress, vec![]),
        },
        ServerEvent::ResponseOutputItemDone {
            response_id: text("resp_1"),
            output_index: 0,
            item: spoken_item(ItemStatus::Incomplete),
        },
        ServerEvent::ResponseContentPartAdded { at: at(), part: audio(""), antiphon: None },
        ServerEvent::ResponseContentPartDone { at: at(), part: ResponsePart::Text { text: text("Hello.") } },
        ServerEvent::ResponseOutputTextDelta { at: at(), delta: text("Hel") },
        ServerEvent::ResponseOutputTextDone { at: at(), text: text("Hello.") },
        ServerEvent::ResponseOutputAudioTranscriptDelta {
            at: at(),
            delta: text("Hello."),
            start_time: Some(0.5),
        },
        ServerEvent::ResponseOutputAudioTranscriptDone { at: at(), transcript: text("Hello.") },
        ServerEvent::ResponseOutputAudioDelta { at: at(), delta: text("AAAA") },
        ServerEvent::ResponseOutputAudioDone { at: at() },
        ServerEvent::ResponseFunctionCallArgumentsDelta {
            response_id: text("resp_1"),
            item_id: text("item_2"),
            output_index: 1,
            call_id: text("call_1"),
            delta: text("{"),
        },
        ServerEvent::ResponseFunctionCallArgumentsDone {
            response_id: text("resp_1"),
            item_id: text("item_2"),
            output_index: 1,
            call_id: text("call_1"),
            name: text("time"),
            arguments: text("{}"),
        },
        ServerEvent::AntiphonQueuePosition { position: 3, estimated_wait_s: Some(40) },
        ServerEvent::OutputAudioBufferStarted { response_id: text("resp_1") },
        ServerEvent::OutputAudioBufferStopped { response_id: text("resp_1") },
        ServerEvent::OutputAudioBufferCleared { response_id: text("resp_1") },
    ]
}

fn wire(event: ServerEvent) -> Value {
    let message = ServerMessage { event_id: text("event_1"), event };
    let frame = message.to_json().unwrap();
    assert_eq!(serde_json::from_str::<ServerMessage>(&frame).unwrap(), message, "{frame}");
    serde_json::from_str(&frame).unwrap()
}

fn snapshot(name: &str, value: &Value) {
    insta::with_settings!({snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_json_snapshot!(name, value);
    });
}

#[test]
fn every_server_event_is_as_snapshot_and_can_be_read() {
    let events = [session_events(), input_events(), translation_events(), response_events()].concat();
    assert_eq!(events.len(), 39, "each event that this server sends has an example, ours included");
    for event in events {
        let value = wire(event);
        snapshot(value["type"].as_str().unwrap(), &value);
    }
}

#[test]
fn response_done_of_every_outcome() {
    let error = ResponseError {
        kind: ErrorType::ServerError,
        code: ErrorCode::SERVER_ERROR,
        message: text("The language model failed."),
    };
    let outcomes = [
        ("cancelled", StatusDetails::cancelled(StatusReason::TurnDetected)),
        ("incomplete", StatusDetails::incomplete(StatusReason::MaxOutputTokens)),
        ("failed", StatusDetails::failed(error)),
    ];
    for (name, details) in outcomes {
        let value = wire(ServerEvent::ResponseDone { response: Box::new(done(&details)) });
        snapshot(&format!("response.done.{name}"), &value["response"]["status_details"]);
        assert_eq!(value["response"]["status"], name);
        assert!(value["response"]["usage"]["input_token_details"]["cached_tokens_details"].is_object());
    }
}

#[test]
fn nulls_are_where_clients_want_them_and_nowhere_else() {
    let created =
        wire(ServerEvent::ResponseCreated { response: Box::new(response(ResponseStatus::InProgress)) });
    let response = created["response"].as_object().unwrap();
    for key in ["status_details", "usage", "metadata"] {
        assert_eq!(response.get(key), Some(&Value::Null), "{key}");
    }
    assert!(!response.contains_key("antiphon"));
    let added = wire(ServerEvent::ConversationItemAdded {
        previous_item_id: None,
        item: spoken_user_item(None, None),
    });
    assert_eq!(added["item"]["content"], json!([{"type": "input_audio", "transcript": null}]));
    assert_eq!(added.get("previous_item_id"), Some(&Value::Null));
    let call = serde_json::to_value(Item::FunctionCall(FunctionCallItem::default())).unwrap();
    assert_eq!(call, json!({"type": "function_call", "name": "", "arguments": ""}));
    let part = serde_json::to_value(ResponsePart::Audio { transcript: None }).unwrap();
    assert_eq!(part, json!({"type": "audio"}));
}

#[test]
fn frames_need_one_allocation() {
    let event = ServerEvent::ResponseOutputAudioDelta { at: at(), delta: "A".repeat(12_800) };
    let frame = ServerMessage::from(event).to_json().unwrap();
    assert!(frame.capacity() <= 12_800 + 320, "{} bytes of room", frame.capacity());
}
