//! Plays one scene: a connection of its own, a microphone and a loudspeaker in step, everything that happens noted.

use std::sync::Arc;
use std::time::Duration;

use antiphon::audio::{AudioFormat, Decoder, Encoder};
use anyhow::{Context as _, ensure};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::args::{Args, Transport, TurnDetection};
use crate::conversation::case::{Case, Sound, When};
use crate::conversation::sound;
use crate::conversation::speaker::Loudspeaker;
use crate::conversation::verdict::{Mark, Outcome, What, judge};
use crate::line::Line;
use crate::voice::{Synthesiser, Voice};
use crate::wire::{self, ServerEvent, SessionWish};

/// Silence before the first cue: voice activity settles.
const OPENING: Duration = Duration::from_millis(600);
/// A scene is over when nothing was heard or said for so long; longer than an interrupted answer may wait.
const SETTLED: Duration = Duration::from_millis(3_000);
/// However it goes on.
const LONGEST: Duration = Duration::from_secs(45);
/// From the loudspeaker to the microphone and back into the server.
const ECHO_DELAY_MS: usize = 120;

/// What all scenes share.
#[derive(Debug)]
pub(crate) struct Stage {
    args: Args,
    format: AudioFormat,
    synthesiser: Synthesiser,
}

impl Stage {
    pub(crate) fn new(args: Args, synthesiser: Synthesiser) -> Self {
        // Scenes are about what is said when, not about how it travels.
        let args = Args { audio: Transport::Json, ..args };
        Self { format: AudioFormat::from(args.format), args, synthesiser }
    }

    /// Plays a scene in one voice and judges it.
    pub(crate) async fn play(
        &self,
        case: &'static Case,
        voice: Voice,
        number: usize,
    ) -> anyhow::Result<Outcome> {
        let mut cues = Vec::new();
        for cue in case.cues {
            cues.push((cue.when, self.record(cue.sounds, voice).await?));
        }
        let marks =
            self.perform(case, cues).await.with_context(|| format!("{}: {}", case.group, case.name))?;
        Ok(judge(case, number, &marks))
    }

    async fn record(&self, sounds: &[Sound], voice: Voice) -> anyhow::Result<Arc<[i16]>> {
        let rate = self.format.sample_rate();
        let mut samples = Vec::new();
        for sound in sounds {
            match *sound {
                Sound::Says(text) => samples.extend_from_slice(&self.synthesiser.speak(voice, text).await?),
                Sound::Pause(ms) => samples.extend(sound::silence(ms, rate)),
                Sound::Noise(noise) => samples.extend(sound::noise(noise, rate, self.args.seed)),
            }
        }
        Ok(samples.into())
    }

    async fn perform(&self, case: &Case, cues: Vec<(When, Arc<[i16]>)>) -> anyhow::Result<Vec<Mark>> {
        let limit = Duration::from_secs_f64(self.args.connect_timeout);
        let mut line = Line::open(&self.args.address(), self.args.api_key.as_deref(), limit).await?;
        self.configure(&mut line).await?;
        let frame = (self.format.sample_rate() * self.args.frame_ms / 1_000) as usize;
        let mut ticks = interval(Duration::from_millis(self.args.frame_ms.into()));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut encoder = Encoder::new(self.format);
        let mut show = Show::new(self.format, cues, case.echo);
        while !show.is_over() {
            tokio::select! {
                _ = ticks.tick() => {
                    for packet in encoder.encode(&show.frame(frame)) {
                        line.send(wire::append_event(&packet)).await?;
                    }
                }
                event = line.receive() => show.hear(event?)?,
            }
        }
        line.close().await;
        Ok(show.marks)
    }

    async fn configure(&self, line: &mut Line) -> anyhow::Result<()> {
        let wish = SessionWish {
            format: self.format,
            turn_detection: match self.args.turn_detection {
                TurnDetection::Manual => TurnDetection::ServerVad,
                chosen => chosen,
            },
            silence_ms: self.args.silence_ms,
            text: false,
            instructions: self.args.instructions.clone(),
        };
        let deadline = Instant::now() + Duration::from_secs_f64(self.args.connect_timeout);
        loop {
            match tokio::time::timeout_at(deadline, line.receive()).await.context("no session in time")?? {
                ServerEvent::SessionCreated { .. } => line.send(wish.update()).await?,
                ServerEvent::SessionUpdated { .. } => return Ok(()),
                ServerEvent::Error { error } => anyhow::bail!("the session was refused: {error}"),
                _ => {}
            }
        }
    }
}

