//! Who may resume what: wrong, foreign, used and late tokens, half-open sockets, strangers side by side.

use antiphon::backend::scripted::Step;
use serde_json::{Value, json};

use crate::cuts::listening;
use crate::guests::{Guest, config, connect_as, echo, hears, open_sessions, with_keys};
use crate::socket::{Client, start};

async fn refused(address: std::net::SocketAddr, token: &str) -> Value {
    let refused =
        Client::try_connect(address, &format!("&resume={token}")).await.err().expect("it opens nothing");
    assert_eq!(refused.status, 404);
    refused.body
}

#[tokio::test]
async fn every_token_that_opens_nothing_is_told_the_same() {
    let server = start(with_keys(config(hears("x"), echo()))).await;
    let address = server.address();
    let mut anna = Guest::greeted(connect_as(address, "", "anna").await.expect("let in")).await;
    anna.client.ask("My secret is blue").await;
    anna.client.answer().await;
    let token = anna.token();
    let query = format!("&resume={token}");
    let stolen = connect_as(address, &query, "ben").await.err().expect("it is Anna's");
    let guessed = connect_as(address, "&resume=rt_guess", "ben").await.err().expect("it is nobody's");
    let by_id = connect_as(address, &format!("&resume={}", anna.id()), "anna")
        .await
        .err()
        .expect("an id is no token");
    assert_eq!(stolen.0, 404);
    assert_eq!(stolen, guessed);
    assert_eq!(stolen, by_id);
    assert!(Client::try_connect(address, &query).await.is_err_and(|refused| refused.status == 401));

    // All that disturbed nobody: her socket is open, and her token is good.
    anna.client.ask("Still here").await;
    assert_eq!(anna.client.answer().await, "You said: Still here");
    drop(anna);
    Guest::greeted(connect_as(address, &query, "anna").await.expect("it is hers")).await.left_off();
}

#[tokio::test]
async fn a_used_token_opens_nothing_and_one_whose_answer_was_lost_opens_again() {
    let server = start(config(hears("x"), echo())).await;
    let address = server.address();
    let gone = Guest::new(address).await.cut();
    for _ in 0..2 {
        // The connection breaks before the client has read its new token.
        drop(Client::connect(address, &format!("&resume={}", gone.token)).await);
    }
    let mut guest = gone.back(address).await;
    guest.settled().await;
    let reused = refused(address, &gone.token).await;
    guest.client.ask("Mine").await;
    assert_eq!(guest.client.answer().await, "You said: Mine", "the refused one did no harm");
    assert_eq!(reused, refused(address, "rt_anything").await);
    guest.cut().back(address).await;
}

#[tokio::test]
async fn a_token_is_good_for_the_grace_time_and_never_after_the_sessions_end() {
    let mut config = config(hears("x"), echo());
    config.session.resume.grace_s = 0;
    let server = start(config.clone()).await;
    let gone = Guest::new(server.address()).await.cut();
    open_sessions(server.address(), 0).await;
    refused(server.address(), &gone.token).await;

    config.session.resume.grace_s = 300;
    config.session.limits.idle_s = 1;
    let server = start(config).await;
    let mut guest = Guest::new(server.address()).await;
    assert_eq!(guest.client.close_code().await, 1008, "idle for too long");
    let gone = guest.cut();
    open_sessions(server.address(), 0).await;
    refused(server.address(), &gone.token).await;
}

#[tokio::test]
async fn a_half_open_socket_is_taken_over_and_nothing_is_lost() {
    let long =
        vec![Step::text(1, "One two three four five six seven eight nine ten eleven twelve thirteen.")];
    let mut config = config(hears("x"), vec![long, vec![Step::text(1, "You said: {user}")]]);
    config.server.max_sessions = 1; // the old place serves the new socket
    let server = start(config).await;
    let mut old = Guest::new(server.address()).await;
    let item = listening(&mut old, 18).await;

    let mut new = Guest::resumed(server.address(), &old.token()).await;
    assert_eq!(new.id(), old.id());
    assert_eq!(new.left_off()["interrupted"]["item_id"], item.as_str());
    assert_eq!(old.client.close_code().await, 1008);
    new.client.ask("Go on").await;
    assert_eq!(new.client.answer().await, "You said: Go on");
}

#[tokio::test]
async fn two_that_resume_at_once_hear_only_their_own() {
    let server = start(config(hears("x"), vec![vec![Step::text(1, "{user} {system}")]])).await;
    let address = server.address();
    let mut gone = Vec::new();
    for name in ["Anna", "Ben", "Carl", "Dora"] {
        let mut guest = Guest::new(address).await;
        guest
            .update(json!({"instructions": format!("Facts of {name}"), "output_modalities": ["text"]}))
            .await;
        guest.client.item(&format!("I am {name}")).await;
        guest.client.until("conversation.item.done").await;
        gone.push((name, guest.cut()));
    }
    open_sessions(address, 0).await;
    let come_back = gone.iter().map(|(name, gone)| async move {
        let mut guest = gone.back(address).await;
        guest.client.send(json!({"type": "response.create"})).await;
        (*name, guest.client.answer().await)
    });
    for (name, answer) in futures::future::join_all(come_back).await {
        assert_eq!(answer, format!("I am {name} Facts of {name}"));
    }
}

#[tokio::test]
async fn many_sockets_that_resume_the_same_leave_one_session() {
    let server = start(config(hears("x"), echo())).await;
    let address = server.address();
    let mut guest = Guest::new(address).await;
    guest.client.ask("Only one").await;
    guest.client.answer().await;
    let gone = guest.cut();
    let query = format!("&resume={}", gone.token);
    let sockets = futures::future::join_all((0..6).map(|_| Client::try_connect(address, &query))).await;
    let admitted = sockets.iter().filter(|socket| socket.is_ok()).count();
    assert!(admitted >= 1);
    open_sessions(address, 1).await;
    drop(sockets);
    let mut guest = gone.back_later(address).await;
    guest.client.send(json!({"type": "response.create", "response": {"output_modalities": ["text"]}})).await;
    assert_eq!(guest.client.answer().await, "You said: Only one");
}

#[tokio::test]
async fn without_a_store_nothing_is_promised() {
    let mut config = config(hears("x"), echo());
    config.store.kind = antiphon::store::StoreKind::Off;
    let server = start(config).await;
    let guest = Guest::new(server.address()).await;
    assert!(guest.session.get("antiphon").is_none(), "{}", guest.session);
    refused(server.address(), "rt_any").await;
}
