//! Speaks a text clause by clause. Each clause is a call of its own, whose slot is given back before anybody
//! waits for the client to read.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::Instant;

use crate::audio::{AudioFormat, Resampler, pcm, wav};
use crate::engine::EngineError;
use crate::engine::tts::{SpeechChunk, TtsEvent, TtsRequest};
use crate::pool::{HolderId, LeaseRequest, ResourcePoolManager, WorkClass};
use crate::server::outside::{Gone, RequestError, Results};
use crate::session::clause::clauses;
use crate::session::lifecycle::RequestTracker;

/// How long a clause may wait for a voice: those who talk go before.
const PATIENCE: Duration = Duration::from_secs(30);
/// What leaves: 24 kHz, 16 bit, mono.
const FORMAT: AudioFormat = AudioFormat::Pcm16;

/// What to speak, and how.
#[derive(Debug)]
pub(super) struct Speaking {
    pub(super) text: String,
    pub(super) voice: String,
    pub(super) speed: f32,
    /// Whether a WAV header comes first.
    pub(super) wav: bool,
}

/// Who speaks it.
#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) pools: ResourcePoolManager,
    pub(super) holder: HolderId,
    pub(super) tracker: RequestTracker,
    pub(super) results: Results<Bytes>,
}

impl Speaker {
    /// Speaks it all.
    pub(super) async fn speak(self, speaking: Speaking) -> Result<Result<(), RequestError>, Gone> {
        // The header leaves with the first audio, so that a failure before it still has a status of its own.
        let mut head = if speaking.wav { wav::stream_header(FORMAT.sample_rate()) } else { Vec::new() };
        let clauses = clauses(&speaking.text);
        if clauses.is_empty() {
            return Ok(Err(RequestError::field("input", "'input' holds nothing that can be spoken.")));
        }
        for text in clauses {
            let request = TtsRequest { text, voice: speaking.voice.clone(), speed: speaking.speed };
            match self.clause(request, &mut head).await? {
                Ok(rest) => {
                    for bytes in rest {
                        self.results.send(bytes).await?;
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    /// Speaks a clause; gives what there was no room for.
    async fn clause(
        &self,
        request: TtsRequest,
        head: &mut Vec<u8>,
    ) -> Result<Result<VecDeque<Bytes>, RequestError>, Gone> {
        let (class, deadline) = (WorkClass::Background, Instant::now() + PATIENCE);
        let lease = LeaseRequest { holder: self.holder, class, deadline };
        let observer = Box::new(self.tracker.clone());
        let mut stream = match self.pools.tts.synthesize(lease, request, observer).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error.into())),
        };
        let (mut voice, mut kept) = (Voice::default(), VecDeque::new());
        while let Some(event) = stream.next().await {
            match voice.take(event) {
                Ok(samples) => self.offer(&samples, head, &mut kept)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        self.offer(&voice.rest(), head, &mut kept)?;
        Ok(Ok(kept))
    }

    /// Sends samples as far as there is room, in order.
    fn offer(&self, samples: &[i16], head: &mut Vec<u8>, kept: &mut VecDeque<Bytes>) -> Result<(), Gone> {
        if !samples.is_empty() {
            let mut bytes = std::mem::take(head);
            bytes.extend(pcm::to_le_bytes(samples));
            kept.push_back(bytes.into());
        }
        while let Some(next) = kept.pop_front() {
            if let Some(back) = self.results.try_send(next)? {
                kept.push_front(back);
                break;
            }
        }
        Ok(())
    }
}

/// Brings a clause to the rate that leaves.
#[derive(Default)]
struct Voice(Option<Resampler>);

impl Voice {
    fn take(&mut self, event: Result<TtsEvent, EngineError>) -> Result<Vec<i16>, RequestError> {
        let TtsEvent::Audio(SpeechChunk { samples, sample_rate }) = event? else { return Ok(Vec::new()) };
        if self.0.is_none() {
            self.0 = Some(Resampler::new(sample_rate, FORMAT.sample_rate())?);
        }
        Ok(self.0.as_mut().map(|resampler| resampler.push(&samples)).unwrap_or_default())
    }

    fn rest(&mut self) -> Vec<i16> {
        self.0.as_mut().map(Resampler::flush).unwrap_or_default()
    }
}
