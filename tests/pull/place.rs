//! A store in a folder, models of the stand-in hub, and who hears how their pulls go.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use antiphon::models::{Catalogue, FetchError, Fetcher, How, Hub, Model, Progress, Pulled, Retries, Store};

use crate::hub::StandIn;

/// A folder with a store in it.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path().join("models"));
        Self { folder, store }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.store.folder("ears").join("a.bin")
    }

    /// What is left of downloads.
    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.store.dir().join(".parts/ears")).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "part"))
            .collect()
    }
}

/// Writes down what it hears.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<String>>);

impl Heard {
    pub(crate) fn text(&self) -> String {
        self.0.lock().expect("whole").join("\n")
    }

    fn say(&self, text: String) {
        self.0.lock().expect("whole").push(text);
    }
}

impl Progress for Heard {
    fn start(&self, file: &str, done: u64, total: Option<u64>) {
        self.say(format!("start {file} {done} {total:?}"));
    }
    fn advance(&self, _: &str, _: u64) {}
    fn end(&self, file: &str, how: How) {
        self.say(format!("end {file} {how:?}"));
    }
    fn note(&self, text: &str) {
        self.say(format!("note {text}"));
    }
}

pub(crate) fn env(hub: &StandIn, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut env = vec![("HF_ENDPOINT".to_owned(), hub.endpoint())];
    env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    env
}

pub(crate) fn fetcher_with(hub: &StandIn, more: &[(&str, &str)], times: usize) -> Fetcher {
    let retries = Retries { times, first: Duration::from_millis(1), ..Retries::default() };
    Fetcher::new(Hub::of_env(&env(hub, more)).expect("valid"), retries).expect("a client")
}

pub(crate) fn fetcher(hub: &StandIn) -> Fetcher {
    fetcher_with(hub, &[("HF_TOKEN", "hf_secret")], 3)
}

/// A model of one file; `facts` are its size and checksum, as far as they are known.
pub(crate) fn ears(facts: &str) -> Model {
    let text = format!(
        "[[model]]\nname = \"ears\"\nkind = \"stt\"\nabout = \"\"\nlanguages = [\"en\"]\nlicence = \"MIT\"\n\
         source = {{ hub = \"org/ears\", revision = \"abc123\" }}\nmain = \"a.bin\"\n\
         files = [{{ path = \"a.bin\"{facts} }}]\nengine = {{ kind = \"whisper\" }}\n"
    );
    parse(&text).models.remove(0)
}

pub(crate) fn parse(text: &str) -> Catalogue {
    Catalogue::parse("test", text, &Catalogue::default()).expect("valid")
}

/// `bytes` of changing content.
pub(crate) fn content(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|at| (at / 7) as u8 ^ (at / 1000) as u8 ^ seed).collect()
}

pub(crate) async fn pull(fetcher: &Fetcher, place: &Place, model: &Model) -> Result<Pulled, FetchError> {
    fetcher.pull(&place.store, model, &Heard::default()).await
}
