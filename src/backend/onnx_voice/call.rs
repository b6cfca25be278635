//! The reader's end of a call: from phonemes, which it has listed, over parts of audio to the times of words.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::Sender;
use futures::stream;
use ort::session::RunOptions;
use tokio::sync::mpsc;

use super::executor::{Job, Message};
use super::times::timed_words;
use super::utterance::Utterance;
use crate::backend::worker::{Worker, raised};
use crate::engine::tts::{SpeechChunk, TtsEvent};
use crate::engine::{CancelFlag, EngineError, EngineFuture, EngineStream};

/// Chunks of audio are so long at most: a fifth of a second.
const CHUNKS_A_SECOND: u32 = 5;

/// One call.
pub(super) struct Call {
    engine: String,
    sample_rate: u32,
    phase: Phase,
    reader: mpsc::Receiver<Message>,
    utterance: Arc<Utterance>,
    spans: Vec<(usize, Range<usize>)>,
    /// Samples that came from the thread.
    made: usize,
    /// Samples of the part at hand, and how many of them are out.
    part: Vec<i16>,
    sent: usize,
}

enum Phase {
    /// Phonemes are listed; then the thread gets them.
    Listing(EngineFuture<Utterance>, Sender<Arc<Utterance>>),
    Speaking,
    Done,
}

/// Stops the graph when the reader goes.
struct Stop(Arc<RunOptions>);

impl Drop for Stop {
    fn drop(&mut self) {
        if let Err(error) = self.0.terminate() {
            tracing::warn!(%error, "a voice's graph cannot be stopped; it ends by itself");
        }
    }
}

impl Call {
    pub(super) fn new(
        engine: &str,
        sample_rate: u32,
        (utterance, script): (EngineFuture<Utterance>, Sender<Arc<Utterance>>),
        reader: mpsc::Receiver<Message>,
    ) -> Self {
        Self {
            engine: engine.to_owned(),
            sample_rate,
            phase: Phase::Listing(utterance, script),
            reader,
            utterance: Arc::default(),
            spans: Vec::new(),
            made: 0,
            part: Vec::new(),
            sent: 0,
        }
    }

    /// The call as a stream. Its end, an early one too, stops the graph.
    pub(super) fn stream(self, cancel: CancelFlag, stop: Arc<RunOptions>) -> EngineStream<TtsEvent> {
        Box::pin(stream::unfold(
            (self, cancel, Some(Stop(stop))),
            |(mut call, cancel, mut stop)| async move {
                if matches!(call.phase, Phase::Done) {
                    return None;
                }
                let event = tokio::select! {
                    biased;
                    () = raised(&cancel) => Err(EngineError::Cancelled),
                    event = call.next() => event,
                };
                if matches!(event, Err(_) | Ok(TtsEvent::Words(_))) {
                    call.phase = Phase::Done;
                    stop = None;
                }
                Some((event, (call, cancel, stop)))
            },
        ))
    }

    async fn next(&mut self) -> Result<TtsEvent, EngineError> {
        if let Phase::Listing(utterance, script) = &mut self.phase {
            self.utterance = Arc::new(utterance.await?);
            // A thread that gave the call up says so through the other channel.
            script.send(Arc::clone(&self.utterance)).ok();
            self.phase = Phase::Speaking;
        }
        while self.sent == self.part.len() {
            match self.reader.recv().await {
                Some(Message::Part(spoken)) => {
                    let place = |span: &Range<usize>| span.start + self.made..span.end + self.made;
                    self.spans.extend(spoken.spans.iter().map(|(group, span)| (*group, place(span))));
                    self.made += spoken.samples.len();
                    (self.part, self.sent) = (spoken.samples, 0);
                }
                Some(Message::Done) => return Ok(self.words()),
                Some(Message::Failed(reason)) => {
                    return Err(EngineError::Failed { engine: self.engine.clone(), reason });
                }
                None => return Err(Worker::<Job>::dropped(&self.engine)),
            }
        }
        Ok(self.chunk())
    }

    fn chunk(&mut self) -> TtsEvent {
        let len = (self.sample_rate / CHUNKS_A_SECOND).max(1) as usize;
        let end = (self.sent + len).min(self.part.len());
        let samples = self.part[self.sent..end].to_vec();
        self.sent = end;
        TtsEvent::Audio(SpeechChunk { samples, sample_rate: self.sample_rate })
    }

    fn words(&self) -> TtsEvent {
        TtsEvent::Words(timed_words(&self.utterance, &self.spans, self.made, self.sample_rate))
    }
}
