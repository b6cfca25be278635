//! One user: a connection, a microphone that never stops, and turn after turn. Read [`User::run`] first.
//!
//! One task does it all: the clock of the microphone and the server's events are one `select!`, so no queue of this
//! program can hide what the server does.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::args::TurnDetection;
use crate::ear::Ear;
use crate::exchange::{Ending, Exchange};
use crate::line::Line;
use crate::mic::{Microphone, Part, Room};
use crate::plan::Turn;
use crate::record::{Lateness, Observed, Scorer, TurnRecord, UserRecord};
use crate::script::Script;
use crate::wire::{self, SessionWish};

/// Whether the run goes on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, PartialOrd)]
pub(crate) enum Stop {
    #[default]
    No,
    /// Finish the running turn, begin no other.
    AfterTurn,
    /// Hang up.
    Now,
}

impl Stop {
    /// Waits until the run is at this point, or past it.
    pub(crate) async fn reached(self, stop: &mut watch::Receiver<Self>) {
        // Nobody left to stop the run is as good as a stop.
        drop(stop.wait_for(|at| *at >= self).await);
    }
}

/// What all users have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) address: String,
    pub(crate) api_key: Option<String>,
    pub(crate) wish: SessionWish,
    pub(crate) room: Room,
    pub(crate) frame: Duration,
    pub(crate) turn_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) began: Instant,
    pub(crate) turns: mpsc::Sender<TurnRecord>,
    pub(crate) stop: watch::Receiver<Stop>,
}

/// One user before it connects.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) number: usize,
    pub(crate) common: Arc<Common>,
    pub(crate) script: Script,
    pub(crate) scorer: Scorer,
    pub(crate) rng: StdRng,
}

impl User {
    /// Connects, talks until the run ends, hangs up.
    pub(crate) async fn run(mut self) -> UserRecord {
        let mut record = UserRecord { user: self.number, ..UserRecord::default() };
        let common = Arc::clone(&self.common);
        let mut stop = common.stop.clone();
        let line = tokio::select! {
            line = Line::open(&common.address, common.api_key.as_deref(), common.connect_timeout) => line,
            () = Stop::Now.reached(&mut stop) => return record,
        };
        match line {
            Err(error) => record.lost = Some(format!("{error:#}")),
            Ok(line) => {
                let mut talk = Talk::new(&self, line);
                let ended = talk.run(&mut self).await;
                record.lost = ended.err().and_then(Halt::into_reason);
                record.session = talk.ear.session;
                record.ids = talk.ear.ids;
                record.clock = talk.clock.lateness;
                talk.line.close().await;
            }
        }
        record
    }
}

/// Why a talk ends before its time.
#[derive(Debug)]
enum Halt {
    /// The run is over.
    Stopped,
    /// The connection is.
    Lost(anyhow::Error),
}

impl Halt {
    fn into_reason(self) -> Option<String> {
        match self {
            Self::Stopped => None,
            Self::Lost(error) => Some(format!("{error:#}")),
        }
    }
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Lost(error)
    }
}

/// The microphone's clock, and how well it was kept.
#[derive(Debug)]
struct Clock {
    ticks: Interval,
    lateness: Lateness,
}

/// An interruption under way: its turn, and when the user began to speak into the answer.
#[derive(Debug)]
struct Interruption {
    record: TurnRecord,
    spoken_at: Option<Instant>,
    /// The answer's item, until the server was told how much of it was heard.
    to_truncate: Option<String>,
}

/// A connected user.
#[derive(Debug)]
struct Talk {
    common: Arc<Common>,
    line: Line,
    ear: Ear,
    mic: Microphone,
    clock: Clock,
    exchange: Exchange,
    /// When the user began to speak.
    began: Instant,
    interruption: Option<Interruption>,
    stop: watch::Receiver<Stop>,
}

