//! What GPUs' memory was when it was last looked at, for whoever shows it.
//!
//! Asking the driver takes a while, and one that hangs never answers: one thread asks, and nobody waits for it.
//! [`GpuThread`] is that thread, [`GpuBoard`] what it told last. Which GPUs are looked at, and how often, is `app`'s.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::machine::{GpuMemory, Gpus};
use super::metrics as names;

/// Questions that wait for the thread. The next one is put when the last one is answered.
const QUESTIONS_CAPACITY: usize = 1;

/// Memory of GPUs, by their numbers.
pub type GpuFigures = BTreeMap<u32, GpuMemory>;

/// Tells the memory of a GPU, `None` where there is none of that number. It may block.
pub type GpuReader = Box<dyn FnMut(u32) -> Option<GpuMemory> + Send>;

/// Asks NVIDIA's library, which the first question opens and which is held open from then on.
pub fn nvml_reader() -> GpuReader {
    let mut gpus = None;
    Box::new(move |number| gpus.get_or_insert_with(Gpus::find).memory_of(number))
}

/// What was told last. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct GpuBoard(Arc<Mutex<GpuFigures>>);

impl GpuBoard {
    /// Memory of one GPU; `None` where nothing is known of it.
    pub fn memory_of(&self, number: u32) -> Option<GpuMemory> {
        self.lock().get(&number).copied()
    }

    /// Of all GPUs of which something is known.
    pub fn figures(&self) -> GpuFigures {
        self.lock().clone()
    }

    /// Takes in what is known now, for the metrics too. What is not known any more is no number there.
    pub fn publish(&self, figures: GpuFigures) {
        let now = series(&figures);
        let before = series(&std::mem::replace(&mut *self.lock(), figures));
        let gone = before.into_keys().filter(|of| !now.contains_key(of));
        let values = gone.map(|of| (of, f64::NAN)).chain(now.iter().map(|(of, bytes)| (*of, *bytes as f64)));
        for ((number, kind), bytes) in values {
            metrics::gauge!(names::GPU_MEMORY_BYTES, "gpu" => number.to_string(), "kind" => kind).set(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, GpuFigures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known, by GPU and kind.
fn series(figures: &GpuFigures) -> BTreeMap<(u32, &'static str), u64> {
    let kinds = |(number, memory): (&u32, &GpuMemory)| {
        let own = memory.own_bytes.map(|bytes| ("own", bytes));
        let always = [("total", memory.total_bytes), ("used", memory.used_bytes)];
        let number = *number;
        always.into_iter().chain(own).map(move |(kind, bytes)| ((number, kind), bytes))
    };
    figures.iter().flat_map(kinds).collect()
}

/// One question, and where its answer goes.
type Question = (Vec<u32>, oneshot::Sender<GpuFigures>);

/// The thread that asks. It ends with its handle, as soon as the driver lets it go; nobody waits for that.
#[derive(Debug)]
pub struct GpuThread {
    questions: SyncSender<Question>,
    /// The answer that is still to come.
    pending: Option<oneshot::Receiver<GpuFigures>>,
}

impl GpuThread {
    /// Starts it.
    pub fn start(mut read: GpuReader) -> std::io::Result<Self> {
        let (questions, asked): (_, Receiver<Question>) = sync_channel(QUESTIONS_CAPACITY);
        let body = move || {
            for (numbers, answer) in asked {
                let figures = numbers.into_iter().filter_map(|number| Some((number, read(number)?)));
                answer.send(figures.collect()).ok(); // at shutdown nobody waits
            }
        };
        std::thread::Builder::new().name("gpu memory".to_owned()).spawn(body)?;
        Ok(Self { questions, pending: None })
    }

    /// Memory of these GPUs. `None` where it was not told within `patience`: nothing else is asked then until it is.
    pub async fn ask(&mut self, numbers: Vec<u32>, patience: Duration) -> Option<GpuFigures> {
        let mut pending = self.pending.take().or_else(|| {
            let (answer, told) = oneshot::channel();
            self.questions.try_send((numbers, answer)).is_ok().then_some(told)
        })?;
        match tokio::time::timeout(patience, &mut pending).await {
            Ok(told) => told.ok(),
            Err(_) => {
                self.pending = Some(pending);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn memory(used_bytes: u64) -> GpuMemory {
        GpuMemory { total_bytes: 16 << 30, used_bytes, own_bytes: None }
    }

    #[tokio::test]
    async fn the_thread_tells_of_the_gpus_that_there_are() {
        let read = |number: u32| (number < 2).then(|| memory(u64::from(number)));
        let mut thread = GpuThread::start(Box::new(read)).expect("a thread");
        for _ in 0..2 {
            let told = thread.ask(vec![0, 1, 2], PATIENCE).await;
            assert_eq!(told, Some(BTreeMap::from([(0, memory(0)), (1, memory(1))])));
        }
    }

    #[tokio::test]
    async fn a_driver_that_hangs_is_asked_again_when_it_has_answered() {
        let (go_on, held) = sync_channel::<()>(1);
        let (begun, begins) = sync_channel(9);
        let read = move |number: u32| {
            begun.send(number).ok()?;
            held.recv().ok()?;
            Some(memory(7))
        };
        let mut thread = GpuThread::start(Box::new(read)).expect("a thread");
        for _ in 0..3 {
            assert_eq!(thread.ask(vec![5], Duration::ZERO).await, None);
        }
        go_on.send(()).expect("it waits");
        assert_eq!(thread.ask(vec![6], PATIENCE).await, Some(BTreeMap::from([(5, memory(7))])));
        go_on.send(()).expect("it waits");
        assert_eq!(thread.ask(vec![6], PATIENCE).await, Some(BTreeMap::from([(6, memory(7))])));
        assert_eq!(begins.try_iter().collect::<Vec<_>>(), [5, 6], "what nobody waited for was not asked");
    }

    #[tokio::test]
    async fn a_reader_that_panics_tells_nothing_and_holds_up_nobody() {
        let mut thread = GpuThread::start(Box::new(|_| panic!("on purpose"))).expect("a thread");
        for _ in 0..3 {
            assert_eq!(thread.ask(vec![0], PATIENCE).await, None);
        }
    }

    #[test]
    fn what_is_not_known_any_more_is_not_shown() {
        let board = GpuBoard::default();
        let shown = board.clone();
        board.publish(BTreeMap::from([(0, memory(1)), (3, memory(2))]));
        assert_eq!((shown.memory_of(0), shown.memory_of(3)), (Some(memory(1)), Some(memory(2))));
        assert_eq!(shown.memory_of(1), None);
        board.publish(BTreeMap::from([(3, memory(4))]));
        assert_eq!((shown.memory_of(0), shown.memory_of(3)), (None, Some(memory(4))));
        board.publish(GpuFigures::new());
        assert!(shown.figures().is_empty());
    }
}
