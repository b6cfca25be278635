//! The thread that owns the model: it lets up to `slots` answers make one step each in turn, or those that write one
//! step together where that is quicker (`batching`), so that none waits for the whole of another. Answers that a person
//! waits for in silence go first; the others, which play already, step when none of those can.

use std::cmp::Reverse;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use super::model::Model;
use super::sequence::{Job, Sequence};

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
        sequences.retain_mut(|sequence| !sequence.has_ended(model));
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
    let of_round = |sequence: &mut Sequence| sequence.is_urgent() == urgent && sequence.is_ready();
    let ready = sequences.iter_mut().filter_map(|sequence| of_round(sequence).then_some(sequence));
    let (writing, reading): (Vec<_>, Vec<_>) =
        ready.partition(|sequence| model.batching.is_some() && sequence.writes_after().is_some());
    let has_worked = !(writing.is_empty() && reading.is_empty());
    // Somebody may have been given up while another stepped.
    let wanted = reading.into_iter().filter_map(|sequence| sequence.is_ready().then_some(sequence));
    wanted.for_each(|sequence| sequence.step(model));
    write(model, writing);
    sequences.retain_mut(|sequence| !sequence.has_ended(model));
    has_worked
}

/// One step of each, together with those of like length.
fn write(model: &mut Model, mut writing: Vec<&mut Sequence>) {
    // The same order at every step, as all grow alike: what stepped together lies as the next step reads it.
    writing.sort_by_key(|sequence| Reverse(sequence.writes_after()));
    let lens: Vec<usize> = writing.iter().filter_map(|sequence| sequence.writes_after()).collect();
    let groups = model.batching.map_or_else(Vec::new, |batching| batching.groups(&lens));
    let mut rest = &mut writing[..];
    for count in groups {
        let (group, others) = rest.split_at_mut(count);
        match group {
            [alone] => alone.step(model),
            several => Sequence::step_together(model, several),
        }
        rest = others;
    }
}
