//! Servers that get it wrong: each fault is a clear error, and none makes a call hang or memory grow.

use std::time::{Duration, SystemTime};

use antiphon::backend::openai::{OpenAiLlm, OpenAiLlmConfig};
use antiphon::engine::EngineError;
use antiphon::engine::endpoint::EndpointTimeouts;
use serde_json::json;

use crate::llm::{all, answered, ask, config, engine, text_of};
use crate::reply::{Act, Reply};
use crate::server::FaultServer;

/// The error that a reply ends in.
async fn error_of(reply: Reply) -> EngineError {
    answered(reply).await.into_iter().find_map(Result::err).expect("it fails")
}

#[tokio::test]
async fn broken_answers_are_failures() {
    let half = Reply::events().text("Half an");
    let table = [
        ("a page", Reply::whole(200, "text/html", &[], b"<html>"), "text/html in place of an event stream"),
        ("a body cut off", half.clone().then(Act::Reset), "the connection broke"),
        ("half closed", half.clone().then(Act::HalfClose), "the connection broke"),
        ("no end", half.clone().end(), "ended before the answer did"),
        ("nothing", Reply::events().end(), "ended before the answer did"),
        ("only the mark", Reply::events().done(), "answered with nothing"),
        ("no answer at all", Reply::default().then(Act::HalfClose), "the connection broke"),
        ("a reset", Reply::default().then(Act::Reset), "the connection broke"),
        ("no events", Reply::events().chunk("%PDF-1.7\nnothing\n\n").end(), "ended before the answer did"),
        ("no JSON", Reply::events().event("{\"choices\": [{").end(), "no piece of an answer"),
        ("other JSON", Reply::events().event("[1, 2]").end(), "no piece of an answer"),
        ("no UTF-8", Reply::events().chunk(*b"data: \xff\xfe\xff\xff\xff\n\n").end(), "UTF-8"),
        (
            "an error within",
            half.clone().event("{\"error\": {\"message\": \"out of memory\"}}").end(),
            "out of memory",
        ),
        ("no answer, JSON", Reply::json(200, &json!({})), "answered with nothing"),
        ("JSON cut", Reply::whole(200, "application/json", &[], b"{\"choi"), "no piece of an answer"),
        (
            "no name",
            Reply::events().delta(&json!({ "tool_calls": [{ "index": 0 }] })).done(),
            "without a name",
        ),
    ];
    for (name, reply, part) in table {
        let error = error_of(reply).await;
        assert!(matches!(error, EngineError::Failed { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(part), "{name}: {error}");
    }
}

#[tokio::test]
async fn what_came_before_a_fault_is_handed_on() {
    let reply = Reply::events().text("Half an").then(Act::Wait(Duration::from_millis(20))).then(Act::Reset);
    let events = answered(reply).await;
    assert_eq!(text_of(&events), "Half an");
    assert!(events[1].is_err() && events.len() == 2, "{events:?}");
}

#[tokio::test]
async fn an_event_without_end_is_cut_off() {
    let piece = "x".repeat(64 * 1024);
    let begun = Reply::events().chunk("data: ");
    let huge = (0..64).fold(begun, |reply, _| reply.chunk(piece.clone()));
    let error = error_of(huge.then(Act::Stall)).await;
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");

    let long = format!("{{\"choices\": \"{}\"}}", "x".repeat(5 << 20));
    let error = error_of(Reply::whole(200, "application/json", &[], long.as_bytes())).await;
    assert!(error.to_string().contains("more than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn many_long_events_are_no_fault() {
    let text = "y".repeat(60_000);
    let reply = (0..40).fold(Reply::events(), |reply, _| reply.text(&text));
    let events = answered(reply.finish("stop").done()).await;
    assert_eq!(text_of(&events).len(), 40 * 60_000);
}

#[tokio::test]
async fn statuses_have_their_meaning() {
    for (status, kind) in [
        (400, "bad_request"),
        (401, "failed"),
        (404, "failed"),
        (429, "rate_limited"),
        (500, "failed"),
        (503, "failed"),
    ] {
        let error = error_of(Reply::error(status, "some_code", "Some text.")).await;
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert_eq!(error.to_string().contains("Some text."), status != 401, "{error}");
    }
    let page = error_of(Reply::whole(502, "text/html", &[], b"<html>Bad gateway</html>")).await;
    assert_eq!(page.to_string(), "openai failed: HTTP 502");
    let elsewhere = error_of(Reply::whole(307, "", &[("location", "http://127.0.0.1:1/v1")], b"")).await;
    assert!(elsewhere.to_string().contains("check url"), "{elsewhere}");
}

#[tokio::test]
async fn the_time_to_come_back_is_told() {
    let busy = |value: &str, status| Reply::whole(status, "text/plain", &[("retry-after", value)], b"later");
    let date = |ahead: u64| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(ahead));
    let waits = async |reply| match error_of(reply).await {
        EngineError::RateLimited { retry_after_ms, .. } => retry_after_ms,
        other => panic!("{other}"),
    };
    assert_eq!(waits(busy("3", 429)).await, Some(3_000));
    assert_eq!(waits(busy("2", 503)).await, Some(2_000));
    assert_eq!(waits(busy("", 429)).await, None);
    let ahead = waits(busy(&date(600), 429)).await.expect("a date is read");
    assert!((1..=600_000).contains(&ahead), "{ahead}");
    assert_eq!(waits(busy("Sun, 06 Nov 1994 08:49:37 GMT", 429)).await, Some(0));
}

#[tokio::test]
async fn a_model_that_is_not_there_is_told_with_those_that_are() {
    let server = FaultServer::answering(|seen| match seen.path.as_str() {
        "/v1/models" => Reply::json(200, &json!({ "data": [{ "id": "qwen3" }, { "id": "llama" }] })),
        _ => Reply::error(404, "model_not_found", "The model `m` does not exist."),
    })
    .await;
    let error = all(&engine(&server), ask("Hi.")).await.remove(0).expect_err("it is not there");
    assert_eq!(
        error.to_string(),
        "openai failed: HTTP 404: the model \"m\" is not there; the server has: qwen3, llama"
    );
    assert_eq!(
        server.seen().iter().map(|seen| seen.path.as_str()).collect::<Vec<_>>(),
        ["/v1/chat/completions", "/v1/models"]
    );

    let wrong_path = FaultServer::start([Reply::error(404, "", "no such path")]).await;
    let error = all(&engine(&wrong_path), ask("Hi.")).await.remove(0).expect_err("wrong");
    assert!(error.to_string().contains("check url and model"), "{error}");
}

#[tokio::test]
async fn a_filter_that_lets_nothing_through_is_no_reason_to_try_again() {
    let error = error_of(Reply::events().finish("content_filter").done()).await;
    assert!(matches!(error, EngineError::BadRequest { .. }), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn an_error_within_a_stream_may_be_a_limit() {
    let limited = json!({ "error": { "code": 429, "message": "slow down" } });
    let error = error_of(Reply::events().event(&limited.to_string()).end()).await;
    assert!(matches!(error, EngineError::RateLimited { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let server = FaultServer::start([]).await;
    let config = config(&server);
    let address = server.address;
    drop(server);
    let engine = OpenAiLlm::open(&config).expect("it opens all the same");
    let error = all(&engine, ask("Hi.")).await.remove(0).expect_err("nobody answers");
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

async fn late(timeouts: EndpointTimeouts, reply: Reply) -> (String, EngineError) {
    let server = FaultServer::start([reply]).await;
    let config = OpenAiLlmConfig { timeouts, ..config(&server) };
    let events = all(&OpenAiLlm::open(&config).expect("it opens"), ask("Hi.")).await;
    // The connection of a call that is late is closed.
    server.closed(1).await;
    (text_of(&events), events.into_iter().find_map(Result::err).expect("it is late"))
}

#[tokio::test]
async fn each_phase_has_its_timeout() {
    let timeouts = EndpointTimeouts {
        first_output_ms: 60,
        between_ms: 50,
        whole_ms: 120,
        ..EndpointTimeouts::default()
    };
    let thinking = (0..40)
        .fold(Reply::events(), |reply, _| reply.delta(&json!({ "reasoning_content": "Hm." })).wait(20));
    let slow = (0..40).fold(Reply::events(), |reply, _| reply.text("word ").wait(20));
    let table = [
        (Reply::default().then(Act::Stall), "", "its first output within 60 ms"),
        (Reply::events().then(Act::Stall), "", "its first output within 60 ms"),
        (thinking, "", "its first output within 60 ms"),
        (Reply::events().text("Half").then(Act::Stall), "Half", "the rest of its answer within 50 ms"),
        (slow, "word ", "the whole of its answer within 120 ms"),
    ];
    for (reply, begin, part) in table {
        let (text, error) = late(timeouts, reply).await;
        assert!(text.starts_with(begin), "{text}");
        assert!(
            matches!(error, EngineError::TimedOut { .. }) && error.to_string().contains(part),
            "{part}: {error}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_has_its_timeout() {
    // Nobody answers the TLS handshake.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("https://{}/v1", listener.local_addr().expect("bound"));
    let timeouts = EndpointTimeouts { connect_ms: 80, ..EndpointTimeouts::default() };
    let config = OpenAiLlmConfig { url, model: "m".into(), timeouts, ..OpenAiLlmConfig::default() };
    let error =
        all(&OpenAiLlm::open(&config).expect("it opens"), ask("Hi.")).await.remove(0).expect_err("silence");
    assert_eq!(error.to_string(), "openai did not give a connection within 80 ms");
}