impl Talk {
    fn new(user: &User, line: Line) -> Self {
        let common = Arc::clone(&user.common);
        let mut ticks = interval(common.frame);
        // A late tick is caught up on: a real microphone loses nothing either.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Self {
            ear: Ear::new(common.wish.format, common.wish.text),
            mic: Microphone::new(common.room.clone(), user.number),
            clock: Clock { ticks, lateness: Lateness::default() },
            exchange: Exchange {
                said_at: None,
                interrupt_after: None,
                timeout: common.turn_timeout,
                transcribed: false,
            },
            began: Instant::now(),
            interruption: None,
            stop: common.stop.clone(),
            line,
            common,
        }
    }

    async fn run(&mut self, user: &mut User) -> Result<(), Halt> {
        self.configure().await?;
        self.clock.ticks.reset();
        loop {
            let (turn, speech) = user.script.next_turn().await?;
            if self.interruption.is_none() {
                self.think(Duration::from_millis(user.rng.random_range(300..1_200))).await?;
                if *self.stop.borrow() != Stop::No {
                    return Ok(());
                }
            }
            let ended = self.take_turn(&turn, speech, &mut user.rng).await;
            let ending = match &ended {
                Ok(ending) => ending.clone(),
                Err(Halt::Lost(error)) => Ending::Failed(format!("{error:#}")),
                Err(Halt::Stopped) => return Ok(()),
            };
            self.settle_interruption().await;
            let record = user.scorer.record(&turn, self.observed(ending.clone()));
            if ending == Ending::Interrupted {
                let to_truncate = self.ear.answer().and_then(|answer| answer.item.clone());
                self.interruption = Some(Interruption { record, spoken_at: None, to_truncate });
            } else {
                self.keep(record).await;
            }
            ended?;
        }
    }

    /// Waits for the session and asks for what it is to be.
    async fn configure(&mut self) -> Result<(), Halt> {
        let deadline = Instant::now() + self.common.connect_timeout;
        let update = self.common.wish.update();
        let mut asked = false;
        while !self.ear.configured {
            if let Some(error) = self.ear.errors.first() {
                return Err(anyhow::anyhow!("the session was refused: {error}").into());
            }
            if self.ear.session.is_some() && !asked {
                self.line.send(update.clone()).await?;
                asked = true;
            }
            tokio::select! {
                event = self.line.receive() => self.ear.hear(event?, Instant::now()),
                () = tokio::time::sleep_until(deadline) => {
                    let what = if asked { "session.updated" } else { "session.created" };
                    return Err(anyhow::anyhow!("no {what} in time").into());
                }
                () = Stop::Now.reached(&mut self.stop) => return Err(Halt::Stopped),
            }
        }
        Ok(())
    }

    /// Is silent for `pause`, and until nothing is said any more.
    async fn think(&mut self, pause: Duration) -> Result<(), Halt> {
        let mut until = Instant::now() + pause;
        let patience = Instant::now() + self.common.turn_timeout;
        while Instant::now() < until {
            self.step().await?;
            let now = Instant::now();
            if self.ear.is_busy(now) && now < patience {
                until = now + pause;
            }
        }
        Ok(())
    }

    /// Says one thing and listens to the answer.
    async fn take_turn(&mut self, turn: &Turn, speech: Arc<[i16]>, rng: &mut StdRng) -> Result<Ending, Halt> {
        self.ear.begin_turn();
        self.began = Instant::now();
        let after = turn.barge_in.then(|| Duration::from_millis(rng.random_range(400..1_200)));
        self.exchange.interrupt_after = after.filter(|_| *self.stop.borrow() == Stop::No);
        self.exchange.said_at = None;
        self.exchange.transcribed = !self.common.wish.text;
        if self.common.wish.text {
            self.line.send(wire::user_text(&turn.text)).await?;
            self.finish_saying("response.create").await?;
        } else {
            self.interrupt_by_hand().await?;
            self.mic.say(speech);
        }
        loop {
            self.step().await?;
            if let Some(ending) = self.exchange.ending(&self.ear, Instant::now()) {
                return Ok(ending);
            }
        }
    }

    /// One frame of the microphone, or one event of the server.
    async fn step(&mut self) -> Result<(), Halt> {
        tokio::select! {
            scheduled = self.clock.ticks.tick() => {
                self.clock.lateness.note(scheduled.elapsed());
                self.send_frame().await?;
            }
            event = self.line.receive() => {
                self.ear.hear(event?, Instant::now());
                self.tell_what_was_heard().await?;
            }
            () = Stop::Now.reached(&mut self.stop) => return Err(Halt::Stopped),
        }
        Ok(())
    }

    async fn send_frame(&mut self) -> Result<(), Halt> {
        // Typing users and those who push to talk send nothing between utterances.
        let quiet = self.common.wish.text || self.is_manual();
        if quiet && !self.mic.is_speaking() {
            return Ok(());
        }
        let frame = self.mic.next_frame();
        let now = Instant::now();
        self.line.send_message(frame.message).await?;
        let Part::Speech { first, last } = frame.part else { return Ok(()) };
        if first {
            self.began = now;
            if let Some(interruption) = &mut self.interruption {
                interruption.spoken_at = Some(now);
            }
        }
        if last {
            self.exchange.said_at = Some(now);
            if self.is_manual() {
                self.finish_saying("input_audio_buffer.commit").await?;
                self.finish_saying("response.create").await?;
            }
        }
        Ok(())
    }

    async fn finish_saying(&mut self, event: &str) -> Result<(), Halt> {
        self.exchange.said_at.get_or_insert(Instant::now());
        Ok(self.line.send(wire::bare(event)).await?)
    }

    fn is_manual(&self) -> bool {
        self.common.wish.turn_detection == TurnDetection::Manual
    }

    /// Push to talk: the client itself stops the answer that it speaks into.
    async fn interrupt_by_hand(&mut self) -> Result<(), Halt> {
        if self.is_manual() && self.interruption.is_some() {
            if self.ear.before.as_ref().is_some_and(|answer| answer.status.is_none()) {
                self.line.send(wire::bare("response.cancel")).await?;
            }
            self.line.send(wire::bare("input_audio_buffer.clear")).await?;
            self.truncate().await?;
        }
        Ok(())
    }

    /// Clients stop the loudspeaker when the server hears the user, and say how far it had come.
    async fn tell_what_was_heard(&mut self) -> Result<(), Halt> {
        if self.ear.speech_open { self.truncate().await } else { Ok(()) }
    }

    async fn truncate(&mut self) -> Result<(), Halt> {
        let item = self.interruption.as_mut().and_then(|interruption| interruption.to_truncate.take());
        if let (Some(item), Some(answer)) = (item, &self.ear.before) {
            let heard = self.ear.played(answer, Instant::now());
            let heard_ms = u64::try_from(heard.as_millis()).unwrap_or(u64::MAX);
            self.ear.stop_playing();
            self.line.send(wire::truncate(&item, heard_ms)).await?;
        }
        Ok(())
    }

    /// The interrupted turn is over when the interruption's own turn is: by then its last audio has come.
    async fn settle_interruption(&mut self) {
        let Some(Interruption { mut record, spoken_at, .. }) = self.interruption.take() else { return };
        let last = self.ear.before.as_ref().and_then(|answer| answer.last_at);
        let times = spoken_at.zip(last).filter(|(spoken, last)| last > spoken);
        record.barge_in_ms = times.map(|(spoken, last)| milliseconds(last - spoken));
        self.keep(record).await;
    }

    async fn keep(&self, record: TurnRecord) {
        // The receiver outlives the users; if it is gone, so is whoever would read the record.
        drop(self.common.turns.send(record).await);
    }

    fn observed(&mut self, ending: Ending) -> Observed {
        let began_s = (self.began - self.common.began).as_secs_f64();
        let text = self.common.wish.text;
        self.ear.errors.clear();
        let faults = std::mem::take(&mut self.ear.faults);
        let answer = self.ear.answer();
        let latency_ms =
            self.exchange.said_at.zip(answer.and_then(|answer| answer.first_at)).map(|(said, first)| {
                if first >= said { milliseconds(first - said) } else { -milliseconds(said - first) }
            });
        Observed {
            began_s,
            ended_s: self.common.began.elapsed().as_secs_f64(),
            ending,
            heard: (!text).then(|| self.ear.heard_so_far()),
            answer: answer.map(|answer| answer.text.trim().to_owned()).unwrap_or_default(),
            answer_audio: answer.filter(|_| !text).map(|answer| answer.audio),
            latency_ms,
            server_ms: answer.map(|answer| answer.server_ms.clone()).unwrap_or_default(),
            faults,
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
