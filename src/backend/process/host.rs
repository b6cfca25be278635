//! Starts an engine's process, serves it, and sees to its end: the side of the server.
//!
//! Four threads. One starts the process, reads what it says and waits for its end; it lives as long as the process
//! does, because Linux ends a child with the very *thread* that started it. One writes, and looks at the calls'
//! flags meanwhile. One takes the steps of the process to the compute gate, where it may block. One passes its log on.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::link::{Link, Outgoing};
use super::wire::{Description, FromEngine, Load, ToEngine};
use super::{frames, relay};
use crate::backend::LoadError;
use crate::engine::compute::ComputeGate;
use crate::engine::{Device, EngineError};

/// How long a model may take to load: gigabytes from a slow disk do within it.
const LOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a process may take to end when it is asked to; the server waits 5 s for all engines.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How often flags are looked at while calls run; engines promise 50 ms.
const FLAG_POLL: Duration = Duration::from_millis(10);
/// Steps of one process that may wait for the device: one for each thread that computes.
const STEPS_CAPACITY: usize = 64;

/// What a process is started with.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) program: PathBuf,
    /// Environment variables that it does not get.
    pub(super) secrets: Vec<String>,
    pub(super) load: Load,
    pub(super) gate: Arc<dyn ComputeGate>,
}

/// A running process. Dropping it ends the process and waits for that, a few seconds at most.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) link: Arc<Link>,
    /// Closes when the process has ended.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts the process and blocks until its engine is loaded.
    pub(super) fn start(plan: Plan) -> Result<(Self, Description), LoadError> {
        let (link, outgoing) = Link::new(&plan.name);
        let link = Arc::new(link);
        let (told, hear) = crossbeam_channel::bounded(1);
        let (alive, ended) = crossbeam_channel::bounded(0);
        let name = plan.name.clone();
        let at_work = Arc::clone(&link);
        let thread = thread::Builder::new().name(format!("{name}-process")).spawn(move || {
            let _alive: Sender<()> = alive;
            Work { link: at_work, told }.run(&plan, &outgoing);
        });
        let failed = |reason: String| LoadError::Start { engine: name.clone(), reason };
        let thread = thread.map_err(|error| failed(format!("no thread: {error}")))?;
        let host = Self { link, ended, thread: Some(thread) };
        let late =
            |_| Err(failed(format!("its process did not load it within {} s", LOAD_TIMEOUT.as_secs())));
        let description = hear.recv_timeout(LOAD_TIMEOUT).unwrap_or_else(late)?;
        Ok((host, description))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.link.close();
        if self.ended.recv_timeout(STOP_GRACE) == Err(RecvTimeoutError::Timeout) {
            let (engine, pid) = (&self.link.engine, self.link.pid());
            tracing::warn!(engine, pid, "an engine's process did not end when asked; it is killed");
            self.link.kill();
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(engine = self.link.engine, "the thread of an engine's process ended by a panic");
        }
    }
}

/// How loading went.
type Loaded = Result<Description, LoadError>;

/// The thread of a process.
struct Work {
    link: Arc<Link>,
    told: Sender<Loaded>,
}

impl Work {
    fn run(&self, plan: &Plan, outgoing: &Receiver<Outgoing>) {
        let (stdout, stderr) = match self.spawn(plan) {
            Ok(pipes) => pipes,
            Err(error) => {
                self.link.end("its process never started".to_owned());
                self.told.send(Err(error)).ok();
                return;
            }
        };
        let (steps, waiting) = crossbeam_channel::bounded(STEPS_CAPACITY);
        let link = &self.link;
        let attended = attend(link, Arc::clone(&plan.gate), waiting);
        thread::scope(|scope| {
            let named = |part: &str| thread::Builder::new().name(format!("{}-{part}", plan.name));
            let writer = named("writer").spawn_scoped(scope, || write(link, &plan.load, outgoing));
            let log = named("log").spawn_scoped(scope, || relay::pass_on(&plan.name, stderr));
            let broken = match (attended, writer, log) {
                (Ok(()), Ok(_), Ok(_)) => self.read(stdout, &steps).err(),
                (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                    Some(format!("no thread: {error}"))
                }
            };
            self.bury(broken);
        });
    }

