//! The thread that owns the model: it lets up to `slots` answers make one step each in turn, so that none waits
//! for the whole of another. Answers that a person waits for in silence go first; the others, which play already,
//! step when none of those can.

use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use super::model::Model;
use super::sequence::{Job, Sequence, Turn};

/// How long the thread rests when every answer waits for its reader.
const READER_POLL: Duration = Duration::from_millis(2);

/// Takes jobs until the channel closes.
pub(super) fn run(model: &mut Model, jobs: &Receiver<Job>) {
    let mut sequences: Vec<Sequence> = Vec::new();
    loop {
        if sequences.is_empty() {
            let Ok(job) = jobs.recv() else { return };
            sequences.extend(Sequence::start(model, job));
        }
        // First those that were given up, so that what takes their place finds what they had read.
        sequences.retain_mut(|sequence| !sequence.is_abandoned() || sequence.turn(model) != Turn::Ended);
        while sequences.len() < model.config.slots {
            match jobs.try_recv() {
                Ok(job) => sequences.extend(Sequence::start(model, job)),
                Err(TryRecvError::Empty) => break,
                // The engine is being dropped: nobody reads these answers any more.
                Err(TryRecvError::Disconnected) => return,
            }
        }
        let has_worked = round(model, &mut sequences, true) || round(model, &mut sequences, false);
        if !has_worked && !sequences.is_empty() {
            crossbeam_channel::never::<()>().recv_timeout(READER_POLL).ok();
        }
    }
}

/// One step of each answer that is urgent, or of each that is not; whether any could make one.
fn round(model: &mut Model, sequences: &mut Vec<Sequence>, urgent: bool) -> bool {
    let mut has_worked = false;
    sequences.retain_mut(|sequence| {
        if sequence.is_urgent() != urgent {
            return true;
        }
        let turn = sequence.turn(model);
        has_worked |= turn != Turn::Waits;
        turn != Turn::Ended
    });
    has_worked
}