/// A scene that is being played.
struct Show {
    decoder: Decoder,
    began: Instant,
    cues: Vec<(When, Arc<[i16]>)>,
    /// The cue that is next, or being heard, and how much of it was.
    cue: usize,
    position: Option<usize>,
    speaker: Loudspeaker,
    echo: bool,
    /// Ids of the answers, in order.
    answers: Vec<String>,
    open: usize,
    /// When the answer that plays became audible.
    audible_since: Option<Instant>,
    latest: Instant,
    marks: Vec<Mark>,
}

impl Show {
    fn new(format: AudioFormat, cues: Vec<(When, Arc<[i16]>)>, echo: bool) -> Self {
        let delay = ECHO_DELAY_MS * format.sample_rate() as usize / 1_000;
        Self {
            decoder: Decoder::new(format),
            began: Instant::now(),
            cues,
            cue: 0,
            position: None,
            speaker: Loudspeaker::new(delay),
            echo,
            answers: Vec::new(),
            open: 0,
            audible_since: None,
            latest: Instant::now(),
            marks: Vec::new(),
        }
    }

    fn note(&mut self, what: What) {
        self.latest = Instant::now();
        self.marks.push(Mark { at: self.began.elapsed(), what });
    }

    fn is_over(&self) -> bool {
        let idle = self.open == 0 && !self.speaker.is_busy() && self.latest.elapsed() > SETTLED;
        let all_said = self.cue == self.cues.len();
        // A cue that waits for an answer which does not come is given up.
        (idle && (all_said || self.began.elapsed() > OPENING + 3 * SETTLED)) || self.began.elapsed() > LONGEST
    }

    fn is_due(&self) -> bool {
        match self.cues.get(self.cue) {
            None => false,
            Some((When::Opening, _)) => self.began.elapsed() >= OPENING,
            Some((When::IntoAnswer(ms), _)) => {
                self.audible_since.is_some_and(|since| since.elapsed() >= Duration::from_millis(*ms))
            }
        }
    }

    /// One frame of the microphone; the loudspeaker plays as much.
    fn frame(&mut self, length: usize) -> Vec<i16> {
        let was_sounding = self.speaker.is_sounding;
        let echo = self.speaker.play(length);
        let is_sounding = self.speaker.is_sounding;
        if is_sounding && self.audible_since.is_none() {
            self.audible_since = Some(Instant::now());
        }
        if was_sounding != is_sounding {
            self.note(What::Sounding(is_sounding));
        }
        let mut frame = if self.echo { echo } else { vec![0; length] };
        if self.position.is_none() && self.is_due() {
            self.position = Some(0);
            self.note(What::CueBegan(self.cue));
        }
        let Some(position) = self.position else { return frame };
        let samples = Arc::clone(&self.cues[self.cue].1);
        let end = (position + length).min(samples.len());
        for (heard, said) in frame.iter_mut().zip(&samples[position..end]) {
            *heard = heard.saturating_add(*said);
        }
        self.position = Some(end);
        if end == samples.len() {
            self.note(What::CueEnded(self.cue));
            self.position = None;
            self.cue += 1;
        }
        frame
    }

    fn hear(&mut self, event: ServerEvent) -> anyhow::Result<()> {
        match event {
            ServerEvent::SpeechStarted { .. } => {
                self.speaker.flush();
                self.note(What::SpeechStarted);
            }
            ServerEvent::Transcript { transcript, .. } => self.note(What::Transcript(transcript)),
            ServerEvent::ResponseCreated { response } => {
                self.open += 1;
                self.note(What::Created(self.answers.len()));
                self.answers.push(response.id);
            }
            ServerEvent::AudioDelta { response_id, delta, .. } => {
                let samples = self.decoder.decode(&wire::decoded(&delta)).context("audio.delta")?;
                self.speaker.queue(&samples);
                let answer = self.number(&response_id)?;
                self.note(What::Audio(answer));
            }
            ServerEvent::TranscriptDone { response_id, transcript } => {
                let answer = self.number(&response_id)?;
                self.note(What::Said(answer, transcript));
            }
            ServerEvent::ResponseDone { response } => {
                self.open = self.open.saturating_sub(1);
                let answer = self.number(&response.id)?;
                self.note(What::Done(answer, response.status));
            }
            ServerEvent::Error { error } => self.note(What::Error(error.to_string())),
            _ => {}
        }
        Ok(())
    }

    fn number(&self, id: &str) -> anyhow::Result<usize> {
        let found = self.answers.iter().position(|answer| answer == id);
        ensure!(found.is_some(), "an event of {id}, which was never created");
        Ok(found.unwrap_or_default())
    }
}
