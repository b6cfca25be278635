//! Talks through the server in front: heard, answered and spoken by the one behind.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::pair::{Behind, Person, words};
use crate::socket::start;

#[tokio::test]
async fn a_spoken_turn_is_heard_answered_and_spoken_by_the_server_behind() {
    let behind = Behind::start("");
    let front = start(behind.front()).await;
    let (told, question) = (behind.says("My name is Anna.").await, behind.says("What is my name?").await);
    let mut person = Person::meet(&front).await;
    let turn = person.turn(&told).await;
    assert_eq!(words(&turn.heard), words("My name is Anna."));
    let turn = person.turn(&question).await;
    assert_eq!(turn.response["status"], "completed", "{}", turn.response);
    assert_eq!(words(&turn.heard), words("What is my name?"));
    assert!(turn.answered.contains("Anna"), "{}", turn.answered);
    let spoken = behind.hears(&turn.audio).await;
    assert!(words(&spoken).contains(&"anna".to_owned()), "what is spoken is what is said: {spoken}");
    let usage = &turn.response["usage"];
    assert!(usage["output_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{usage}");
    for kind in ["transcription", "completion", "speech"] {
        assert!(behind.requests(kind, "COMPLETED").await > 0, "{kind} came from the server behind");
    }
    front.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_function_is_called_through_the_server_behind_and_its_result_is_told() {
    let behind = Behind::start("");
    let front = start(behind.front()).await;
    let mut client = Person::meet(&front).await.client;
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let about = "Get the weather of a city.";
    let tool =
        json!({"type": "function", "name": "get_weather", "description": about, "parameters": parameters});
    let session = json!({
        "type": "realtime", "instructions": "Be brief.", "output_modalities": ["text"], "tools": [tool],
    });
    client.send(json!({"type": "session.update", "session": session})).await;
    client.until("session.updated").await;
    client.item("What is the weather in Paris?").await;
    client.send(json!({"type": "response.create"})).await;
    let mut pieces: Vec<String> = Vec::new();
    let done = loop {
        let event = client.event().await;
        match event["type"].as_str().expect("a type") {
            "response.function_call_arguments.delta" => {
                pieces.push(event["delta"].as_str().expect("text").into())
            }
            "response.function_call_arguments.done" => break event,
            "response.done" | "error" => panic!("no call: {event}"),
            _ => {}
        }
    };
    assert!(pieces.len() > 1, "the arguments are streamed: {pieces:?}");
    assert_eq!(done["arguments"], json!(pieces.concat()));
    let arguments: Value = serde_json::from_str(&pieces.concat()).expect("JSON");
    assert_eq!(arguments, json!({"city": "Paris"}));
    let response = client.until("response.done").await["response"].clone();
    let call = &response["output"][0];
    assert_eq!(
        (&call["type"], &call["name"]),
        (&json!("function_call"), &json!("get_weather")),
        "{response}"
    );
    let output = r#"{"weather": "sunny", "temperature": 21}"#;
    let item = json!({"type": "function_call_output", "call_id": call["call_id"], "output": output});
    client.send(json!({"type": "conversation.item.create", "item": item})).await;
    client.send(json!({"type": "response.create"})).await;
    let answer = client.answer().await;
    assert!(answer.contains("sunny") && answer.contains("Paris") && answer.contains("21"), "{answer}");
    front.stop().await.expect("everything ends");
}

#[tokio::test]
async fn people_who_talk_at_once_hear_their_own_facts_alone() {
    let behind = Behind::start("");
    let front = start(behind.front()).await;
    let question = behind.says("What is my name?").await;
    let names = ["Anna", "Peter", "Clara", "Thomas"];
    let talk = |name: &'static str| {
        let (behind, front, question) = (&behind, &front, &question);
        async move {
            let told = behind.says(&format!("My name is {name}.")).await;
            let mut person = Person::meet(front).await;
            person.turn(&told).await;
            let turn = person.turn(question).await;
            (name, turn.answered)
        }
    };
    for (name, answer) in join_all(names.map(talk)).await {
        let named: Vec<&str> = names.into_iter().filter(|other| answer.contains(other)).collect();
        assert_eq!(named, [name], "{answer}");
    }
    front.stop().await.expect("everything ends");
}

#[tokio::test]
async fn who_interrupts_ends_the_call_in_the_server_behind() {
    let llm = "[[engines.llm]]\nkind = \"scripted\"\nword_ms = 0\ncalls = [\n\
               [{ after_ms = 1, text = \"Once upon a time there was a king. \" }, { hang = \"until_cancelled\" }],\n\
               [{ after_ms = 1, text = \"Yes.\" }]]\n";
    let behind = Behind::start(llm);
    let front = start(behind.front()).await;
    let (story, more) = (behind.says("Tell me a story.").await, behind.says("What is my name?").await);
    let mut person = Person::meet(&front).await;
    person.say(&story).await;
    person.client.until("response.output_audio.delta").await;
    let status = behind.get("/api/status").await;
    assert_eq!(status["pools"][1]["in_use"], 1, "the model is not done: {status}");
    person.say(&more).await;
    let cut = person.client.until("response.done").await["response"].clone();
    assert_eq!(
        (&cut["status"], &cut["status_details"]["reason"]),
        (&json!("cancelled"), &json!("turn_detected"))
    );
    behind
        .see("/api/requests", |seen| {
            let requests = seen["requests"].as_array().expect("a list").iter();
            requests
                .filter(|request| request["kind"] == "completion")
                .any(|request| request["status"] == "CANCELLED")
        })
        .await;
    assert_eq!(person.client.until("response.output_audio_transcript.done").await["transcript"], "Yes.");
    behind
        .see("/api/status", |seen| seen["pools"][1]["in_use"] == 0 && seen["requests"]["active"] == 0)
        .await;
    front.stop().await.expect("everything ends");
}
