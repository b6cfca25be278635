//! Many sessions on few engines, and engines that fail: scripted engines, real pools and sessions, paused time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Client, router, settings, spoken_text};
use antiphon::backend::scripted::{
    Hang, ScriptedLlm, ScriptedLlmConfig, ScriptedStt, ScriptedTts, ScriptedTtsConfig, Step,
};
use antiphon::engine::llm::LlmEngine;
use antiphon::engine::stt::SttEngine;
use antiphon::engine::tts::TtsEngine;
use antiphon::pool::{
    Degradation, DegradationSignal, HolderId, Instance, InstanceStats, LeaseRequest, PoolSizes, PoolStats,
    PoolsConfig, ResourcePool, ResourcePoolManager, Scheduler, WorkClass,
};
use antiphon::runtime::Runtime;
use antiphon::session::event::ResponseStatus;
use antiphon::session::settings::Modality;
use antiphon::session::{Action, SessionConfig, SessionError, SessionRouter};
use tokio::time::{Instant, timeout};

/// Longer than any repair takes under paused time.
const DEADLINE: Duration = Duration::from_secs(300);

/// Pools of scripted engines, supervised, and sessions on them.
struct House {
    pools: ResourcePoolManager,
    router: SessionRouter,
    runtime: Runtime,
}

impl House {
    fn new(llm: Vec<Instance<dyn LlmEngine>>, config: &PoolsConfig) -> Self {
        Self::with_tts(llm, vec![Instance::new("tts", Arc::new(ScriptedTts::humming(5)) as _, 8)], config)
    }

    fn with_tts(
        llm: Vec<Instance<dyn LlmEngine>>,
        tts: Vec<Instance<dyn TtsEngine>>,
        config: &PoolsConfig,
    ) -> Self {
        let scheduler = Scheduler::new(config);
        let stt: Arc<dyn SttEngine> = Arc::new(ScriptedStt::saying(30, "heard {ms}"));
        let stt = vec![Instance::new("stt", stt, 4)];
        let pools = ResourcePoolManager {
            stt: ResourcePool::new("stt", stt, &scheduler, config),
            llm: ResourcePool::new("llm", llm, &scheduler, config),
            tts: ResourcePool::new("tts", tts, &scheduler, config),
            scheduler,
            degradation: DegradationSignal::default(),
        };
        let (runtime, router) = router(&pools, SessionConfig::default());
        pools.supervise(&runtime);
        Self { pools, router, runtime }
    }

    fn open(&self) -> Client {
        Client::open(&self.router, settings())
    }

    /// A session that is answered in text.
    fn open_written(&self) -> Client {
        let mut settings = settings();
        settings.modality = Modality::Text;
        Client::open(&self.router, settings)
    }

