//! The run: prepares the speech, lets the users in, collects their turns, ends on time. Read [`run`] first.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use antiphon::audio::AudioFormat;
use anyhow::Context as _;
use clap::ValueEnum as _;
use clap::builder::PossibleValue;
use futures::{TryStreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::args::Args;
use crate::mic::Room;
use crate::plan::{Allotment, Planner};
use crate::process::{Watch, find_listener};
use crate::record::{Outcome, Scorer, TurnRecord, UserRecord};
use crate::report::{Report, Setup, Totals, turn_line};
use crate::scenario::Scenario;
use crate::script::Script;
use crate::stats::Summary;
use crate::user::{Common, Stop, User};
use crate::voice::{Recording, Synthesiser, Voice, read_recordings};
use crate::wire::SessionWish;

/// Records on their way to the collector; it only counts them, so a few are enough.
const RECORDS: usize = 256;
/// A turn with its answer takes about this long: how much speech is made ahead.
const TURN_S: f64 = 4.0;
const SYNTHESES_AT_ONCE: usize = 4;

/// Does what `args` say. Whether the server passed stands in the report.
pub(crate) async fn run(args: Args) -> anyhow::Result<Report> {
    let cast = Cast::new(&args)?;
    cast.rehearse(&args).await?;
    let (turns, arriving) = mpsc::channel(RECORDS);
    let (stop, stopped) = watch::channel(Stop::No);
    let common = Arc::new(common(&args, turns, stopped));
    let mut users = JoinSet::new();
    for number in 0..args.users as usize {
        let user = cast.user(&args, number, &common);
        let at =
            common.began + Duration::from_secs_f64(args.ramp).mul_f64(number as f64 / f64::from(args.users));
        let mut stop = common.stop.clone();
        users.spawn(async move {
            tokio::select! {
                () = sleep_until(at) => user.run().await,
                () = Stop::AfterTurn.reached(&mut stop) => UserRecord { user: number, ..UserRecord::default() },
            }
        });
    }
    let collector = Collector::new(&args, common.began);
    drop(common);
    collector.collect(users, arriving, stop, cast.allotment.shared).await
}

fn common(args: &Args, turns: mpsc::Sender<TurnRecord>, stop: watch::Receiver<Stop>) -> Common {
    let format = AudioFormat::from(args.format);
    Common {
        address: args.address(),
        api_key: args.api_key.clone(),
        wish: SessionWish {
            format,
            turn_detection: args.turn_detection,
            silence_ms: args.silence_ms,
            text: args.text,
            instructions: args.instructions.clone(),
        },
        room: Room::new(format, args.audio, args.frame_ms),
        frame: Duration::from_millis(args.frame_ms.into()),
        turn_timeout: Duration::from_secs_f64(args.turn_timeout),
        connect_timeout: Duration::from_secs_f64(args.connect_timeout),
        began: Instant::now(),
        turns,
        stop,
    }
}

/// Who is going to say what.
#[derive(Debug)]
struct Cast {
    scenario: Arc<Scenario>,
    allotment: Allotment,
    voices: Voices,
}

/// Where speech comes from.
#[derive(Debug)]
enum Voices {
    Synthetic(Synthesiser),
    Recorded(Arc<[Recording]>),
    None,
}

impl Cast {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let format = AudioFormat::from(args.format);
        let scenario = Arc::new(Scenario::embedded()?);
        let allotment = Allotment::new(&scenario, args.users as usize, args.seed);
        let voices = match &args.wav_dir {
            _ if args.text => Voices::None,
            Some(dir) => Voices::Recorded(read_recordings(dir, format)?.into()),
            None => Voices::Synthetic(Synthesiser::new(args.cache_dir.clone(), format)?),
        };
        Ok(Self { scenario, allotment, voices })
    }

    fn planner(&self, args: &Args, user: usize) -> Planner {
        Planner::new(Arc::clone(&self.scenario), &self.allotment, user, args.seed, args.barge_in)
    }

    fn user(&self, args: &Args, number: usize, common: &Arc<Common>) -> User {
        let rng = StdRng::seed_from_u64(args.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9));
        let planner = self.planner(args, number);
        let script = match &self.voices {
            Voices::None => Script::Typed(planner),
            Voices::Recorded(recordings) => {
                Script::Recorded { recordings: Arc::clone(recordings), rng: rng.clone() }
            }
            Voices::Synthetic(synthesiser) => {
                Script::Spoken { planner, voice: Voice::of(number), synthesiser: synthesiser.clone() }
            }
        };
        let scorer = Scorer::new(number, Arc::clone(&self.allotment.owners));
        User { number, common: Arc::clone(common), script, scorer, rng }
    }

    /// Makes the speech of the run ahead, so that espeak-ng takes no time from the server while it is measured.
    async fn rehearse(&self, args: &Args) -> anyhow::Result<()> {
        let Voices::Synthetic(synthesiser) = &self.voices else { return Ok(()) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "capped right here")]
        let turns = ((args.duration + args.ramp) / TURN_S).min(300.0) as usize + 2;
        let lines = (0..args.users as usize).flat_map(|user| {
            let mut planner = self.planner(args, user);
            (0..turns).map(move |_| (Voice::of(user), planner.next_turn().text))
        });
        let bar = progress_bar(u64::from(args.users) * turns as u64, "synthesising speech");
        stream::iter(lines.map(anyhow::Ok))
            .try_for_each_concurrent(SYNTHESES_AT_ONCE, |(voice, text)| {
                let bar = &bar;
                async move {
                    synthesiser.prepare(voice, &text).await?;
                    bar.inc(1);
                    Ok(())
                }
            })
            .await?;
        bar.finish_and_clear();
        Ok(())
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(length: u64, message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(message)
}

