//! Calls that are given up: the connection is closed, and the call's flag is let go.

use std::sync::Arc;

use antiphon::backend::openai::{OpenAiStt, OpenAiSttConfig, OpenAiTts, OpenAiTtsConfig};
use antiphon::engine::llm::{LlmEngine, LlmEvent};
use antiphon::engine::stt::{SttEngine, SttRequest};
use antiphon::engine::tts::{TtsEngine, TtsRequest};
use antiphon::engine::{CancelFlag, EngineError};
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;

use crate::llm::{ask, engine};
use crate::reply::{Act, Reply};
use crate::server::{DEADLINE, FaultServer};

/// A flag, and what tells whether an engine still holds it.
fn watched() -> (CancelFlag, Arc<()>) {
    let held = Arc::new(());
    (CancelFlag::holding(Arc::clone(&held)), held)
}

#[tokio::test]
async fn raising_the_flag_closes_the_connection_in_mid_stream() {
    let server = FaultServer::start([Reply::events().text("Half an").then(Act::Stall)]).await;
    let (flag, held) = watched();
    let mut stream = engine(&server).generate(ask("Hi."), flag.clone());
    assert_eq!(stream.next().await, Some(Ok(LlmEvent::Text("Half an".into()))));
    flag.cancel();
    let event = timeout(DEADLINE, stream.next()).await.expect("in time");
    assert_eq!(event, Some(Err(EngineError::Cancelled)));
    server.closed(1).await;
    drop(flag);
    assert_eq!(Arc::strong_count(&held), 1, "a stream that ended holds no flag");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn raising_the_flag_ends_the_wait_for_the_first_byte() {
    let server = FaultServer::start([Reply::default().then(Act::Stall)]).await;
    let flag = CancelFlag::new();
    let mut stream = engine(&server).generate(ask("Hi."), flag.clone());
    let raise = async {
        server.asked(1).await;
        flag.cancel();
    };
    let (event, ()) = timeout(DEADLINE, async { tokio::join!(stream.next(), raise) }).await.expect("in time");
    assert_eq!(event, Some(Err(EngineError::Cancelled)));
    server.closed(1).await;
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let server = FaultServer::start([Reply::events().text("Half an").then(Act::Stall)]).await;
    let (flag, held) = watched();
    let mut stream = engine(&server).generate(ask("Hi."), flag);
    assert!(stream.next().await.is_some_and(|event| event.is_ok()));
    assert_eq!(Arc::strong_count(&held), 2);
    drop(stream);
    assert_eq!(Arc::strong_count(&held), 1);
    server.closed(1).await;
}

#[tokio::test]
async fn dropping_a_call_that_waits_closes_the_connection() {
    let server = FaultServer::start([Reply::default().then(Act::Stall)]).await;
    let mut stream = engine(&server).generate(ask("Hi."), CancelFlag::new());
    tokio::select! {
        event = stream.next() => panic!("{event:?}"),
        () = server.asked(1) => {}
    }
    drop(stream);
    server.closed(1).await;
}

#[tokio::test]
async fn the_flag_goes_with_the_last_event() {
    let server = FaultServer::start([Reply::answer("Yes.")]).await;
    let (flag, held) = watched();
    let mut stream = engine(&server).generate(ask("Hi."), flag);
    while let Some(event) = stream.next().await {
        if matches!(event, Ok(LlmEvent::Done { .. })) {
            assert_eq!(Arc::strong_count(&held), 1);
        }
    }
}

#[tokio::test]
async fn speech_both_ways_is_cancelled_too() {
    let server = FaultServer::start([Reply::default().then(Act::Stall)]).await;
    let (url, model) = (server.url(), "m".to_owned());
    let stt = OpenAiStt::open(&OpenAiSttConfig {
        url: url.clone(),
        model: model.clone(),
        ..OpenAiSttConfig::default()
    });
    let tts = OpenAiTts::open(&OpenAiTtsConfig { url, model, ..OpenAiTtsConfig::default() });
    let (flag, held) = watched();
    let audio =
        SttRequest { audio: Arc::from(vec![0.0; 1600]), language: None, prompt: None, word_times: false };
    let heard = stt.expect("it opens").transcribe(audio, flag.clone()).map(|outcome| outcome.err());
    let text = TtsRequest { text: "Hi.".into(), voice: "alloy".into(), speed: 1.0 };
    let mut speech = tts.expect("it opens").synthesize(text, flag.clone());
    let raise = async {
        server.asked(2).await;
        flag.cancel();
    };
    let both = async { tokio::join!(heard, speech.next(), raise) };
    let (heard, spoken, ()) = timeout(DEADLINE, both).await.expect("in time");
    assert_eq!((heard, spoken), (Some(EngineError::Cancelled), Some(Err(EngineError::Cancelled))));
    server.closed(2).await;
    drop((flag, speech));
    assert_eq!(Arc::strong_count(&held), 1);
}
