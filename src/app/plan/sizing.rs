//! The arithmetic of a plan: what a number of talking users make of work, what that takes, and what limits first.
//! Pure. Read [`size`] first.
//!
//! Work is CPU time. A pool's engines share it in proportion to what they can do; an engine can do what its lanes
//! do, a lane being a slot that has a thread to compute on. Lanes and cores are planned to be busy only in part,
//! because who comes while all are busy waits.

use serde::Serialize;

use crate::engine::cost::{Source, WorkCost};
use crate::pool::memory::{Budget, Bytes};

/// More users than any machine holds: an engine that would serve so many bounds nothing.
const COUNTLESS: f64 = 1e7;

/// What people do, on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Talk {
    /// Turns of each user a minute.
    pub turns_a_minute: f64,
    /// Seconds of speech in a turn.
    pub speech_s: f64,
    /// Tokens of instructions and history that are read for an answer.
    pub prompt_tokens: f64,
    /// Tokens of an answer.
    pub answer_tokens: f64,
    /// Seconds of speech of an answer.
    pub answer_speech_s: f64,
    /// Calls of text-to-speech for an answer.
    pub clauses: f64,
    /// Share of cores and lanes that may be busy, 0 to 1.
    pub busy: f64,
}

impl Default for Talk {
    /// What `antiphon-loadtest --users 3 --duration 60` did (starter models, 41 turns): 12.6 turns a minute,
    /// 1.3 s of speech, 2.3 s of answer in 1.5 clauses. Tokens are estimated: 10 for the 6.8 words of an answer, and
    /// 850 for the mean prompt of five such minutes, 63 turns of about 26. Seven tenths busy leaves a call that
    /// finds its lane taken a wait of about its own length.
    fn default() -> Self {
        Self {
            turns_a_minute: 12.6,
            speech_s: 1.3,
            prompt_tokens: 850.0,
            answer_tokens: 10.0,
            answer_speech_s: 2.3,
            clauses: 1.5,
            busy: 0.7,
        }
    }
}

/// Which pool an engine is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Speech-to-text.
    Stt,
    /// Language model.
    Llm,
    /// Text-to-speech.
    Tts,
}

impl Pool {
    const ALL: [Self; 3] = [Self::Stt, Self::Llm, Self::Tts];

    /// Its name in configuration and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Llm => "llm",
            Self::Tts => "tts",
        }
    }
}

/// One engine, as the plan sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Engine {
    /// Its pool.
    pub pool: Pool,
    /// Its name.
    pub name: String,
    /// Its place in the configuration: `engines.stt[0]`.
    pub key: String,
    /// Calls at once.
    pub slots: usize,
    /// Threads that compute at once.
    pub threads: usize,
    /// It works only where no other engine of its pool is healthy: it takes memory, and no part of the work.
    pub fallback: bool,
    /// Memory with every slot at work.
    pub memory: Bytes,
    /// Where the memory figures come from.
    pub memory_source: Source,
    /// CPU time.
    pub work: WorkCost,
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Cores as fast as the one that costs were declared for or measured on.
    pub cores: f64,
    /// Memory that may be taken.
    pub memory: Budget,
    /// `server.max_sessions`.
    pub max_sessions: usize,
}

/// What the server takes beside engines.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Overhead {
    /// The server itself, what hears for all sessions, and CUDA's context where something of its process is on a GPU.
    pub server: Bytes,
    /// RAM of each talking session.
    pub session_bytes: u64,
    /// Cores of each talking session: decoding, resampling, voice activity, sockets.
    pub session_cores: f64,
}

/// What something takes of the work of all users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// The engine.
    pub engine: Engine,
    /// Cores that are busy for it on average.
    pub cores: f64,
    /// Share of its lanes that is busy, 0 to 1 and beyond where they are too few.
    pub lanes_busy: f64,
}

