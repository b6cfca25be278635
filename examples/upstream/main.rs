//! How translations fare with a language model behind a URL: `make bench-upstream`, or `cargo run --release --example
//! upstream [SESSIONS ..]`. One run prints one table.
//!
//! People speak into transcription sessions that are translated; their words are tones, so that a stand-in for
//! speech-to-text knows them surely. The language model is a stand-in too, of stated latencies, that refuses what is
//! over its limits with 429. Server, sessions and stand-ins share this process and the machine: run it where
//! little else runs, and read the load average above the table.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod speaker;
mod stand_in;
mod tally;
mod words;

use std::time::Duration;

use antiphon::app::Server;
use antiphon::backend::catalog::{EnginesConfig, LlmConfig, SttConfig, TtsConfig, VadConfig};
use antiphon::backend::openai::{OpenAiLlmConfig, OpenAiSttConfig};
use antiphon::config::Config;
use antiphon::engine::endpoint::EndpointLimits;
use antiphon::store::StoreKind;
use anyhow::{Context, Result, bail};
use futures::future::{join_all, try_join_all};

use speaker::{Heard, speak};
use stand_in::StandIn;
use tally::{Asked, Row};
use words::sentence;

const SESSIONS: [usize; 6] = [1, 2, 3, 5, 20, 50];
/// Sentences that each person says.
const SENTENCES: usize = 2;
/// Words of each.
const WORDS: usize = 12;
/// How often words are told and translated while they are spoken: twice as often as by default, as a live
/// interpretation would.
const INTERVAL_MS: u64 = 500;

/// One way to use the endpoints.
struct Way {
    name: &'static str,
    endpoints: usize,
    slots: usize,
    limits: EndpointLimits,
    /// Whether all say the same.
    same: bool,
}

/// The endpoint's own limit is not known to the server.
const UNLIMITED: EndpointLimits =
    EndpointLimits { min_interval_ms: 0, requests_per_minute: 0, tokens_per_minute: 0, retries: 2 };
const LIMITED: EndpointLimits = EndpointLimits {
    min_interval_ms: 50,
    requests_per_minute: stand_in::REQUESTS_PER_MINUTE,
    tokens_per_minute: 0,
    retries: 2,
};
const WAYS: [Way; 5] = [
    Way { name: "one at a time", endpoints: 1, slots: 1, limits: UNLIMITED, same: false },
    Way { name: "pool", endpoints: 2, slots: 4, limits: UNLIMITED, same: false },
    Way { name: "pool, limits", endpoints: 2, slots: 4, limits: LIMITED, same: false },
    Way { name: "one at a time, same", endpoints: 1, slots: 1, limits: UNLIMITED, same: true },
    Way { name: "pool, limits, same", endpoints: 2, slots: 4, limits: LIMITED, same: true },
];

#[tokio::main]
async fn main() -> Result<()> {
    let sessions: Vec<usize> = std::env::args()
        .skip(1)
        .map(|count| count.parse().context("numbers of sessions"))
        .collect::<Result<_>>()?;
    let sessions = if sessions.is_empty() { SESSIONS.to_vec() } else { sessions };
    let (stand_ins, serving): (Vec<StandIn>, Vec<_>) =
        try_join_all([StandIn::bind(), StandIn::bind()]).await?.into_iter().unzip();
    tokio::select! {
        measured = measure(&sessions, &stand_ins) => measured,
        ended = try_join_all(serving) => bail!("a stand-in ended: {ended:?}"),
    }
}

async fn measure(sessions: &[usize], stand_ins: &[StandIn]) -> Result<()> {
    println!("{}", tally::head(&stand_in::described(), SENTENCES, WORDS)?);
    for count in sessions {
        for way in &WAYS {
            stand_ins.iter().for_each(StandIn::reset);
            println!("{}", way.measure(*count, stand_ins).await?);
        }
    }
    println!("load average at the end: {}", tally::load_average()?);
    Ok(())
}

impl Way {
    async fn measure(&self, count: usize, stand_ins: &[StandIn]) -> Result<Row> {
        let server = Server::start(self.config(stand_ins)?).await?;
        let before = Asked::of(server.address()).await?;
        let people = (0..count).map(|person| {
            let speaker = if self.same { 0 } else { person };
            let sentences = (0..SENTENCES).map(|number| sentence(speaker, number, WORDS)).collect();
            // Nobody begins in the same instant as another.
            let begin = Duration::from_secs(1) * u32::try_from(person).unwrap_or(0)
                / u32::try_from(count).unwrap_or(1);
            speak(server.address(), sentences, begin)
        });
        let heard: Vec<Heard> = join_all(people).await.into_iter().collect::<Result<_>>()?;
        let asked = Asked::of(server.address()).await?.since(before);
        server.stop().await?;
        let calls = stand_ins.iter().map(StandIn::calls).sum();
        let refused = stand_ins.iter().map(StandIn::refused).sum();
        Ok(Row { sessions: count, way: self.name, heard, asked, calls, refused })
    }

    fn config(&self, stand_ins: &[StandIn]) -> Result<Config> {
        let llm = |(number, stand_in): (usize, &StandIn)| {
            LlmConfig::OpenAi(OpenAiLlmConfig {
                name: format!("upstream-{number}"),
                slots: self.slots,
                url: stand_in.url(),
                model: stand_in::MODEL.to_owned(),
                limits: self.limits,
                ..OpenAiLlmConfig::default()
            })
        };
        let stt = OpenAiSttConfig {
            slots: 64, // never what is waited for
            url: stand_ins.first().context("one stand-in")?.url(),
            model: stand_in::MODEL.to_owned(),
            limits: UNLIMITED,
            ..OpenAiSttConfig::default()
        };
        let mut config = Config {
            engines: EnginesConfig {
                stt: vec![SttConfig::OpenAi(stt)],
                llm: stand_ins.iter().take(self.endpoints).enumerate().map(llm).collect(),
                tts: vec![TtsConfig::Scripted(Default::default())],
                vad: VadConfig::Scripted(Default::default()),
                ..EnginesConfig::default()
            },
            ..Config::default()
        };
        config.server.bind = "127.0.0.1:0".parse()?;
        config.store.kind = StoreKind::Memory;
        config.session.per_user.max_sessions = 1_000;
        config.session.partials.interval_ms = INTERVAL_MS;
        config.session.translation.interval_ms = INTERVAL_MS;
        Ok(config)
    }
}
