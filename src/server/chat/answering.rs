//! Has a language model answer. The model writes at its own pace: what a client does not read at once is kept, so
//! that the model's slot is free as soon as the answer is whole.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::request::Asked;
use crate::engine::EngineError;
use crate::engine::llm::LlmEvent;
use crate::pool::{HolderId, LeaseRequest, ResourcePoolManager, WorkClass};
use crate::server::outside::{Gone, RequestError, Results};
use crate::session::lifecycle::RequestTracker;

/// How long a request may wait for a model: those who talk go before.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is kept of an answer for a client that does not read; with more, the client counts as gone. 1 MiB: more
/// than any model's context in text.
const KEPT_BYTES_CAPACITY: usize = 1 << 20;
/// Bytes of text after which nobody waits in silence any more: about a first clause.
const FIRST_CLAUSE_BYTES: usize = 60;

/// Who answers.
#[derive(Debug)]
pub(super) struct Answerer {
    pub(super) pools: ResourcePoolManager,
    pub(super) holder: HolderId,
    pub(super) tracker: RequestTracker,
    pub(super) results: Results<LlmEvent>,
    /// Whether nobody talks here, so that the begin of an answer may go before the rest of another.
    pub(super) first_clauses_urgent: bool,
}

impl Answerer {
    /// Answers; every event but those of calls that were not wanted goes to the results.
    pub(super) async fn answer(self, asked: Asked) -> Result<Result<(), RequestError>, Gone> {
        let Asked { request, parallel_calls, .. } = asked;
        let (class, deadline) = (WorkClass::Background, Instant::now() + PATIENCE);
        let lease = LeaseRequest { holder: self.holder, class, deadline };
        let urgency = request.urgency.clone();
        if !self.first_clauses_urgent {
            urgency.relax();
        }
        let observer = Box::new(self.tracker.clone());
        let mut stream = match self.pools.llm.generate(lease, request, observer).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error.into())),
        };
        let mut kept = Kept::default();
        let mut ended = Err(broken_off());
        while let Some(event) = stream.next().await {
            let event = match event {
                Ok(event) if !parallel_calls && is_of_second_call(&event) => continue,
                Ok(event) => event,
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            };
            let is_last = matches!(event, LlmEvent::Done { .. });
            kept.push(event)?;
            if kept.text_bytes >= FIRST_CLAUSE_BYTES {
                urgency.relax();
            }
            kept.offer(&self.results)?;
            if is_last {
                ended = Ok(());
                break;
            }
        }
        drop(stream); // its slot is free before anybody waits for the client
        for event in kept.events {
            self.results.send(event).await?;
        }
        Ok(ended.map_err(RequestError::from))
    }
}

fn broken_off() -> EngineError {
    let reason = "its answer broke off without an end".to_owned();
    EngineError::Failed { engine: "the language model".to_owned(), reason }
}

fn is_of_second_call(event: &LlmEvent) -> bool {
    matches!(event, LlmEvent::ToolCallStart { index, .. } | LlmEvent::ToolCallArguments { index, .. } if *index > 0)
}

/// What the client has not read yet.
#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<LlmEvent>,
    /// Bytes in `events`.
    bytes: usize,
    /// Bytes of text that ever came.
    text_bytes: usize,
}

impl Kept {
    /// Adds an event; text is put to the text that waits.
    fn push(&mut self, event: LlmEvent) -> Result<(), Gone> {
        self.bytes += size(&event);
        if self.bytes > KEPT_BYTES_CAPACITY {
            return Err(Gone);
        }
        if let LlmEvent::Text(text) = &event {
            self.text_bytes += text.len();
            if let Some(LlmEvent::Text(waiting)) = self.events.back_mut() {
                waiting.push_str(text);
                return Ok(());
            }
        }
        self.events.push_back(event);
        Ok(())
    }

    /// Sends as far as there is room, in order.
    fn offer(&mut self, results: &Results<LlmEvent>) -> Result<(), Gone> {
        while let Some(next) = self.events.pop_front() {
            let bytes = size(&next);
            if let Some(back) = results.try_send(next)? {
                self.events.push_front(back);
                break;
            }
            self.bytes -= bytes;
        }
        Ok(())
    }
}

/// Bytes of an event, its place in the queue included.
fn size(event: &LlmEvent) -> usize {
    match event {
        LlmEvent::Text(text) => text.len(),
        LlmEvent::ToolCallStart { id, name, .. } => size_of::<LlmEvent>() + id.len() + name.len(),
        LlmEvent::ToolCallArguments { delta, .. } => size_of::<LlmEvent>() + delta.len(),
        LlmEvent::Done { .. } => size_of::<LlmEvent>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_put_together_and_has_a_bound() {
        let text = |text: &str| LlmEvent::Text(text.to_owned());
        let mut kept = Kept::default();
        for piece in ["How ", "are ", "you?"] {
            kept.push(text(piece)).expect("there is room");
        }
        let call = LlmEvent::ToolCallStart { index: 0, id: "c".into(), name: "clock".into() };
        kept.push(call.clone()).expect("there is room");
        kept.push(text("Yes.")).expect("there is room");
        assert_eq!(kept.events, [text("How are you?"), call.clone(), text("Yes.")]);
        assert_eq!((kept.text_bytes, kept.bytes), (16, 16 + size(&call)));
        assert!(kept.push(text(&"x".repeat(KEPT_BYTES_CAPACITY))).is_err());
    }

    #[test]
    fn what_there_is_no_room_for_stays_in_its_order() {
        let call = |index: usize| LlmEvent::ToolCallStart { index, id: "c".into(), name: "clock".into() };
        let (results, mut client) = Results::of(2);
        let mut kept = Kept::default();
        for index in 0..4 {
            kept.push(call(index)).expect("there is room");
            kept.offer(&results).expect("the client is there");
        }
        assert_eq!((kept.events.len(), kept.bytes), (2, 2 * size(&call(0))));
        for index in 0..4 {
            assert_eq!(client.try_recv().expect("one is there").expect("no error"), call(index));
            kept.offer(&results).expect("the client is there");
        }
        assert_eq!((kept.events.len(), kept.bytes), (0, 0));
        drop(client);
        kept.push(call(4)).expect("there is room");
        assert!(kept.offer(&results).is_err(), "the client is gone");
    }
}
