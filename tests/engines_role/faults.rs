//! The server behind is killed and comes back.

use antiphon::app::Server;
use antiphon::backend::catalog::LlmConfig;
use antiphon::backend::onnx_llm::OnnxLlmConfig;
use serde_json::{Value, json};

use crate::pair::{Behind, Person, words};
use crate::socket::{get, see, start};

fn well(status: &Value, name: &str) -> bool {
    let pools = status["pools"].as_array().expect("pools").iter();
    let mut instances = pools.flat_map(|pool| pool["instances"].as_array().expect("instances"));
    instances.any(|instance| instance["name"] == name && instance["breaker"] == "closed")
}

/// Which language model made the latest answer.
async fn served_by(front: &Server) -> Value {
    let seen = get(front.address(), "/api/requests").await;
    let mut requests = seen["requests"].as_array().expect("a list").iter();
    let latest = requests.find(|request| request["kind"] == "response").expect("an answer");
    latest["stages"][0]["engine"].clone()
}

#[tokio::test]
async fn the_embedded_model_answers_while_the_server_behind_is_gone() {
    let mut behind = Behind::start("");
    let mut config = behind.front();
    config.pools.breaker_failures = 1;
    let embedded = OnnxLlmConfig { fallback: true, ..OnnxLlmConfig::default() };
    config.engines.llm.push(LlmConfig::Onnx(embedded));
    let front = start(config).await;
    let mut client = Person::meet(&front).await.client;
    client.ask("My name is Clara.").await;
    client.answer().await;
    assert_eq!(served_by(&front).await, "far-mind");
    behind.kill();
    client.ask("What is my name?").await;
    let answer = client.answer().await;
    assert!(answer.contains("Clara"), "{answer}");
    assert_eq!(served_by(&front).await, "onnx");
    see(front.address(), "/api/status", |seen| !well(seen, "far-mind")).await;
    behind.start_again();
    see(front.address(), "/api/status", |seen| well(seen, "far-mind")).await;
    client.ask("What is my name?").await;
    let answer = client.answer().await;
    assert!(answer.contains("Clara"), "{answer}");
    assert_eq!(served_by(&front).await, "far-mind", "it serves again by itself");
    front.stop().await.expect("everything ends");
}

#[tokio::test]
async fn without_another_engine_people_are_told_and_the_talk_goes_on_when_it_is_back() {
    let mut behind = Behind::start("");
    let front = start(behind.front()).await;
    let (told, question) = (behind.says("My name is Clara.").await, behind.says("What is my name?").await);
    let mut person = Person::meet(&front).await;
    person.turn(&told).await;
    behind.kill();
    person.client.ask("What is my name?").await;
    let failed = person.client.until("response.done").await["response"].clone();
    let error = &failed["status_details"]["error"];
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(error["message"].as_str().is_some_and(|text| text.len() > 20), "{failed}");
    person.say(&question).await;
    let failed = person.client.until("conversation.item.input_audio_transcription.failed").await;
    assert!(failed["error"]["message"].as_str().is_some_and(|text| text.len() > 20), "{failed}");
    behind.start_again();
    see(front.address(), "/api/status", |seen| {
        ["far-ear", "far-mind", "far-voice"].iter().all(|name| well(seen, name))
    })
    .await;
    let turn = person.turn(&question).await;
    assert_eq!(
        (&turn.response["status"], words(&turn.heard)),
        (&json!("completed"), words("What is my name?"))
    );
    assert!(turn.answered.contains("Clara"), "{}", turn.answered);
    front.stop().await.expect("everything ends");
}
