//! A plan in words. Pure.

use std::fmt::Write;

use super::Plan;
use super::sizing::{Limit, Load, Sizing};
use crate::pool::memory::Bytes;

const MIB: u64 = 1 << 20;

/// The plan as people read it.
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, plan);
    text
}

fn write(text: &mut String, plan: &Plan) -> std::fmt::Result {
    let sizing = &plan.sizing;
    let machine = &sizing.machine;
    writeln!(
        text,
        "{} users on {} cores; RAM for the server {} MiB, GPU memory {} MiB\n",
        sizing.users,
        machine.cores,
        mib(machine.memory.ram_bytes),
        mib(machine.memory.vram_bytes)
    )?;
    write_assumptions(text, sizing)?;
    write_loads(text, sizing)?;
    writeln!(text, "\n  {:<12}  {:>9}", "limit", "users")?;
    for limit in &sizing.limits {
        writeln!(text, "  {:<12}  {:>9}", limit.what, users(limit))?;
    }
    write_verdict(text, sizing)?;
    plan.notes.iter().try_for_each(|note| writeln!(text, "Note: {note}."))
}

fn write_assumptions(text: &mut String, sizing: &Sizing) -> std::fmt::Result {
    let talk = &sizing.talk;
    writeln!(
        text,
        "Each user: {} turns a minute, {} s of speech a turn; an answer reads {} tokens, writes {}, and speaks\n\
         {} s in {} clauses. Cores and lanes may be {} % busy. A lane is a slot that has a thread.\n",
        talk.turns_a_minute,
        talk.speech_s,
        talk.prompt_tokens,
        talk.answer_tokens,
        talk.answer_speech_s,
        talk.clauses,
        (talk.busy * 100.0).round()
    )
}

fn write_loads(text: &mut String, sizing: &Sizing) -> std::fmt::Result {
    writeln!(
        text,
        "  {:<24}  {:>5}  {:>5}  {:>9}  {:>9}  {:>6}  {:>10}  {:<8}  CPU",
        "one instance a row", "slots", "lanes", "RAM MiB", "VRAM MiB", "cores", "lanes busy", "memory"
    )?;
    sizing.loads.iter().try_for_each(|load| write_load(text, load))?;
    let mut own = |name: &str, count: String, bytes: Bytes, cores: f64| {
        writeln!(
            text,
            "  {name:<24}  {count:>5}  {:>5}  {:>9}  {:>9}  {cores:>6.2}  {:>10}  {:<8}  declared",
            "",
            mib(bytes.ram),
            mib(bytes.vram),
            "",
            "declared"
        )
    };
    let overhead = &sizing.overhead;
    let sessions = overhead.session_bytes * u64::from(sizing.users);
    let session_cores = overhead.session_cores * f64::from(sizing.users);
    own("sessions", sizing.users.to_string(), Bytes { ram: sessions, vram: 0 }, session_cores)?;
    own("server itself", String::new(), overhead.server, 0.0)?;
    let (ram, vram) = (mib(sizing.memory.ram), mib(sizing.memory.vram));
    writeln!(text, "  {:<24}  {:>5}  {:>5}  {ram:>9}  {vram:>9}  {:>6.2}", "total", "", "", sizing.cores)
}

fn write_load(text: &mut String, load: &Load) -> std::fmt::Result {
    let engine = &load.engine;
    writeln!(
        text,
        "  {:<24}  {:>5}  {:>5}  {:>9}  {:>9}  {:>6.2}  {:>8.0} %  {:<8}  {}",
        format!("{} {}", engine.pool.as_str(), engine.name),
        engine.slots,
        engine.lanes(),
        mib(engine.memory.ram),
        mib(engine.memory.vram),
        load.cores,
        load.lanes_busy * 100.0,
        engine.memory_source.as_str(),
        engine.work.source.as_str()
    )
}

fn write_verdict(text: &mut String, sizing: &Sizing) -> std::fmt::Result {
    let limit = sizing.tightest();
    let (fits, wanted) = (sizing.fits(), u64::from(sizing.users));
    let spare = sizing.machine.cores - sizing.cores;
    if sizing.is_enough() {
        writeln!(
            text,
            "\n{wanted} users fit, with room for {} more and {spare:.1} cores idle.",
            fits - wanted
        )?;
    } else {
        writeln!(text, "\n{wanted} users do not fit: {} do, {} are too many.", fits, wanted - fits)?;
    }
    writeln!(text, "What limits first: {}. To hold more: {}.", limit.what, limit.advice)
}

fn users(limit: &Limit) -> String {
    limit.users.map_or_else(|| "-".to_owned(), |users| users.to_string())
}

fn mib(bytes: u64) -> String {
    if bytes == u64::MAX { "unknown".to_owned() } else { bytes.div_ceil(MIB).to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::sizing::{Engine, Machine, Overhead, Pool, Talk, size};
    use super::*;
    use crate::engine::cost::{Source, WorkCost};
    use crate::pool::memory::{Budget, Bytes};

    fn engine(pool: Pool, slots: usize, threads: usize, work: [f64; 3]) -> Engine {
        let [call_cpu_s, input_cpu_s, unit_cpu_s] = work;
        Engine {
            pool,
            name: "engine".to_owned(),
            key: format!("engines.{}[0]", pool.as_str()),
            slots,
            threads,
            fallback: false,
            memory: Bytes {
                ram: slots as u64 * 20 * MIB,
                vram: if pool == Pool::Llm { 4096 * MIB } else { 0 },
            },
            memory_source: Source::Measured,
            work: WorkCost { call_cpu_s, input_cpu_s, unit_cpu_s, source: Source::Declared },
        }
    }

    fn plan(users: u32, notes: &[&str]) -> Plan {
        let engines = [
            engine(Pool::Stt, 4, 4, [0.01, 0.0, 0.02]),
            engine(Pool::Llm, 8, 1, [0.0, 0.000_02, 0.001]),
            engine(Pool::Tts, 4, 4, [0.012, 0.0, 0.004]),
        ];
        let memory = Budget { ram_bytes: 26_214 * MIB, vram_bytes: 14_745 * MIB };
        let machine = Machine { cores: 16.0, memory, max_sessions: 200 };
        let overhead = Overhead {
            server: Bytes { ram: 24 * MIB, vram: 0 },
            session_bytes: 2 * MIB,
            session_cores: 1.0 / 300.0,
        };
        let notes = notes.iter().map(|note| (*note).to_owned()).collect();
        Plan { sizing: size(users, Talk::default(), &engines, machine, overhead), notes }
    }

    #[test]
    fn a_plan_that_fits_reads_so() {
        insta::assert_snapshot!(render(&plan(30, &["a note"])));
    }

    #[test]
    fn a_plan_that_does_not_fit_says_what_to_change() {
        let text = render(&plan(150, &[]));
        assert!(text.contains("150 users do not fit: 123 do, 27 are too many."), "{text}");
        assert!(
            text.contains("What limits first: llm slots. To hold more: add another [[engines.llm]]"),
            "{text}"
        );
    }
}
