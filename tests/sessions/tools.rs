//! Function calls: their chain of events, several in one answer, the round trip, and models that get them wrong.
//! Scripted engines, no socket, paused time.

use crate::support::{Client, Stage, spoken_text};
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt, Step};
use antiphon::engine::llm::ToolSpec;
use antiphon::session::conversation::{Item, ItemBody, ItemStatus, Previous};
use antiphon::session::event::{ResponseStatus, ResponseView};
use antiphon::session::{Action, SessionError};
use serde_json::json;

fn stage(calls: Vec<Vec<Step>>) -> Stage {
    let stage = Stage::new(ScriptedStt::saying(1, ""), ScriptedLlm::echoing());
    stage.llm.set_calls(calls);
    stage
}

/// A session that may call `clock` and `lamp`.
fn open(stage: &Stage) -> Client {
    stage.open_with(|settings| {
        let tool = |name: &str| ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            parameters: json!({"type": "object"}),
        };
        settings.tools = ["clock", "lamp"].map(tool).into();
    })
}

async fn respond(client: &mut Client) -> ResponseView {
    client.send(Action::CreateResponse(Box::default())).await;
    client.response_done().await
}

fn calls_of(view: &ResponseView) -> Vec<(&str, &str, ItemStatus)> {
    let calls = view.output.iter().filter_map(|item| match &item.body {
        ItemBody::FunctionCall { name, arguments, .. } => {
            Some((name.as_str(), arguments.as_str(), item.status))
        }
        _ => None,
    });
    calls.collect()
}

fn result(call_id: &str, output: &str) -> Action {
    let body = ItemBody::FunctionCallOutput { call_id: call_id.to_owned(), output: output.to_owned() };
    let item = Item { id: format!("item_{output}").as_str().into(), status: ItemStatus::Completed, body };
    Action::CreateItem { previous: Previous::Last, item }
}

#[tokio::test(start_paused = true)]
async fn tool_calls_have_their_chain_and_their_result_is_seen() {
    let call = vec![Step::text(0, "Let me look."), Step::tool_call(5, "clock", r#"{"zone":"UTC"}"#)];
    let stage = stage(vec![call, vec![Step::text(0, "It is noon.")]]);
    let mut client = open(&stage);
    client.write("What time is it?").await;
    let view = respond(&mut client).await;
    assert_eq!(view.output.len(), 2);
    assert_eq!(calls_of(&view), [("clock", r#"{"zone":"UTC"}"#, ItemStatus::Completed)]);
    let names = client.names();
    let call_chain = ["arguments.delta", "arguments.done", "item.done", "output_item.done", "response.done"];
    assert!(names.ends_with(&call_chain), "{names:?}");
    let ItemBody::FunctionCall { call_id, .. } = &view.output[1].body else { panic!("a call") };
    client.send(result(call_id, "12:00")).await;
    assert_eq!(spoken_text(&respond(&mut client).await), "It is noon.");
    let calls = stage.llm.calls();
    let messages = &calls.last().expect("a call").messages;
    let roles: Vec<_> = messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    assert_eq!(messages[2].tool_call_id.as_ref(), Some(call_id));
}

#[tokio::test(start_paused = true)]
async fn several_calls_of_one_answer_have_a_place_each_and_go_back_together() {
    let both = vec![
        Step::tool_call(0, "clock", r#"{"zone":"UTC"}"#),
        Step::tool_call(0, "lamp", r#"{"on":true}"#),
        Step::tool_call(0, "clock", ""),
    ];
    let stage = stage(vec![both, vec![Step::text(0, "Done.")]]);
    let mut client = open(&stage);
    client.write("Light, and the time here and there").await;
    let view = respond(&mut client).await;
    let done = ItemStatus::Completed;
    let expected =
        [("clock", r#"{"zone":"UTC"}"#, done), ("lamp", r#"{"on":true}"#, done), ("clock", "{}", done)];
    assert_eq!((&view.status, calls_of(&view)), (&ResponseStatus::Completed, expected.to_vec()));
    let ids: Vec<String> = view
        .output
        .iter()
        .filter_map(|item| match &item.body {
            ItemBody::FunctionCall { call_id, .. } => Some(call_id.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "an id each: {ids:?}");
    for (id, output) in ids.iter().zip(["noon", "lit", "night"]) {
        client.send(result(id, output)).await;
    }
    assert_eq!(spoken_text(&respond(&mut client).await), "Done.");
    let messages = &stage.llm.calls()[1].messages;
    assert_eq!(messages[1].tool_calls.len(), 3, "one message of the assistant: {messages:?}");
    let answered: Vec<_> = messages[2..].iter().filter_map(|message| message.tool_call_id.clone()).collect();
    assert_eq!(answered, ids);
}

#[tokio::test(start_paused = true)]
async fn a_broken_call_is_told_and_the_session_goes_on() {
    for arguments in ["{\"zone\":", "[1]", "noon", "{} trailing"] {
        let stage = stage(vec![vec![Step::tool_call(0, "clock", arguments)], vec![Step::text(0, "Sorry.")]]);
        let mut client = open(&stage);
        client.write("What time is it?").await;
        let view = respond(&mut client).await;
        let ResponseStatus::Failed(SessionError::BrokenCall { reason }) = &view.status else {
            panic!("{arguments}: {:?}", view.status);
        };
        assert!(reason.contains("'clock'"), "{reason}");
        assert_eq!(calls_of(&view), [("clock", arguments, ItemStatus::Incomplete)]);
        assert_eq!(spoken_text(&respond(&mut client).await), "Sorry.");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_was_not_offered_is_not_called() {
    let stage = stage(vec![vec![Step::tool_call(0, "rocket", "{}")], vec![Step::text(0, "Sorry.")]]);
    let mut client = open(&stage);
    client.write("Launch").await;
    let view = respond(&mut client).await;
    assert_eq!(view.status, ResponseStatus::Failed(SessionError::UnknownTool { name: "rocket".to_owned() }));
    assert!(calls_of(&view).is_empty());
    assert_eq!(spoken_text(&respond(&mut client).await), "Sorry.");
}
