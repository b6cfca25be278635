//! The process of an engine: loads it, calls it, tells what it says. Everything here runs in the child.
//!
//! It ends when its standard input does, which the server closes on purpose and the system when the server dies.
//! Ctrl-C in a terminal and a service manager's SIGTERM reach it too; those are the server's to follow.

mod call;
mod gate;
mod voice;

use std::io::{self, BufReader, Stdin};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::call::Running;
use self::gate::PipeGate;
use self::voice::Voice;
use super::frames;
use super::wire::{Description, FromEngine, Load, ToEngine};
use super::{AnyEngine, PlacedConfig};
use crate::backend::LoadError;
use crate::backend::catalog::{self, Resources};
use crate::runtime::Runtime;

/// Messages of the server that wait for the loop that follows them.
const COMMANDS_CAPACITY: usize = 64;
/// How long calls and the engine may take to end; the server gives twice as long.
const END_GRACE: Duration = Duration::from_secs(1);

/// Is the process of an engine: speaks with the server over standard input and output until it hangs up.
pub fn serve() -> io::Result<()> {
    // Before anything else can print: what native code writes to standard output goes to the log.
    let voice = Voice::claim_stdout()?;
    let workers = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _deaf = workers.block_on(async { defy_signals() })?;
    // Works while the thread of the server lives that started this; the end of the input covers the rest.
    set_pdeathsig(Signal::SIGKILL)?;
    let mut input = BufReader::new(io::stdin());
    let Some(ToEngine::Load(load)) = frames::read(&mut input)? else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is for a server to start, not for people",
        ));
    };
    let gate = Arc::new(PipeGate::new(voice.clone()));
    let (name, engine) = match build(&load, Arc::clone(&gate)) {
        Ok(built) => built,
        Err(error) => {
            voice.say(&FromEngine::Refused(error));
            return Ok(());
        }
    };
    voice.say(&FromEngine::Loaded(describe(&engine)));
    let (sender, commands) = mpsc::channel(COMMANDS_CAPACITY);
    let hearing = thread::Builder::new().name("server".to_owned());
    hearing.spawn(move || hear(input, &gate, &sender))?;
    workers.block_on(follow((name, engine.clone()), commands, voice));
    workers.shutdown_background();
    end(engine);
    Ok(())
}

/// Signals that are meant for the server; this process leaves when its input ends.
fn defy_signals() -> io::Result<[tokio::signal::unix::Signal; 3]> {
    Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?])
}

/// The engine and its name.
fn build(load: &Load, gate: Arc<PipeGate>) -> Result<(Arc<str>, AnyEngine), LoadError> {
    let unusable = |reason: String| LoadError::Dependency {
        engine: "engines.program".to_owned(),
        what: std::env::current_exe().unwrap_or_default().display().to_string(),
        reason,
        next_step: "Restart the server, or set engines.program to a program of its version".to_owned(),
    };
    if load.version != super::version() {
        return Err(unusable(format!("it is version {}, the server {}", super::version(), load.version)));
    }
    let config: PlacedConfig =
        serde_json::from_str(&load.engine).map_err(|error| unusable(error.to_string()))?;
    let engine = catalog::load_here(&config, &Resources::here(gate, load.onnxruntime.clone()))?;
    Ok((config.name().into(), engine))
}

fn describe(engine: &AnyEngine) -> Description {
    match engine {
        AnyEngine::Stt(engine) => {
            let (languages, device) = (engine.languages(), engine.device());
            Description { languages, voices: Vec::new(), word_times: engine.tells_word_times(), device }
        }
        AnyEngine::Llm(engine) => Description { device: engine.device(), ..Description::default() },
        AnyEngine::Tts(engine) => {
            let (languages, voices) = (engine.languages(), engine.voices());
            Description { languages, voices, word_times: false, device: engine.device() }
        }
    }
}

/// Reads what the server says until it hangs up. Permits go to who waits for them, past all else.
fn hear(mut input: BufReader<Stdin>, gate: &PipeGate, commands: &mpsc::Sender<ToEngine>) {
    loop {
        match frames::read(&mut input) {
            Ok(Some(ToEngine::Permit(step))) => gate.permit(step),
            Ok(Some(command)) => {
                if commands.blocking_send(command).is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the server said something that this program does not understand");
                break;
            }
        }
    }
    gate.open();
}

/// Follows the server's commands until there are no more.
async fn follow((name, engine): (Arc<str>, AnyEngine), mut commands: mpsc::Receiver<ToEngine>, voice: Voice) {
    let (runtime, running) = (Runtime::new(), Running::new(name));
    while let Some(command) = commands.recv().await {
        match command {
            ToEngine::Call(id, request) => {
                let (place, stream) = running.begin((id, request), &engine, &voice);
                drop(runtime.spawn("call", call::run(place, stream)));
            }
            ToEngine::Cancel(id) => running.cancel(id),
            ToEngine::Relax(id) => running.relax(id),
            ToEngine::Taken(id, count) => running.taken(id, count),
            ToEngine::Load(_) | ToEngine::Permit(_) => {}
        }
    }
    running.cancel_all();
    if let Err(error) = runtime.drain(END_GRACE).await {
        tracing::debug!(%error, "calls did not end with the server");
    }
}

/// Lets the engine join its threads, but not for ever: one that is caught in native code ends with the process.
fn end(engine: AnyEngine) {
    let (ended, has_ended) = crossbeam_channel::bounded::<()>(0);
    let farewell = thread::Builder::new().name("engine's end".to_owned()).spawn(move || {
        drop(engine);
        drop(ended);
    });
    if farewell.is_ok() {
        has_ended.recv_timeout(END_GRACE).ok();
    }
}
