//! Talks that are longer than the server's model can read.

use antiphon::backend::openai::{OpenAiLlm, OpenAiLlmConfig};
use antiphon::engine::EngineError;
use antiphon::engine::llm::{ChatMessage, ChatRole, LlmRequest, Truncation};
use serde_json::Value;

use crate::llm::{all, ask, config, engine, text_of};
use crate::reply::Reply;
use crate::server::FaultServer;

/// A system message and so many turns, each of a question and an answer but for the last.
fn talk(turns: usize, truncation: Truncation) -> LlmRequest {
    let mut messages = vec![ChatMessage::text(ChatRole::System, "Be brief.")];
    for turn in 1..=turns {
        messages.push(ChatMessage::text(ChatRole::User, format!("Question {turn}: {}", "why ".repeat(20))));
        messages.push(ChatMessage::text(ChatRole::Assistant, format!("Answer {turn}.")));
    }
    messages.pop();
    LlmRequest { messages: messages.into(), truncation, ..ask("") }
}

fn contents(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A server whose model reads so many messages.
async fn reading(most: usize) -> FaultServer {
    FaultServer::answering(move |seen| {
        if contents(&seen.json()).len() > most {
            let message =
                "This model's maximum context length is 100 tokens. However, you asked for 120 tokens.";
            return Reply::error(400, "context_length_exceeded", message);
        }
        Reply::answer("Yes.")
    })
    .await
}

#[tokio::test]
async fn the_oldest_turns_go_until_the_server_takes_it() {
    for truncation in [Truncation::Auto, Truncation::Retain { ratio: 0.8, max_tokens: None }] {
        let server = reading(6).await;
        let events = all(&engine(&server), talk(8, truncation)).await;
        assert_eq!(text_of(&events), "Yes.", "{events:?}");
        let seen = server.seen();
        assert!((2..=4).contains(&seen.len()), "{} requests", seen.len());
        let kept = contents(&seen.last().expect("one").json());
        assert_eq!(kept[0], "Be brief.");
        assert!(kept[1].starts_with("Question"), "a turn is never cut in two: {kept:?}");
        assert!(kept.last().expect("one").starts_with("Question 8"), "{kept:?}");
    }
}

#[tokio::test]
async fn nothing_goes_where_nothing_may() {
    let server = reading(6).await;
    let error = all(&engine(&server), talk(8, Truncation::Disabled)).await.remove(0).expect_err("too long");
    assert_eq!(error, EngineError::ContextExceeded { engine: "openai".into(), tokens: 120, limit: 100 });
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_last_turn_that_is_too_long_is_told_and_asked_about_few_times() {
    for turns in [1, 30] {
        let server = reading(0).await;
        let error =
            all(&engine(&server), talk(turns, Truncation::Auto)).await.remove(0).expect_err("too long");
        assert!(matches!(error, EngineError::ContextExceeded { tokens: 120, limit: 100, .. }), "{error:?}");
        assert!(server.seen().len() <= 4, "{} requests", server.seen().len());
    }
}

#[tokio::test]
async fn a_known_context_is_kept_to_from_the_start() {
    let server = FaultServer::start([Reply::answer("Yes.")]).await;
    let config = OpenAiLlmConfig { max_context: Some(200), ..config(&server) };
    let engine = OpenAiLlm::open(&config).expect("it opens");
    all(&engine, talk(20, Truncation::Auto)).await;
    let kept = contents(&server.seen()[0].json());
    assert!(kept.len() < 20 && kept.last().is_some_and(|last| last.starts_with("Question 20")), "{kept:?}");
    assert_eq!(kept[0], "Be brief.");

    let error = all(&engine, talk(20, Truncation::Disabled)).await.remove(0).expect_err("too long");
    assert!(matches!(error, EngineError::ContextExceeded { limit: 150, .. }), "{error:?}");
    assert_eq!(server.seen().len(), 1, "what cannot fit is not sent");
}