    fn spawn(&self, plan: &Plan) -> Result<(ChildStdout, ChildStderr), LoadError> {
        let mut command = Command::new(&plan.program);
        for variable in &plan.secrets {
            command.env_remove(variable);
        }
        let spawned = command
            .args(["engine", &plan.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let unusable = |reason: String| LoadError::Dependency {
            engine: plan.name.clone(),
            what: plan.program.display().to_string(),
            reason,
            next_step: "Set engines.program to the antiphon program, or leave it out".to_owned(),
        };
        let mut child = spawned.map_err(|error| unusable(error.to_string()))?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        self.link.attach(child);
        pipes.ok_or_else(|| unusable("it has no pipes".to_owned()))
    }

    /// Reads until the pipe ends; an error says why it is not worth reading on.
    fn read(&self, stdout: ChildStdout, steps: &Sender<(u64, Device, bool)>) -> Result<(), String> {
        let mut stdout = BufReader::new(stdout);
        while let Some(message) = frames::read(&mut stdout).map_err(|error| error.to_string())? {
            self.take(message, steps)?;
        }
        Ok(())
    }

    fn take(&self, message: FromEngine, steps: &Sender<(u64, Device, bool)>) -> Result<(), String> {
        let calls = &self.link.calls;
        match message {
            FromEngine::Loaded(description) => drop(self.told.try_send(Ok(description))),
            FromEngine::Refused(error) => {
                self.link.close(); // it ends now, as it should
                drop(self.told.try_send(Err(error)));
            }
            FromEngine::Output(id, output) => {
                calls.output(id, output).map_err(|_| "it sent more than was asked for".to_owned())?;
            }
            FromEngine::Failed(id, error) => calls.over(id, Some(error)),
            FromEngine::Over(id) => calls.over(id, None),
            FromEngine::LetGo(id) => calls.let_go(id),
            FromEngine::Enter(step, device, urgent) => {
                steps
                    .try_send((step, device, urgent))
                    .map_err(|_| "too many of its steps wait".to_owned())?;
            }
            FromEngine::Leave(step) => self.link.leave(step),
        }
        Ok(())
    }

    /// Sees to the end of the process and tells everybody.
    fn bury(&self, broken: Option<String>) {
        let (link, pid) = (&self.link, self.link.pid());
        if broken.is_some() {
            link.kill();
        }
        let status =
            link.reap().map_or_else(|| "it is not known how".to_owned(), |status| status.to_string());
        let why = broken.map(|why| format!(" after {why}")).unwrap_or_default();
        let reason = format!("its process {pid} ended ({status}){why}");
        if link.is_closed() {
            tracing::debug!(engine = link.engine, pid, status, "an engine's process has ended");
        } else {
            tracing::error!(engine = link.engine, pid, status, why, "an engine's process has died");
        }
        link.end(reason.clone());
        // Heard only where it died while it loaded.
        self.told.try_send(Err(LoadError::Start { engine: link.engine.clone(), reason })).ok();
    }
}

/// Writes what is queued and what flags say, until the link is closed.
fn write(link: &Link, load: &Load, outgoing: &Receiver<Outgoing>) {
    // What breaks the pipe is seen by the thread that reads.
    let mut goes_on = link.write(&ToEngine::Load(load.clone()));
    while goes_on {
        let next = if link.calls.is_empty() {
            outgoing.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            outgoing.recv_timeout(FLAG_POLL)
        };
        goes_on = match next {
            Ok(Outgoing::Message(message)) => link.write(&message),
            Ok(Outgoing::Look) | Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        };
        goes_on = goes_on && link.calls.notices().iter().all(|notice| link.write(notice));
    }
    link.hang_up();
}

/// Takes steps to the gate, in their order, on a thread that nobody waits for: a gate may be shut for long.
fn attend(
    link: &Arc<Link>,
    gate: Arc<dyn ComputeGate>,
    steps: Receiver<(u64, Device, bool)>,
) -> Result<(), std::io::Error> {
    let link = Arc::clone(link);
    let thread = thread::Builder::new().name(format!("{}-gate", link.engine));
    let attending = thread.spawn(move || {
        for (step, device, urgent) in steps {
            let permit = gate.enter(device, urgent);
            if !(link.permit(step, permit) && link.write(&ToEngine::Permit(step))) {
                return;
            }
        }
    });
    attending.map(drop)
}

/// The error of a call to a process that answered with something else.
pub(super) fn off_topic(engine: &str) -> EngineError {
    let reason = "its process answered with something that was not asked for".to_owned();
    EngineError::Failed { engine: engine.to_owned(), reason }
}

/// The program that is running, whatever stands at its path by now; `wanted` where it names one.
pub(super) fn program(wanted: &Path) -> PathBuf {
    const OURSELVES: &str = "/proc/self/exe";
    if !wanted.as_os_str().is_empty() {
        return wanted.to_owned();
    }
    match Path::new(OURSELVES).exists() {
        true => OURSELVES.into(),
        false => std::env::current_exe().unwrap_or_else(|_| "antiphon".into()),
    }
}
