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
        // First those that are over or were given up, so that what takes their place finds what they had read.
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

/// One step of each answer that is urgent, or of each that is not; whether any could make one. Those that write together
/// step after each piece of a prompt that another reads: it takes several times as long as their step.
fn round(model: &mut Model, sequences: &mut [Sequence], urgent: bool) -> bool {
    let of_round = |sequence: &mut Sequence| sequence.is_urgent() == urgent && sequence.is_ready();
    let ready = sequences.iter_mut().filter_map(|sequence| of_round(sequence).then_some(sequence));
    let (mut writing, reading): (Vec<_>, Vec<_>) =
        ready.partition(|sequence| model.batching.is_some() && sequence.writes_after().is_some());
    let has_worked = !(writing.is_empty() && reading.is_empty());
    if reading.is_empty() {
        write(model, &mut writing);
    }
    for sequence in reading {
        // It may have been given up while another stepped.
        if sequence.is_ready() {
            sequence.step(model);
        }
        write(model, &mut writing);
    }
    has_worked
}

/// One step of each that can go on, together with those of like length.
fn write(model: &mut Model, writing: &mut Vec<&mut Sequence>) {
    writing.retain_mut(|sequence| sequence.is_ready());
    // The same order at every step, as all grow alike: what stepped together lies as the next step reads it.
    writing.sort_by_key(|sequence| Reverse(sequence.writes_after()));
    let lens: Vec<usize> = writing.iter().filter_map(|sequence| sequence.writes_after()).collect();
    // Without batching, from a failure on, each by itself.
    let groups = model.batching.map_or_else(|| vec![1; lens.len()], |batching| batching.groups(&lens));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::onnx_llm::sequence::tests::{begin, model, writing};

    #[test]
    fn answers_are_written_while_long_prompts_are_read() {
        let mut model = model();
        let (answers, mut readers): (Vec<_>, Vec<_>) =
            ["How is Oslo?", "And Rome?"].map(|text| writing(&mut model, text)).into_iter().unzip();
        let mut sequences = answers;
        let before: Vec<_> = sequences.iter().filter_map(Sequence::writes_after).collect();
        for text in ["a b c ", "d e f "] {
            let (sequence, reader) = begin(&mut model, &text.repeat(40));
            sequences.push(sequence);
            readers.push(reader);
        }
        assert!(round(&mut model, &mut sequences, true));
        let after: Vec<_> = sequences.iter().map(Sequence::writes_after).collect();
        assert_eq!(after, [Some(before[0] + 2), Some(before[1] + 2), None, None], "a step after each piece");
        assert!(!round(&mut model, &mut sequences, false), "nobody else is there");
    }
}
