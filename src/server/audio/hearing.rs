//! Transcribes a file: a thread decodes it and cuts it at pauses, a task has the pieces transcribed one after the
//! other, each on a slot leased for it alone.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::formats::{Segment, TimedWord};
use super::pieces::{Piece, PieceCutter};
use crate::audio::{MediaReader, Resampler};
use crate::engine::stt::{STT_SAMPLE_RATE, SttRequest, Transcript};
use crate::engine::vad::VadDetector;
use crate::pool::{HolderId, LeaseRequest, ResourcePoolManager, WorkClass};
use crate::runtime::Runtime;
use crate::server::outside::{Gone, RequestError, Results};
use crate::session::lifecycle::RequestTracker;

/// Pieces that are cut before they are asked for.
const AHEAD_CAPACITY: usize = 2;
/// How long a piece may wait for an engine: those who talk go before.
const PATIENCE: Duration = Duration::from_secs(60);
/// A frame holds voice from this probability on. Lower than in a talk, where noise would begin a turn: here it
/// would only be transcribed.
const VOICE: f32 = 0.35;

/// What comes of a file.
#[derive(Debug)]
pub(super) enum Heard {
    /// What was said between two pauses.
    Segment(Segment),
    /// The file is over; its length in seconds.
    End(f64),
}

/// A file to transcribe.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) file: Bytes,
    pub(super) language: Option<String>,
    pub(super) prompt: Option<String>,
    /// Whether the times of words are wanted.
    pub(super) word_times: bool,
    /// The longest that it may be, in seconds.
    pub(super) max_audio_s: u64,
}

/// Who transcribes it.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) pools: ResourcePoolManager,
    pub(super) runtime: Runtime,
    pub(super) holder: HolderId,
    pub(super) tracker: RequestTracker,
    pub(super) detector: Box<dyn VadDetector>,
    pub(super) results: Results<Heard>,
}

impl Listener {
    /// Transcribes it all.
    pub(super) async fn hear(self, recording: Recording) -> Result<Result<(), RequestError>, Gone> {
        let Recording { file, language, prompt, word_times, max_audio_s } = recording;
        let (sender, mut cuts) = mpsc::channel(AHEAD_CAPACITY);
        let cutting = Cutting::new(self.detector, sender, max_audio_s);
        drop(self.runtime.spawn_blocking("decode", move || cutting.run(file)));
        let (class, holder) = (WorkClass::Background, self.holder);
        while let Some(cut) = cuts.recv().await {
            let piece = match cut {
                Ok(Cut::Piece(piece)) => piece,
                Ok(Cut::End(seconds)) => {
                    self.results.send(Heard::End(seconds)).await?;
                    break;
                }
                Err(error) => return Ok(Err(error)),
            };
            let span_ms = (ms(piece.voice.start), ms(piece.voice.end));
            let lease = LeaseRequest { holder, class, deadline: Instant::now() + PATIENCE };
            let (audio, begin_ms) = (piece.samples.into(), ms(piece.begin));
            let (language, prompt) = (language.clone(), prompt.clone());
            let request = SttRequest { audio, language, prompt, word_times };
            let transcript = match self.pools.stt.transcribe(lease, request, &self.tracker).await {
                Ok(served) => served.value,
                Err(error) => return Ok(Err(error.into())),
            };
            if !transcript.text.is_empty() {
                let Transcript { text, language, tokens, words, .. } = transcript;
                let words = words.into_iter().map(|word| TimedWord::of(word, begin_ms)).collect();
                let segment = Segment { text, span_ms, language, tokens, words };
                self.results.send(Heard::Segment(segment)).await?;
            }
        }
        Ok(Ok(()))
    }
}

enum Cut {
    Piece(Piece),
    End(f64),
}

/// Decodes and cuts, on a thread of its own: an hour of MP3 takes seconds of it.
struct Cutting {
    detector: Box<dyn VadDetector>,
    cutter: PieceCutter,
    /// Samples that make no whole frame yet.
    pending: Vec<f32>,
    heard: u64,
    max_audio_s: u64,
    sender: mpsc::Sender<Result<Cut, RequestError>>,
}

