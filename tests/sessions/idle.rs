//! `idle_timeout_ms`: the assistant speaks up when nobody does. Scripted engines, no socket, paused time.

use std::time::Duration;

use crate::support::{Client, Stage, spoken_text};
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt, Step};
use antiphon::session::SessionEvent;
use antiphon::session::settings::{TurnDetection, TurnMode};
use tokio::time::Instant;

fn stage() -> Stage {
    let stage = Stage::new(ScriptedStt::saying(1, "Hello."), ScriptedLlm::saying(1, "Hi."));
    stage.llm.set_calls(vec![vec![Step::text(1, "Hi, how are you?")], vec![Step::text(1, "Still there?")]]);
    stage
}

fn open(stage: &Stage, timeout: Option<u32>) -> Client {
    stage.open_with(|settings| {
        let TurnMode::Server { threshold, prefix_padding_ms, silence_duration_ms, .. } = TurnMode::default()
        else {
            panic!("the default is server_vad")
        };
        let idle_timeout_ms = timeout;
        let mode = TurnMode::Server { threshold, prefix_padding_ms, silence_duration_ms, idle_timeout_ms };
        settings.turn_detection = Some(TurnDetection { mode, ..TurnDetection::default() });
    })
}

#[tokio::test(start_paused = true)]
async fn after_the_answer_was_heard_and_a_silence_the_assistant_speaks_up() {
    let stage = stage();
    let mut client = open(&stage, Some(5_000));
    client.say(600).await;
    client.response_done().await;
    let done = Instant::now();
    client.sound(false, 9_000).await;
    let (item, start, end) = client
        .until(|event| match event {
            SessionEvent::IdleTimeout { item, audio_start_ms, audio_end_ms } => {
                Some((item.clone(), *audio_start_ms, *audio_end_ms))
            }
            _ => None,
        })
        .await;
    assert_eq!(end - start, 5_000);
    assert!(done.elapsed() >= Duration::from_secs(5));
    let view = client.response_done().await;
    assert_eq!(spoken_text(&view), "Still there?");
    let names = client.names();
    let from = names.iter().position(|name| *name == "timeout_triggered").expect("it was seen");
    assert_eq!(
        names[from..from + 5],
        ["timeout_triggered", "committed", "item.added", "item.done", "response.created"]
    );
    let committed =
        |event: &SessionEvent| matches!(event, SessionEvent::InputCommitted { item: id, .. } if *id == item);
    assert!(client.seen.iter().any(committed), "the item is the one that was announced");
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_before_an_answer_while_somebody_speaks_or_unasked() {
    let stage = stage();
    let mut unasked = open(&stage, None);
    let mut silent = open(&stage, Some(5_000));
    for client in [&mut unasked, &mut silent] {
        client.sound(false, 12_000).await;
        client.say(600).await;
        client.response_done().await;
        assert!(!client.names().contains(&"timeout_triggered"));
    }
    silent.sound(false, 3_000).await;
    silent.sound(true, 6_000).await; // somebody speaks: the time begins anew
    silent.sound(false, 1_000).await;
    silent.response_done().await;
    assert!(!silent.names().contains(&"timeout_triggered"), "{:?}", silent.names());
    unasked.sound(false, 12_000).await;
    unasked.say(600).await;
    unasked.response_done().await;
    assert!(!unasked.names().contains(&"timeout_triggered"));
}
