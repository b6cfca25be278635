//! A second socket of a session: what it sees, what it may ask, and what it cannot do to the first.

use std::net::SocketAddr;

use antiphon::backend::scripted::Step;
use antiphon::session::sideband::{SIDEBAND_CAPACITY, SIDEBANDS_MAX};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio_tungstenite::MaybeTlsStream;

use crate::cuts::text_of;
use crate::guests::{Guest, config, connect_as, echo, hears, open_sessions, with_keys};
use crate::socket::{Client, http, start};

async fn beside(address: SocketAddr, guest: &Guest) -> Guest {
    Guest::with(address, &format!("&call_id={}", guest.id())).await
}

/// The same on a connection that takes little ahead of its reader.
async fn narrow(address: SocketAddr, guest: &Guest) -> Client {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(65_536).expect("it can be set");
    let stream = MaybeTlsStream::Plain(socket.connect(address).await.expect("connects"));
    let url = format!("ws://{address}/v1/realtime?call_id={}", guest.id());
    Client(tokio_tungstenite::client_async(url, stream).await.expect("the upgrade").0)
}

/// Events up to the first of this kind, by their kinds.
async fn kinds_until(client: &mut Client, kind: &str) -> Vec<String> {
    let mut kinds = Vec::new();
    loop {
        let event = client.event().await;
        kinds.push(event["type"].as_str().expect("a type").to_owned());
        if event["type"] == kind {
            return kinds;
        }
    }
}

#[tokio::test]
async fn it_sees_every_event_and_no_secret() {
    let server = start(config(hears("x"), echo())).await;
    let mut guest = Guest::new(server.address()).await;
    let mut sideband = beside(server.address(), &guest).await;
    assert_eq!(sideband.id(), guest.id());
    assert!(
        sideband.session.get("antiphon").is_none(),
        "the token is the client's alone: {}",
        sideband.session
    );
    guest.client.item("Hello").await;
    guest.client.send(json!({"type": "response.create"})).await;
    let seen = kinds_until(&mut guest.client, "response.done").await;
    assert!(seen.contains(&"response.output_audio.delta".to_owned()), "{seen:?}");
    assert_eq!(kinds_until(&mut sideband.client, "response.done").await, seen);
}

#[tokio::test]
async fn it_serves_the_tools_and_changes_the_settings_of_its_session() {
    let call = vec![Step::tool_call(1, "lights", "{\"on\":true}")];
    let server = start(config(hears("x"), vec![call, vec![Step::text(1, "{system} Light is on.")]])).await;
    let mut guest = Guest::new(server.address()).await;
    let mut backend = beside(server.address(), &guest).await;
    let tool = json!({"type": "function", "name": "lights", "parameters": {"type": "object"}});
    backend.update(json!({"tools": [tool], "instructions": "Well:", "output_modalities": ["text"]})).await;
    let updated = guest.client.until("session.updated").await;
    assert_eq!(updated["session"]["tools"][0]["name"], "lights", "the client is told as well");

    guest.client.ask("Light!").await;
    let call = backend.client.until("response.function_call_arguments.done").await;
    backend.client.until("response.done").await;
    let output = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "on"});
    backend.client.send(json!({"type": "conversation.item.create", "item": output})).await;
    backend.client.send(json!({"type": "response.create"})).await;
    guest.client.until("response.done").await; // that of the call
    let done = guest.client.until("response.done").await;
    assert_eq!(text_of(&done["response"]["output"][0]), "Well: Light is on.");
}

#[tokio::test]
async fn an_error_goes_to_the_socket_that_caused_it() {
    let server = start(config(hears("x"), echo())).await;
    let mut guest = Guest::new(server.address()).await;
    let mut first = beside(server.address(), &guest).await;
    let mut second = beside(server.address(), &guest).await;
    for (number, socket) in [&mut guest, &mut first, &mut second].into_iter().enumerate() {
        let id = format!("wrong{number}");
        socket
            .client
            .send(json!({"type": "conversation.item.delete", "item_id": "none", "event_id": id}))
            .await;
        let error = socket.client.event().await;
        assert_eq!((&error["type"], &error["error"]["event_id"]), (&json!("error"), &json!(id)));
    }
    first.client.send(json!({"type": "nonsense"})).await;
    assert_eq!(first.client.event().await["type"], "error");
    guest.client.send(json!({"type": "input_audio_buffer.clear"})).await;
    for socket in [&mut guest, &mut first, &mut second] {
        assert_eq!(
            socket.client.event().await["type"],
            "input_audio_buffer.cleared",
            "no other's error came first"
        );
    }
}

