//! The calls of an engine's process, as its server knows them. Writes and reads nothing itself.
//!
//! A call's [`CancelFlag`] is kept until the process says that it has let go of the call, or has ended: by that a
//! pool learns that the slot is free.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::wire::{CallId, Output, ToEngine, WINDOW};
use crate::engine::compute::Urgency;
use crate::engine::{CancelFlag, EngineError};

/// Outcomes of a call that its reader has not taken: those on their way, and the error that may follow them.
const OUTCOMES_CAPACITY: usize = 33;
const _: () = assert!(OUTCOMES_CAPACITY == WINDOW + 1);

/// A piece of a call's outcome, or why there is no more.
pub(super) type Outcome = Result<Output, EngineError>;

/// The calls of one process.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: CallId,
    open: BTreeMap<CallId, Call>,
    /// Why no call can begin any more.
    ended: Option<EngineError>,
}

#[derive(Debug)]
struct Call {
    cancel: CancelFlag,
    /// The process knows of it.
    is_sent: bool,
    /// Its reader has gone.
    is_abandoned: bool,
    /// The process knows that nobody wants it any more.
    is_cancelled: bool,
    /// While the process takes it for urgent.
    urgency: Option<Urgency>,
    /// Until no output follows.
    outcomes: Option<mpsc::Sender<Outcome>>,
}

/// The process has sent more than it was allowed to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overrun;

impl Calls {
    /// Enters a call. Its outcomes come over the channel, which closes behind the last.
    pub(super) fn open(
        &self,
        cancel: CancelFlag,
        urgency: Option<Urgency>,
    ) -> Result<(CallId, mpsc::Receiver<Outcome>), EngineError> {
        let (sender, outcomes) = mpsc::channel(OUTCOMES_CAPACITY);
        let mut table = self.lock();
        if let Some(error) = &table.ended {
            return Err(error.clone());
        }
        let id = table.next;
        table.next += 1;
        let urgency = urgency.filter(Urgency::is_urgent);
        let outcomes_to = Some(sender);
        let (is_sent, is_abandoned, is_cancelled) = (false, false, false);
        let call = Call { cancel, is_sent, is_abandoned, is_cancelled, urgency, outcomes: outcomes_to };
        table.open.insert(id, call);
        Ok((id, outcomes))
    }

    /// The process knows of the call: from now on it can be told more of it.
    pub(super) fn sent(&self, id: CallId) {
        if let Some(call) = self.lock().open.get_mut(&id) {
            call.is_sent = true;
        }
    }

    /// Nobody reads the call's outcomes any more.
    pub(super) fn abandon(&self, id: CallId) {
        if let Some(call) = self.lock().open.get_mut(&id) {
            call.is_abandoned = true;
        }
    }

