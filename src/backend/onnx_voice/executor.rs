//! The thread that owns a graph: it takes one call after the other and speaks it part by part.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use ort::session::RunOptions;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::sound::{Spoken, finish};
use super::utterance::{Part, Utterance};
use super::{Manner, Steps, VoiceGraph};
use crate::engine::CancelFlag;

/// How long the thread rests while the reader has enough.
const READER_POLL: Duration = Duration::from_millis(5);

/// What its reader is told.
#[derive(Debug)]
pub(super) enum Message {
    Part(Spoken),
    /// All is spoken. A channel that closes without it means that the thread gave the call up.
    Done,
    Failed(String),
}

/// A call.
pub(super) struct Job {
    /// Comes once the phonemes are known; closes where the call was given up before.
    pub(super) utterance: Receiver<Arc<Utterance>>,
    pub(super) manner: Manner,
    pub(super) cancel: CancelFlag,
    pub(super) stop: Arc<RunOptions>,
    pub(super) parts: mpsc::Sender<Message>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("manner", &self.manner).finish_non_exhaustive()
    }
}

/// What a thread does with `graph`.
pub(super) fn body<G: VoiceGraph>(
    mut graph: G,
    sample_rate: u32,
    steps: Steps,
) -> impl FnMut(&Receiver<Job>) + Send {
    move |jobs| {
        for job in jobs {
            if let Ok(utterance) = job.utterance.recv() {
                job.run((&mut graph, &steps), &utterance.parts, sample_rate);
            }
        }
    }
}

impl Job {
    fn run<G: VoiceGraph>(&self, (graph, steps): (&mut G, &Steps), parts: &[Part], sample_rate: u32) {
        for part in parts {
            if self.is_given_up() {
                return;
            }
            let permit = steps.enter();
            let spoken = graph.speak(&part.ids, self.manner, &self.stop);
            drop(permit);
            let message = match spoken {
                Ok(sound) => Message::Part(finish(part, &sound, sample_rate, self.manner.speed)),
                // What was stopped fails too; nobody asks for the reason then.
                Err(reason) => Message::Failed(reason),
            };
            let is_over = matches!(message, Message::Failed(_));
            self.send(message);
            if is_over {
                return;
            }
        }
        self.send(Message::Done);
    }

    fn is_given_up(&self) -> bool {
        self.cancel.is_cancelled() || self.parts.is_closed()
    }

    /// Waits for room, unless the call is given up.
    fn send(&self, mut message: Message) {
        while let Err(TrySendError::Full(back)) = self.parts.try_send(message) {
            if self.is_given_up() {
                return;
            }
            message = back;
            crossbeam_channel::never::<()>().recv_timeout(READER_POLL).ok();
        }
    }
}