#[tokio::test]
async fn it_does_not_keep_the_session_and_the_session_ends_it() {
    let server = start(config(hears("x"), echo())).await;
    let address = server.address();
    let mut guest = Guest::new(address).await;
    beside(address, &guest).await.client.leave().await;
    drop(beside(address, &guest).await);
    guest.client.ask("Still here").await;
    assert_eq!(guest.client.answer().await, "You said: Still here", "its leaving ends nothing");

    let mut sideband = beside(address, &guest).await;
    guest.client.leave().await;
    assert_eq!(sideband.client.close_code().await, 1000);
    open_sessions(address, 0).await;

    let guest = Guest::new(address).await;
    let mut sideband = beside(address, &guest).await;
    let new = Guest::resumed(address, &guest.token()).await;
    assert_eq!(sideband.client.close_code().await, 1012, "it may attach to where the session went");
    beside(address, &new).await;

    let mut sideband = beside(address, &new).await;
    server.stop().await.expect("sidebands hold nothing up");
    assert_eq!(sideband.client.close_code().await, 1012);
}

#[tokio::test]
async fn one_that_does_not_read_is_let_go_alone() {
    let server = start(config(hears("x"), echo())).await;
    let mut guest = Guest::new(server.address()).await;
    let mut slow = narrow(server.address(), &guest).await;
    let mut quick = beside(server.address(), &guest).await;
    // More than its queue and the buffers of its socket hold, while the two others read.
    let long = "x".repeat(20_000);
    for round in 0..SIDEBAND_CAPACITY * 4 {
        guest.update(json!({"instructions": format!("{round} {long}")})).await;
        quick.client.until("session.updated").await;
    }
    assert_eq!(slow.close_code().await, 1008);
    guest.client.ask("And I?").await;
    assert_eq!(guest.client.answer().await, "You said: And I?");
    quick.client.until("response.done").await;
}

#[tokio::test]
async fn only_its_owner_attaches_and_a_few_times_at_most() {
    let server = start(with_keys(config(hears("x"), echo()))).await;
    let address = server.address();
    let guest = Guest::greeted(connect_as(address, "", "anna").await.expect("let in")).await;
    let query = format!("&call_id={}", guest.id());
    let foreign = connect_as(address, &query, "ben").await.err().expect("it is Anna's");
    let unknown = connect_as(address, "&call_id=sess_unknown", "ben").await.err().expect("it is nobody's");
    assert_eq!((foreign.0, &foreign), (404, &unknown));
    let mut sidebands = Vec::new();
    for _ in 0..SIDEBANDS_MAX {
        sidebands.push(Guest::greeted(connect_as(address, &query, "anna").await.expect("it is hers")).await);
    }
    let (status, body) = connect_as(address, &query, "anna").await.err().expect("there is no room");
    assert_eq!((status, &body["error"]["code"]), (429, &json!("sideband_limit_reached")));
    drop(sidebands.pop());
    let attached = async {
        while connect_as(address, &query, "anna").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::socket::DEADLINE, attached).await.expect("a place comes free");
}

#[tokio::test]
async fn an_ephemeral_secret_opens_no_sideband() {
    let server = start(with_keys(config(hears("x"), echo()))).await;
    let address = server.address();
    let guest = Guest::greeted(connect_as(address, "", "anna").await.expect("let in")).await;
    let request =
        "POST /v1/realtime/client_secrets\nAuthorization: Bearer anna\nContent-Type: application/json";
    let (status, secret) = http(address, request, "{}").await;
    assert_eq!(status, 200, "{secret}");
    let secret = secret["value"].as_str().expect("a secret");
    let (status, _) =
        connect_as(address, &format!("&call_id={}", guest.id()), secret).await.err().expect("refused");
    assert_eq!(status, 401, "a page must not see the sessions of other pages");
}