/// Takes the records in and watches the machine.
struct Collector {
    args: Args,
    began: Instant,
    bar: ProgressBar,
    server: Option<Watch>,
    own: Option<Watch>,
    turns: Vec<TurnRecord>,
    users: Vec<UserRecord>,
    interrupted: bool,
}

impl Collector {
    fn new(args: &Args, began: Instant) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "validated")]
        let bar = progress_bar((args.ramp + args.duration).ceil() as u64, "");
        Self {
            began,
            bar,
            server: args.server_pid.or_else(|| find_listener(&args.url)).and_then(Watch::new),
            own: Watch::new(std::process::id()),
            turns: Vec::new(),
            users: Vec::new(),
            interrupted: false,
            args: args.clone(),
        }
    }

    async fn collect(
        mut self,
        mut users: JoinSet<UserRecord>,
        mut arriving: mpsc::Receiver<TurnRecord>,
        stop: watch::Sender<Stop>,
        shared_facts: bool,
    ) -> anyhow::Result<Report> {
        let end = self.began + Duration::from_secs_f64(self.args.ramp + self.args.duration);
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !users.is_empty() {
            tokio::select! {
                Some(turn) = arriving.recv() => self.take(turn),
                Some(user) = users.join_next() => self.users.push(user.context("a user's task broke")?),
                _ = second.tick() => self.show(),
                () = sleep_until(end), if *stop.borrow() == Stop::No => { stop.send_replace(Stop::AfterTurn); }
                signal = tokio::signal::ctrl_c(), if !self.interrupted => {
                    signal.context("Ctrl-C cannot be heard")?;
                    self.interrupted = true;
                    stop.send_replace(Stop::Now);
                }
            }
        }
        while let Ok(turn) = arriving.try_recv() {
            self.take(turn);
        }
        self.show();
        self.bar.finish_and_clear();
        Ok(self.report(shared_facts))
    }

    fn take(&mut self, turn: TurnRecord) {
        if self.args.verbose {
            let line = turn_line(&turn);
            // Nobody to read the lines is no reason to stop measuring.
            self.bar.suspend(|| drop(writeln!(std::io::stdout(), "{line}")));
        }
        self.turns.push(turn);
    }

    fn show(&mut self) {
        for watch in [&mut self.server, &mut self.own].into_iter().flatten() {
            watch.look();
        }
        let failed = self.turns.iter().filter(|turn| turn.outcome == Outcome::Failed).count();
        let latency = Summary::of(self.turns.iter().filter_map(|turn| turn.latency_ms));
        let latency =
            latency.map(|s| format!(", p50 {:.0} ms, p95 {:.0} ms", s.p50, s.p95)).unwrap_or_default();
        self.bar.set_message(format!("s, {} turns, {failed} failed{latency}", self.turns.len()));
        self.bar.set_position(self.began.elapsed().as_secs());
    }

    fn report(self, shared_facts: bool) -> Report {
        let Self { args, mut turns, mut users, .. } = self;
        turns.sort_by(|a, b| a.began_s.total_cmp(&b.began_s));
        users.sort_by_key(|user| user.user);
        let totals = Totals::of(&turns, &users);
        let setup = Setup {
            mode: mode(&args),
            users: args.users,
            duration_s: args.duration,
            elapsed_s: self.began.elapsed().as_secs_f64(),
            seed: args.seed,
            shared_facts,
            url: args.url,
        };
        Report {
            passed: totals.passed(),
            setup,
            totals,
            server: self.server.map(|watch| watch.usage()),
            load_generator: self.own.map(|watch| watch.usage()),
            users,
            turns,
        }
    }
}

fn mode(args: &Args) -> String {
    if args.text {
        return "typing".to_owned();
    }
    let name =
        |value: Option<PossibleValue>| value.map(|value| value.get_name().to_owned()).unwrap_or_default();
    let detection = name(args.turn_detection.to_possible_value());
    let format = name(args.format.to_possible_value());
    format!("{detection}, {format}, {} ms frames", args.frame_ms)
}