/// Something that bounds the number of users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// `cores`, `ram`, `vram`, `stt slots`, `llm slots`, `tts slots`, `sessions`.
    pub what: String,
    /// Users that it allows; `None` where their number does not matter to it.
    pub users: Option<u64>,
    /// What to change when it is reached.
    pub advice: String,
}

/// The plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sizing {
    /// Users planned for.
    pub users: u32,
    /// What was assumed of them.
    pub talk: Talk,
    /// What there is.
    pub machine: Machine,
    /// What the server takes beside engines.
    pub overhead: Overhead,
    /// The engines and what they do for these users.
    pub loads: Vec<Load>,
    /// Cores busy on average, sessions' own work included.
    pub cores: f64,
    /// Memory of all, with these users.
    pub memory: Bytes,
    /// Everything that bounds the number of users, tightest first.
    pub limits: Vec<Limit>,
}

impl Sizing {
    /// The tightest limit.
    pub fn tightest(&self) -> &Limit {
        &self.limits[0]
    }

    /// Users that fit.
    pub fn fits(&self) -> u64 {
        self.tightest().users.unwrap_or(u64::MAX)
    }

    /// Whether the planned users fit.
    pub fn is_enough(&self) -> bool {
        self.fits() >= u64::from(self.users)
    }
}

/// Sizes `engines` on `machine` for `users` who talk like `talk`.
pub fn size(users: u32, talk: Talk, engines: &[Engine], machine: Machine, overhead: Overhead) -> Sizing {
    let loads = loads(users, &talk, engines);
    let own_cores = f64::from(users) * overhead.session_cores;
    let engines_memory = total(engines);
    let own = overhead.server.ram.saturating_add(overhead.session_bytes.saturating_mul(u64::from(users)));
    Sizing {
        users,
        talk,
        machine,
        overhead,
        cores: own_cores + loads.iter().map(|load| load.cores).sum::<f64>(),
        memory: Bytes {
            ram: engines_memory.ram.saturating_add(own),
            vram: engines_memory.vram.saturating_add(overhead.server.vram),
        },
        limits: limits(&talk, engines, &machine, &overhead),
        loads,
    }
}

fn total(engines: &[Engine]) -> Bytes {
    engines.iter().fold(Bytes::default(), |sum, engine| Bytes {
        ram: sum.ram.saturating_add(engine.memory.ram),
        vram: sum.vram.saturating_add(engine.memory.vram),
    })
}

fn loads(users: u32, talk: &Talk, engines: &[Engine]) -> Vec<Load> {
    let load = |engine: &Engine| {
        let all = capacity(talk, engines, engine.pool);
        let share = engine.capacity(talk) / all;
        let cores = f64::from(users) * share * engine.user_cores(talk);
        Load { engine: engine.clone(), cores, lanes_busy: f64::from(users) / all }
    };
    engines.iter().map(load).collect()
}

impl Engine {
    /// Calls that compute at once.
    pub fn lanes(&self) -> usize {
        if self.fallback { 0 } else { self.slots.min(self.threads) }
    }

    /// Cores that one user keeps busy here, if all of its work were done here.
    fn user_cores(&self, talk: &Talk) -> f64 {
        let turn = match self.pool {
            Pool::Stt => self.work.cpu_s(0.0, talk.speech_s),
            Pool::Llm => self.work.cpu_s(talk.prompt_tokens, talk.answer_tokens),
            Pool::Tts => talk.clauses * self.work.call_cpu_s + self.work.unit_cpu_s * talk.answer_speech_s,
        };
        // What takes no time is taken to take next to none, so that nothing is divided by zero.
        (turn * talk.turns_a_minute / 60.0).max(1e-9)
    }

    /// Users whose work keeps every lane busy.
    fn capacity(&self, talk: &Talk) -> f64 {
        count(self.lanes()) / self.user_cores(talk)
    }
}

fn capacity(talk: &Talk, engines: &[Engine], pool: Pool) -> f64 {
    engines.iter().filter(|engine| engine.pool == pool).map(|engine| engine.capacity(talk)).sum()
}