    /// Whether no call is open.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().open.is_empty()
    }

    /// What the process must be told of flags that have changed; each change once.
    pub(super) fn notices(&self) -> Vec<ToEngine> {
        let mut notices = Vec::new();
        for (id, call) in self.lock().open.iter_mut().filter(|(_, call)| call.is_sent) {
            if !call.is_cancelled && (call.is_abandoned || call.cancel.is_cancelled()) {
                call.is_cancelled = true;
                notices.push(ToEngine::Cancel(*id));
            }
            if call.urgency.take_if(|urgency| !urgency.is_urgent()).is_some() {
                notices.push(ToEngine::Relax(*id));
            }
        }
        notices
    }

    /// Hands an output to the call's reader. What comes for a call that is over is dropped.
    pub(super) fn output(&self, id: CallId, output: Output) -> Result<(), Overrun> {
        let table = self.lock();
        let outcomes = table.open.get(&id).and_then(|call| call.outcomes.as_ref());
        // A reader that has gone takes nothing, but one that lags has a window.
        match outcomes.map(|outcomes| outcomes.try_send(Ok(output))) {
            Some(Err(mpsc::error::TrySendError::Full(_))) => Err(Overrun),
            _ => Ok(()),
        }
    }

    /// No output follows; an error may be the last word.
    pub(super) fn over(&self, id: CallId, error: Option<EngineError>) {
        let outcomes = self.lock().open.get_mut(&id).and_then(|call| call.outcomes.take());
        if let (Some(outcomes), Some(error)) = (outcomes, error) {
            outcomes.try_send(Err(error)).ok();
        }
    }

    /// The process has let go of the call. Dropping its flag may wake whoever waits for the slot: not under the lock.
    pub(super) fn let_go(&self, id: CallId) {
        let call = self.lock().open.remove(&id);
        drop(call);
    }

    /// The process has ended: all its calls fail, and all that come later.
    pub(super) fn end(&self, error: &EngineError) {
        let mut table = self.lock();
        table.ended.get_or_insert_with(|| error.clone());
        let open = mem::take(&mut table.open);
        drop(table);
        for outcomes in open.values().filter_map(|call| call.outcomes.as_ref()) {
            outcomes.try_send(Err(error.clone())).ok();
        }
    }

    /// Held for a few instructions, and never across a write or an await.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::llm::LlmEvent;

    fn gone() -> EngineError {
        EngineError::Unavailable { engine: "test".to_owned(), reason: "killed".to_owned() }
    }

    fn word() -> Output {
        Output::Answer(LlmEvent::Text("word".to_owned()))
    }

    #[test]
    fn a_flag_is_kept_until_the_process_has_let_go() {
        let (calls, held) = (Calls::default(), Arc::new(()));
        let flag = CancelFlag::holding(Arc::clone(&held));
        let (id, mut outcomes) = calls.open(flag.clone(), None).expect("it runs");
        flag.cancel();
        drop(flag);
        assert_eq!(calls.notices(), [], "the call is not sent yet");
        calls.sent(id);
        assert_eq!(calls.notices(), [ToEngine::Cancel(id)]);
        assert_eq!(calls.notices(), [], "told once");
        calls.over(id, None);
        assert_eq!(outcomes.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert_eq!(Arc::strong_count(&held), 2);
        calls.let_go(id);
        assert_eq!((Arc::strong_count(&held), calls.is_empty()), (1, true));
    }

    #[test]
    fn urgency_that_falls_is_told_once_and_one_that_never_was_is_not() {
        let (calls, urgency, idle) = (Calls::default(), Urgency::default(), Urgency::default());
        idle.relax();
        let (id, _outcomes) = calls.open(CancelFlag::new(), Some(urgency.clone())).expect("it runs");
        let (other, _others) = calls.open(CancelFlag::new(), Some(idle)).expect("it runs");
        calls.sent(id);
        calls.sent(other);
        assert_eq!(calls.notices(), []);
        urgency.relax();
        assert_eq!(calls.notices(), [ToEngine::Relax(id)]);
        assert_eq!(calls.notices(), []);
    }

    #[test]
    fn the_end_of_the_process_fails_every_call_behind_its_last_output() {
        let (calls, held) = (Calls::default(), Arc::new(()));
        let flag = || CancelFlag::holding(Arc::clone(&held));
        let (first, mut early) = calls.open(flag(), None).expect("it runs");
        let (_, mut late) = calls.open(flag(), None).expect("it runs");
        for _ in 0..WINDOW {
            calls.output(first, word()).expect("within the window");
        }
        calls.end(&gone());
        assert_eq!(Arc::strong_count(&held), 1, "the slots are free");
        for _ in 0..WINDOW {
            assert_eq!(early.try_recv(), Ok(Ok(word())));
        }
        assert_eq!((early.try_recv(), late.try_recv()), (Ok(Err(gone())), Ok(Err(gone()))));
        assert_eq!(calls.open(CancelFlag::new(), None).expect_err("it has ended"), gone());
    }

    #[test]
    fn more_than_the_window_is_an_overrun_and_what_nobody_waits_for_is_dropped() {
        let calls = Calls::default();
        let (id, outcomes) = calls.open(CancelFlag::new(), None).expect("it runs");
        let sent =
            (0..=OUTCOMES_CAPACITY).map(|_| calls.output(id, word())).position(|sent| sent == Err(Overrun));
        assert_eq!(sent, Some(OUTCOMES_CAPACITY));
        drop(outcomes);
        calls.sent(id);
        calls.abandon(id);
        assert_eq!(calls.output(id, word()), Ok(()));
        assert_eq!(calls.notices(), [ToEngine::Cancel(id)]);
        calls.let_go(id);
        assert_eq!(calls.output(id, word()), Ok(()), "late words of a call that is gone");
    }
}