/// Nobody wants the rest.
struct Unwanted;

impl Cutting {
    fn new(
        detector: Box<dyn VadDetector>,
        sender: mpsc::Sender<Result<Cut, RequestError>>,
        max_audio_s: u64,
    ) -> Self {
        let cutter = PieceCutter::new(detector.frame_len());
        Self { detector, cutter, pending: Vec::new(), heard: 0, max_audio_s, sender }
    }

    fn run(mut self, file: Bytes) {
        let outcome = match self.decode(file) {
            Ok(Ok(())) => Ok(Cut::End(self.heard as f64 / f64::from(STT_SAMPLE_RATE))),
            Ok(Err(error)) => Err(error),
            Err(Unwanted) => return,
        };
        // The task may have gone meanwhile.
        self.sender.blocking_send(outcome).ok();
    }

    fn decode(&mut self, file: Bytes) -> Result<Result<(), RequestError>, Unwanted> {
        let mut reader = match MediaReader::open(file) {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(unreadable(&error))),
        };
        let mut resampler: Option<Resampler> = None;
        loop {
            let piece = match reader.next_piece() {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => return Ok(Err(unreadable(&error))),
            };
            if resampler.as_ref().is_none_or(|resampler| resampler.from_hz() != piece.sample_rate) {
                self.flush(resampler.take())?;
                match Resampler::new(piece.sample_rate, STT_SAMPLE_RATE) {
                    Ok(new) => resampler = Some(new),
                    Err(error) => return Ok(Err(unreadable(&error))),
                }
            }
            let samples = resampler.as_mut().map(|resampler| resampler.push_f32(&piece.samples));
            self.take(&samples.unwrap_or_default())?;
            if self.heard > self.max_audio_s * u64::from(STT_SAMPLE_RATE) {
                return Ok(Err(too_long(self.max_audio_s)));
            }
        }
        self.flush(resampler)?;
        self.end()?;
        Ok(Ok(()))
    }

    fn flush(&mut self, resampler: Option<Resampler>) -> Result<(), Unwanted> {
        let rest = resampler.map(|mut resampler| resampler.flush_f32());
        self.take(&rest.unwrap_or_default())
    }

    fn take(&mut self, samples: &[f32]) -> Result<(), Unwanted> {
        if self.sender.is_closed() {
            return Err(Unwanted);
        }
        self.heard += samples.len() as u64;
        self.pending.extend_from_slice(samples);
        let pending = std::mem::take(&mut self.pending);
        let frames = pending.chunks_exact(self.detector.frame_len());
        self.pending = frames.remainder().to_vec();
        frames.into_iter().try_for_each(|frame| self.look(frame))
    }

    fn look(&mut self, frame: &[f32]) -> Result<(), Unwanted> {
        let voiced = self.detector.predict(frame) >= VOICE;
        match self.cutter.push(frame, voiced) {
            Some(piece) => self.sender.blocking_send(Ok(Cut::Piece(piece))).map_err(|_| Unwanted),
            None => Ok(()),
        }
    }

    /// The last frame is filled up with silence.
    fn end(&mut self) -> Result<(), Unwanted> {
        if !self.pending.is_empty() {
            let mut frame = std::mem::take(&mut self.pending);
            frame.resize(self.detector.frame_len(), 0.0);
            self.look(&frame)?;
        }
        match self.cutter.finish() {
            Some(piece) => self.sender.blocking_send(Ok(Cut::Piece(piece))).map_err(|_| Unwanted),
            None => Ok(()),
        }
    }
}

fn ms(samples: u64) -> u64 {
    samples * 1_000 / u64::from(STT_SAMPLE_RATE)
}

fn unreadable(error: &crate::audio::AudioError) -> RequestError {
    RequestError::field("file", format!("'file' cannot be read: {error}."))
}

fn too_long(max_audio_s: u64) -> RequestError {
    let message =
        format!("The audio is longer than {max_audio_s} s (server.uploads.max_audio_s). Send it in parts.");
    let (status, code) = (StatusCode::PAYLOAD_TOO_LARGE, "audio_too_long");
    RequestError::Invalid { status, code, message, param: Some("file") }
}
