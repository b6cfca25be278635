//! Every message comes out of the pipe as it went in.

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use serde::de::DeserializeOwned;

use super::super::frames;
use super::*;
use crate::engine::llm::{ChatRole, FinishReason, TokenUsage, ToolCall};
use crate::engine::stt::{Guarded, HeardWord, TokenLogprob};

fn through_the_pipe<T: Serialize + DeserializeOwned>(message: &T) -> T {
    let mut pipe = Vec::new();
    frames::write(&mut pipe, message).expect("it can be written");
    let mut rest = pipe.as_slice();
    let read = frames::read(&mut rest).expect("it can be read").expect("it is there");
    assert!(rest.is_empty(), "nothing is left over");
    read
}

fn error() -> impl Strategy<Value = EngineError> {
    let text = || any::<String>();
    prop_oneof![
        Just(EngineError::Cancelled),
        (text(), text()).prop_map(|(engine, reason)| EngineError::BadRequest { engine, reason }),
        (text(), any::<(usize, usize)>())
            .prop_map(|(engine, (tokens, limit))| EngineError::ContextExceeded { engine, tokens, limit }),
        (text(), text()).prop_map(|(engine, reason)| EngineError::Failed { engine, reason }),
        (text(), text(), any::<Option<u64>>()).prop_map(|(engine, reason, retry_after_ms)| {
            EngineError::RateLimited { engine, reason, retry_after_ms }
        }),
        (text(), text()).prop_map(|(engine, reason)| EngineError::Unavailable { engine, reason }),
        (text(), any::<u64>()).prop_map(|(engine, waited_ms)| {
            EngineError::TimedOut { engine, phase: "its first output", waited_ms }
        }),
    ]
}

fn output() -> impl Strategy<Value = Output> {
    let text = || any::<String>();
    let token = (any::<Vec<u8>>(), -9.0f32..0.0).prop_map(|(bytes, logprob)| TokenLogprob { bytes, logprob });
    let transcript = (
        text(),
        any::<Option<String>>(),
        proptest::option::of(0.0f32..1.0),
        proptest::collection::vec(token, 0..4),
        proptest::collection::vec((text(), any::<(u32, u32)>()), 0..3),
    );
    let word = (text(), any::<(u32, u32)>()).prop_map(|(text, (start_ms, end_ms))| TimedWord {
        text,
        start_ms,
        end_ms,
    });
    let usage =
        any::<(u32, u32, u32)>().prop_map(|(input, cached, output)| TokenUsage { input, cached, output });
    prop_oneof![
        transcript.prop_map(|(text, language, no_speech_probability, tokens, words)| {
            let guarded = text.is_empty().then_some(Guarded::NoSpeech);
            let word = |(text, (start_ms, end_ms))| HeardWord { text, start_ms, end_ms };
            let words = words.into_iter().map(word).collect();
            Output::Transcript(Transcript { text, language, no_speech_probability, tokens, words, guarded })
        }),
        text().prop_map(|text| Output::Answer(LlmEvent::Text(text))),
        (any::<usize>(), text(), text())
            .prop_map(|(index, id, name)| Output::Answer(LlmEvent::ToolCallStart { index, id, name })),
        (any::<usize>(), text())
            .prop_map(|(index, delta)| Output::Answer(LlmEvent::ToolCallArguments { index, delta })),
        usage.prop_map(|usage| Output::Answer(LlmEvent::Done { finish: FinishReason::Length, usage })),
        (any::<Vec<i16>>(), any::<u32>()).prop_map(|(samples, sample_rate)| {
            TtsEvent::Audio(SpeechChunk { samples, sample_rate }).into()
        }),
        proptest::collection::vec(word, 0..4).prop_map(Output::Words),
    ]
}