/// Cores that one user keeps busy in `pool`, its engines sharing the work.
fn pool_cores(talk: &Talk, engines: &[Engine], pool: Pool) -> f64 {
    let lanes: f64 =
        engines.iter().filter(|engine| engine.pool == pool).map(|engine| count(engine.lanes())).sum();
    let capacity = capacity(talk, engines, pool);
    if capacity > 0.0 { lanes / capacity } else { 0.0 }
}

fn limits(talk: &Talk, engines: &[Engine], machine: &Machine, overhead: &Overhead) -> Vec<Limit> {
    let mut limits = vec![cores_limit(talk, engines, machine, overhead)];
    limits.extend(Pool::ALL.map(|pool| slots_limit(talk, engines, pool)));
    limits.extend(memory_limits(engines, machine, overhead));
    limits.push(Limit {
        what: "sessions".to_owned(),
        users: Some(machine.max_sessions as u64),
        advice: "raise server.max_sessions".to_owned(),
    });
    limits.sort_by_key(|limit| limit.users.unwrap_or(u64::MAX));
    limits
}

fn cores_limit(talk: &Talk, engines: &[Engine], machine: &Machine, overhead: &Overhead) -> Limit {
    let by_pool = Pool::ALL.map(|pool| (pool, pool_cores(talk, engines, pool)));
    let user = overhead.session_cores + by_pool.iter().map(|(_, cores)| cores).sum::<f64>();
    let most =
        by_pool.iter().max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or("llm", |(pool, _)| pool.as_str());
    Limit {
        what: "cores".to_owned(),
        users: Some(whole(machine.cores * talk.busy / user.max(1e-9))),
        advice: format!(
            "more cores, or a smaller model for [[engines.{most}]], which takes the most of them"
        ),
    }
}

fn slots_limit(talk: &Talk, engines: &[Engine], pool: Pool) -> Limit {
    let name = pool.as_str();
    let working = engines.iter().filter(|engine| engine.pool == pool && !engine.fallback);
    let widest = working.max_by_key(|engine| engine.slots);
    let advice = match widest {
        Some(engine) if engine.threads < engine.slots => {
            format!("add another [[engines.{name}]]: {} computes on {} thread", engine.name, engine.threads)
        }
        Some(engine) => format!("raise {}.slots, now {}", engine.key, engine.slots),
        None => format!("add an [[engines.{name}]]"),
    };
    let users = capacity(talk, engines, pool) * talk.busy;
    let users = (users < COUNTLESS).then(|| whole(users));
    Limit { what: format!("{name} slots"), users, advice }
}

fn memory_limits(engines: &[Engine], machine: &Machine, overhead: &Overhead) -> [Limit; 2] {
    let taken = total(engines);
    let left = machine.memory.ram_bytes.checked_sub(taken.ram.saturating_add(overhead.server.ram));
    let ram_users = left.map_or(0, |left| left / overhead.session_bytes.max(1));
    let vram_users = if taken.vram.saturating_add(overhead.server.vram) <= machine.memory.vram_bytes {
        None
    } else {
        Some(0)
    };
    let largest = |bytes: fn(&Engine) -> u64| {
        engines.iter().max_by_key(|engine| bytes(engine)).map_or("engines", |engine| engine.key.as_str())
    };
    let advice = |key: &str, largest: &str| format!("lower {largest}.slots, or raise {key} if there is more");
    [
        Limit {
            what: "ram".to_owned(),
            users: Some(ram_users),
            advice: advice("memory.ram_mib", largest(|engine| engine.memory.ram)),
        },
        Limit {
            what: "vram".to_owned(),
            users: vram_users,
            advice: advice("memory.vram_mib", largest(|engine| engine.memory.vram)),
        },
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a number of slots")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is never negative"
)]
fn whole(users: f64) -> u64 {
    users.max(0.0).floor() as u64
}

#[cfg(test)]
mod tests;