    /// Waits until the pool looks right: by itself, within the deadline.
    async fn until(&self, what: &str, is_right: impl Fn(&PoolStats) -> bool) {
        let look = async {
            while !is_right(&self.pools.llm.stats()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let late = timeout(DEADLINE, look).await.is_err();
        assert!(!late, "not {what}: {:?}", self.pools.llm.stats());
    }
}

/// A language model that echoes, until it has other calls to make.
fn llm(name: &str, calls: Vec<Vec<Step>>) -> Arc<ScriptedLlm> {
    let calls = if calls.is_empty() { vec![vec![Step::text(20, "You said: {user}")]] } else { calls };
    let config =
        ScriptedLlmConfig { name: name.to_owned(), calls, word_ms: 5, ..ScriptedLlmConfig::default() };
    Arc::new(ScriptedLlm::new(&config))
}

fn instance(engine: &Arc<ScriptedLlm>, name: &str, slots: usize) -> Instance<dyn LlmEngine> {
    Instance::new(name, Arc::clone(engine) as Arc<dyn LlmEngine>, slots)
}

/// An instance that comes back well when it is built anew.
fn rebuildable(engine: &Arc<ScriptedLlm>, name: &str, slots: usize) -> Instance<dyn LlmEngine> {
    instance(engine, name, slots).rebuilt_by(Arc::new(|| Ok(llm("anew", Vec::new()) as Arc<dyn LlmEngine>)))
}

async fn answer(client: &mut Client, text: &str) -> Result<String, ResponseStatus> {
    client.write(text).await;
    client.send(Action::CreateResponse(Box::default())).await;
    let view = client.response_done().await;
    if view.status == ResponseStatus::Completed { Ok(spoken_text(&view)) } else { Err(view.status) }
}

/// Fifteen sessions on three language models and two voices, one call each at a time: everybody's turns are
/// answered with their own words, and nobody waits longer than its fair turn.
#[tokio::test(start_paused = true)]
async fn fifteen_sessions_share_three_models_and_two_voices() {
    const TURNS: usize = 6;
    let speak = ScriptedTtsConfig { slots: 1, ..ScriptedTtsConfig::default() };
    let voices = ["voice-1", "voice-2"];
    let tts =
        voices.map(|name| Instance::new(name, Arc::new(ScriptedTts::new(&speak)) as Arc<dyn TtsEngine>, 1));
    let models = ["model-1", "model-2", "model-3"].map(|name| (name, llm(name, Vec::new())));
    let llms = models.each_ref().map(|(name, engine)| instance(engine, name, 1));
    let house = House::with_tts(llms.into(), tts.into(), &PoolsConfig::default());
    let talk = |number: usize| {
        let mut client = house.open();
        async move {
            let (mut waits, mut timings) = (Duration::ZERO, Vec::new());
            for turn in 0..TURNS {
                let fact = format!("session {number} turn {turn} only");
                client.write(&fact).await;
                client.send(Action::CreateResponse(Box::default())).await;
                let view = client.response_done().await;
                assert_eq!(view.status, ResponseStatus::Completed);
                assert_eq!(spoken_text(&view), format!("You said: {fact}"), "its own words and no others");
                let taken = view.timings.expect("a response that is over has timings");
                let waited = taken.queue_llm.unwrap_or(0.0) + taken.queue_tts.unwrap_or(0.0);
                timings.push(waited);
                waits += Duration::from_secs_f64(waited / 1_000.0);
            }
            timings.into_iter().fold(0.0, f64::max)
        }
    };
    let longest = futures::future::join_all((0..15).map(talk)).await;
    // A model's call takes 50 ms (seven words) and five sessions share each model; a first clause's speech is as
    // long as its words. Whoever waits has at most every other session served once before it, per pool.
    let speech =
        house.pools.tts.stats().instances.iter().filter_map(|i| i.service_time_ms).max().unwrap_or(0);
    let text = house.pools.llm.stats().instances.iter().filter_map(|i| i.service_time_ms).max().unwrap_or(0);
    let fair_turn = (text * 15 / 3 + speech * 15 / 2 + speech + text) as f64;
    for (session, waited) in longest.into_iter().enumerate() {
        assert!(waited <= fair_turn, "session {session} waited {waited} ms; a fair turn is {fair_turn} ms");
    }
    let calls: Vec<_> = models.iter().map(|(_, engine)| engine.stats()).collect();
    assert_eq!(calls.iter().map(|stats| stats.started).sum::<u64>(), 15 * TURNS as u64);
    assert!(calls.iter().all(|stats| stats.peak_in_flight <= 1 && stats.started > 0), "{calls:?}");
    assert!(house.pools.stats().iter().all(|pool| pool.in_use == 0 && pool.waiting == 0));
}

/// One of two instances has each fault in turn: all sessions are answered, and the pool is whole again.
#[tokio::test(start_paused = true)]
async fn a_sick_instance_costs_nobody_an_answer_and_heals() {
    for fault in [
        Step::error(1, "out of order"),
        Step::panic(1),
        Step { after_ms: 1, act: antiphon::backend::scripted::Act::Unavailable("its process died".into()) },
        Step::hang(Hang::UntilCancelled),
        Step::hang(Hang::IgnoringCancel),
        Step::hang(Hang::Stuck),
    ] {
        let config = PoolsConfig { first_output_ms: 2_000, ..PoolsConfig::default() };
        let (sick, well) = (llm("sick", vec![vec![fault.clone()]]), llm("well", Vec::new()));
        let instances = vec![rebuildable(&sick, "sick", 2), instance(&well, "well", 4)];
        let house = House::new(instances, &config);
        futures::future::join_all((0..6).map(|number| talk_in_writing(&house, number))).await;
        assert!(sick.stats().started > 0, "the sick one was tried");
        // By failed calls, or, where the pool has turned from it before, by a probe of the idle instance.
        let is_anew = |pool: &PoolStats| {
            let closed = |breaker| serde_json::to_value(breaker).is_ok_and(|state| state == "closed");
            let anew = |i: &InstanceStats| (&*i.name, i.restarts, i.in_use) == ("sick", 1, 0);
            pool.slots == 6
                && pool.instances.iter().all(|i| closed(i.breaker))
                && pool.instances.iter().any(anew)
        };
        house.until("whole again", is_anew).await;
        assert_eq!(house.pools.llm.stats().in_use, 0, "{fault:?}");
    }
}

/// Four turns of facts of its own; only those may come back.
async fn talk_in_writing(house: &House, number: usize) {
    let mut client = house.open_written();
    for turn in 0..4 {
        let fact = format!("{number} and {turn}");
        let said = answer(&mut client, &fact).await;
        assert_eq!(said.as_deref(), Ok(format!("You said: {fact}").as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_the_middle_of_an_answer_is_told_and_not_repeated() {
    let broken = llm("broken", vec![vec![Step::text(1, "Half an"), Step::error(1, "gone")]]);
    let house = House::new(vec![instance(&broken, "broken", 1)], &PoolsConfig::default());
    let mut client = house.open_written();
    let failed = answer(&mut client, "one").await.expect_err("it broke off");
    assert!(matches!(failed, ResponseStatus::Failed(SessionError::Engine(_))), "{failed:?}");
    assert_eq!(broken.stats().started, 1, "what was heard is not said twice");
}

#[tokio::test(start_paused = true)]
async fn the_fallback_serves_while_nobody_else_is_well() {
    let (sick, spare) = (llm("sick", vec![vec![Step::error(1, "no")]]), llm("spare", Vec::new()));
    let fallback = instance(&spare, "spare", 2).as_fallback(true);
    let house = House::new(vec![instance(&sick, "sick", 2), fallback], &PoolsConfig::default());
    let mut client = house.open_written();
    while spare.stats().started == 0 {
        // Until the breaker opens, calls fail: the retry has nowhere to go while the sick one counts as well.
        answer(&mut client, "hello").await.ok();
    }
    assert_eq!(answer(&mut client, "you there").await.as_deref(), Ok("You said: you there"));
    sick.set_calls(vec![vec![Step::text(1, "Back.")]]);
    house.until("well again", |pool| pool.slots == 4).await;
    assert_eq!(answer(&mut client, "again").await.as_deref(), Ok("Back."));
}

#[tokio::test(start_paused = true)]
async fn when_all_have_failed_the_client_is_told_at_once() {
    let sick = llm("sick", vec![vec![Step::error(1, "no")]]);
    let house = House::new(vec![instance(&sick, "sick", 2)], &PoolsConfig::default());
    let mut client = house.open_written();
    let mut answers = BTreeMap::new();
    for turn in 0..4 {
        let error = answer(&mut client, &format!("turn {turn}")).await.expect_err("all have failed");
        let ResponseStatus::Failed(error) = error else { panic!("{error:?}") };
        *answers.entry(error.to_string()).or_insert(0) += 1;
    }
    let told = answers.keys().map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(told.contains("no llm engine is healthy"), "{told}");
    assert!(told.contains("sick failed: no"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_engine_that_died_is_found_before_a_person_finds_it() {
    let engine = llm("quiet", Vec::new());
    let house = House::new(vec![rebuildable(&engine, "quiet", 2)], &PoolsConfig::default());
    engine.set_calls(vec![vec![Step::error(1, "died in its sleep")]]);
    house.until("built anew", |pool| pool.slots == 2 && pool.instances[0].restarts == 1).await;
    assert_eq!(answer(&mut house.open_written(), "hi").await.as_deref(), Ok("You said: hi"));
}

/// The one core is taken by a call of another pool: the probe of an idle engine stands behind it.
#[tokio::test(start_paused = true)]
async fn a_probe_waits_for_room_on_the_device() {
    let config = PoolsConfig { cpu_permits: 1, probe_interval_s: 5, ..PoolsConfig::default() };
    let scheduler = Scheduler::new(&config);
    let (idle, busy) = (llm("idle", Vec::new()), llm("busy", Vec::new()));
    let on_cpu = |engine: &_, name| {
        vec![instance(engine, name, 1).computing_on(scheduler.device(antiphon::engine::Device::Cpu))]
    };
    let pool = |name, engine: &_| ResourcePool::new(name, on_cpu(engine, name), &scheduler, &config);
    let (quiet, loud) = (pool("llm", &idle), pool("other", &busy));
    let tts: Arc<dyn TtsEngine> = Arc::new(ScriptedTts::humming(5));
    let stt: Arc<dyn SttEngine> = Arc::new(ScriptedStt::saying(1, "x"));
    let pools = ResourcePoolManager {
        stt: ResourcePool::new("stt", vec![Instance::new("stt", stt, 1)], &scheduler, &config),
        llm: quiet,
        tts: ResourcePool::new("tts", vec![Instance::new("tts", tts, 1)], &scheduler, &config),
        scheduler: scheduler.clone(),
        degradation: DegradationSignal::default(),
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let request = LeaseRequest { holder: HolderId(1), class: WorkClass::Background, deadline };
    let held = loud.lease(request).await.expect("free");
    let runtime = Runtime::new();
    pools.supervise(&runtime);
    tokio::time::sleep(Duration::from_secs(7)).await; // paused time: past the probe's interval
    assert_eq!(idle.stats().started, 0, "the core is taken");
    drop(held);
    let probed = async {
        while idle.stats().finished == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, probed).await.expect("it is tried when there is room");
}

#[tokio::test(start_paused = true)]
async fn a_pool_grows_while_waits_are_long_and_shrinks_after() {
    let slow = || llm("slow", vec![vec![Step::text(900, "{user}")]]);
    let build = move || Ok(llm("slow", vec![vec![Step::text(900, "{user}")]]) as Arc<dyn LlmEngine>);
    let first = instance(&slow(), "slow", 1).rebuilt_by(Arc::new(build));
    let max_instances = PoolSizes { llm: 3, ..PoolSizes::default() };
    let house = House::new(vec![first], &PoolsConfig { max_instances, ..PoolsConfig::default() });
    let mut clients: Vec<_> = (0..4).map(|_| house.open_written()).collect();
    let until_grown = async {
        while house.pools.llm.stats().instances.len() < 3 {
            let turns = clients.iter_mut().map(|client| answer(client, "more"));
            let answers = futures::future::join_all(turns).await;
            assert!(answers.iter().all(|said| said.as_deref() == Ok("more")), "{answers:?}");
        }
    };
    timeout(DEADLINE, until_grown).await.expect("it grows");
    assert_eq!(house.pools.llm.stats().slots, 3);
    house.until("small again", |pool| pool.instances.len() == 1).await;
    assert_eq!(answer(&mut clients[0], "still here").await.as_deref(), Ok("still here"));
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_people_wait() {
    let config = PoolsConfig { max_waiting: 1, ..PoolsConfig::default() };
    let engine = llm("one", vec![vec![Step::hang(Hang::UntilCancelled)]]);
    let house = House::new(vec![instance(&engine, "one", 1)], &config);
    let ask = |holder: u64| {
        house.pools.llm.lease(LeaseRequest {
            holder: HolderId(holder),
            class: WorkClass::FirstClause,
            deadline: Instant::now() + Duration::from_secs(60),
        })
    };
    let held = ask(1).await.expect("free");
    let mut first = Box::pin(ask(2));
    assert!(futures::poll!(&mut first).is_pending());
    assert!(ask(3).await.is_err(), "the line is full");
    house.pools.reconfigure(&PoolsConfig { max_waiting: 2, ..config });
    let mut second = Box::pin(ask(3));
    assert!(futures::poll!(&mut second).is_pending(), "it is longer now");
    drop(held);
    drop(first.await.expect("nobody lost the place"));
    drop(second.await.expect("a lease"));
    house.runtime.drain(Duration::from_secs(10)).await.expect("nothing keeps the server from ending");
}

/// Pressed, the server thinks ahead but does not speak ahead; the answer comes all the same.
#[tokio::test(start_paused = true)]
async fn under_pressure_nothing_is_spoken_ahead_of_the_turns_end() {
    for (step, spoken_ahead) in [(Degradation::None, true), (Degradation::NoSpeechAhead, false)] {
        let voice = Arc::new(ScriptedTts::humming(5));
        let tts = vec![Instance::new("tts", Arc::clone(&voice) as Arc<dyn TtsEngine>, 8)];
        let mind = llm("mind", Vec::new());
        let house = House::with_tts(vec![instance(&mind, "mind", 8)], tts, &PoolsConfig::default());
        house.pools.degradation.set(step);
        let mut client = house.open();
        client.sound(true, 600).await;
        // The soft pause has passed and the answer was begun, but the turn is not over yet.
        client.sound(false, 240).await;
        assert!(mind.stats().started > 0, "{step:?}: the answer is thought of ahead of time");
        assert!(!client.names().contains(&"committed"));
        assert_eq!(!voice.calls().is_empty(), spoken_ahead, "{step:?}");
        client.sound(false, 1_400).await;
        assert!(spoken_text(&client.response_done().await).starts_with("You said: heard"), "{step:?}");
    }
}