fn message() -> impl Strategy<Value = ChatMessage> {
    let role = prop_oneof![Just(ChatRole::System), Just(ChatRole::User), Just(ChatRole::Tool)];
    let call =
        any::<(String, String, String)>().prop_map(|(id, name, arguments)| ToolCall { id, name, arguments });
    let calls = proptest::collection::vec(call, 0..3);
    (role, any::<String>(), calls, any::<Option<String>>()).prop_map(
        |(role, content, tool_calls, tool_call_id)| ChatMessage { role, content, tool_calls, tool_call_id },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let options = || any::<(Option<String>, Option<String>)>();
    let audio = proptest::collection::vec(-1.0f32..1.0, 0..400);
    let utterance = (audio, options()).prop_map(|(audio, (language, prompt))| {
        let word_times = language.is_some();
        Request::Transcribe(Utterance { audio: audio.into(), language, prompt, word_times })
    });
    let speech = (any::<(String, String)>(), 0.25f32..1.5)
        .prop_map(|((text, voice), speed)| Request::Synthesize(TtsRequest { text, voice, speed }));
    let messages = proptest::collection::vec(message(), 0..4);
    let tool = any::<(String, String)>().prop_map(|(name, description)| ToolSpec {
        name,
        description,
        parameters: serde_json::json!({"type": "object", "required": ["z", "a"], "n": [1, -2, 0.5, null, true]}),
    });
    let choice = prop_oneof![Just(ToolChoice::Auto), any::<String>().prop_map(ToolChoice::Function)];
    let truncation = prop_oneof![
        Just(Truncation::Auto),
        Just(Truncation::Disabled),
        (0.0f64..1.0, any::<Option<u32>>())
            .prop_map(|(ratio, max_tokens)| Truncation::Retain { ratio, max_tokens }),
    ];
    let talk = (
        messages,
        proptest::collection::vec(tool, 0..3),
        choice,
        any::<Option<u32>>(),
        truncation,
        any::<bool>(),
    );
    let talk = talk.prop_map(|(messages, tools, tool_choice, max_tokens, truncation, is_urgent)| {
        let (messages, tools) = (messages.into(), tools.into());
        Request::Generate(Box::new(Talk { messages, tools, tool_choice, max_tokens, truncation, is_urgent }))
    });
    prop_oneof![utterance, speech, talk]
}

proptest! {
    #[test]
    fn requests_come_out_as_they_went_in(id: CallId, request in request()) {
        let message = ToEngine::Call(id, request);
        assert_eq!(through_the_pipe(&message), message);
    }

    #[test]
    fn outcomes_come_out_as_they_went_in(id: CallId, output in output(), error in error()) {
        for message in [FromEngine::Output(id, output), FromEngine::Failed(id, error)] {
            assert_eq!(through_the_pipe(&message), message);
        }
    }

    #[test]
    fn noise_is_an_error_and_never_a_panic(noise: Vec<u8>) {
        let mut framed = u32::try_from(noise.len()).expect("short").to_be_bytes().to_vec();
        framed.extend(noise);
        drop(frames::read::<ToEngine>(&mut framed.as_slice()));
        drop(frames::read::<FromEngine>(&mut framed.as_slice()));
    }
}

#[test]
fn what_a_load_says_comes_out_as_it_went_in() {
    let load = Load { version: "1".to_owned(), engine: "{}".to_owned(), onnxruntime: "/lib/x.so".into() };
    let message = ToEngine::Load(load);
    assert_eq!(through_the_pipe(&message), message);
    let missing = LoadError::FileMissing {
        engine: "whisper".to_owned(),
        path: "/nowhere".into(),
        reason: "no such file".to_owned(),
        next_step: "Run `make starter`".to_owned(),
    };
    let message = FromEngine::Refused(missing);
    assert_eq!(through_the_pipe(&message), message);
}

#[test]
fn the_order_of_a_tools_schema_is_kept() {
    let parameters: serde_json::Value =
        serde_json::from_str(r#"{"z": {"b": 1, "a": 2}, "a": []}"#).expect("JSON");
    let tool = ToolSpec { name: "t".to_owned(), description: String::new(), parameters };
    assert_eq!(through_the_pipe(&tool).parameters.to_string(), r#"{"z":{"b":1,"a":2},"a":[]}"#);
}
