//! One file over HTTP, from where an earlier try stopped, as often as needed.

use reqwest::{Client, StatusCode};
use std::path::PathBuf;
use std::time::Duration;

use super::super::store::StoreError;
use super::error::{FetchError, classify};
use super::hub::Hub;
use super::part::{Part, Version};
use super::request::{Answer, Offset, Trouble, get};
use super::retries::Retries;
use super::space::{self, Free};
use super::{How, Progress};

/// A file to download.
#[derive(Debug)]
pub(super) struct Job {
    /// What people call it: `NAME/path`.
    pub(super) label: String,
    pub(super) url: String,
    /// Where people read about it.
    pub(super) page: Option<String>,
    /// Its size, where the catalogue knows it.
    pub(super) bytes: Option<u64>,
    /// Its checksum is known: bytes of an unknown version may be kept, for a wrong one is found.
    pub(super) is_checked: bool,
    /// Where its bytes are gathered.
    pub(super) part: PathBuf,
}

/// How files are downloaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Downloader<'a> {
    pub(super) client: &'a Client,
    pub(super) hub: &'a Hub,
    pub(super) retries: Retries,
    pub(super) free: Free,
}

impl Downloader<'_> {
    /// Downloads the whole file, or says why that cannot be.
    pub(super) async fn download(&self, job: &Job, progress: &dyn Progress) -> Result<Part, FetchError> {
        let mut part = Part::open(&job.part)?;
        progress.start(&job.label, part.length(), part.version().total.or(job.bytes));
        let mut pauses = self.retries.pauses();
        let mut connects = self.retries.connects;
        loop {
            let before = part.length();
            let trouble = match self.attempt(job, &mut part, progress).await {
                Ok(()) => return Ok(part),
                Err(trouble) => trouble,
            };
            if part.length() > before {
                (pauses, connects) = (self.retries.pauses(), self.retries.connects);
            }
            let (error, asked) = match trouble {
                Trouble::Lasting(error) => return Err(error),
                Trouble::Passing(error, asked) => (error, asked.map(Duration::from_secs)),
            };
            connects -= usize::from(matches!(error, FetchError::Connect { .. }));
            let pause = pauses.next().filter(|_| connects > 0).map(|own| asked.unwrap_or(own));
            let Some(pause) = pause.filter(|pause| *pause <= self.retries.longest) else {
                progress.end(&job.label, How::Failed);
                return Err(error);
            };
            let seconds = pause.as_secs_f64().ceil();
            progress.note(&format!("{}; trying again in {seconds:.0} s", error.what()));
            tokio::time::sleep(pause).await;
        }
    }

    /// One try: asks for what is missing and adds what comes.
    async fn attempt(&self, job: &Job, part: &mut Part, progress: &dyn Progress) -> Result<(), Trouble> {
        let have = part.length();
        if have > 0 && part.version().total == Some(have) {
            return Ok(());
        }
        let is_same_version = part.version().tag.is_some() || job.is_checked;
        let from = if is_same_version {
            Offset { byte: have, tag: part.version().tag.clone() }
        } else {
            Offset::default()
        };
        let answer = get((self.client, self.hub), &job.url, job.page.as_deref(), &from).await?;
        self.place(job, part, &answer, progress)?;
        self.receive(job, part, answer, progress).await
    }

    /// Makes the part fit to the answer: its bytes follow, or it begins anew.
    fn place(
        &self,
        job: &Job,
        part: &mut Part,
        answer: &Answer,
        progress: &dyn Progress,
    ) -> Result<(), Trouble> {
        let status = answer.response.status();
        if status == StatusCode::PARTIAL_CONTENT {
            let follows = answer.range().is_some_and(|(first, _)| first == part.length());
            let linked = |version: &Version| version.linked_tag.clone();
            let changed =
                matches!((linked(part.version()), &answer.linked_tag), (Some(old), Some(new)) if old != *new);
            if follows && !changed {
                return Ok(());
            }
        }
        let total = (status == StatusCode::OK).then(|| answer.length()).flatten();
        let version = Version { tag: answer.tag(), linked_tag: answer.linked_tag.clone(), total };
        part.restart(version).map_err(|error| self.stored(job, error))?;
        progress.start(&job.label, 0, total.or(job.bytes));
        if status == StatusCode::OK {
            return Ok(());
        }
        // A part of a file that changed, or nothing beyond what we have: the next try asks for all of it.
        let url = job.url.clone();
        Err(Trouble::Passing(
            FetchError::Broken { url, reason: "the file changed at its source".to_owned() },
            Some(0),
        ))
    }

    /// Adds what comes until all is there.
    async fn receive(
        &self,
        job: &Job,
        part: &mut Part,
        mut answer: Answer,
        progress: &dyn Progress,
    ) -> Result<(), Trouble> {
        space::check(self.free, &job.part, answer.length().unwrap_or(0)).map_err(Trouble::Lasting)?;
        let total = part.version().total.or_else(|| answer.range().and_then(|(_, whole)| whole));
        loop {
            let chunk = answer.response.chunk().await;
            let chunk = chunk.map_err(|error| Trouble::Passing(classify(&job.url, &error), None))?;
            let Some(chunk) = chunk else { break };
            part.append(&chunk).map_err(|error| self.stored(job, error))?;
            progress.advance(&job.label, chunk.len() as u64);
        }
        match total {
            Some(total) if part.length() < total => {
                let (url, length) = (job.url.clone(), part.length());
                let reason = format!("it ended after {length} of {total} bytes");
                Err(Trouble::Passing(FetchError::Broken { url, reason }, None))
            }
            _ => Ok(()),
        }
    }

    /// What it means that a part cannot be written.
    fn stored(&self, job: &Job, error: StoreError) -> Trouble {
        if !error.is_full() {
            return Trouble::Lasting(error.into());
        }
        let free = (self.free)(&job.part).unwrap_or(0);
        let needed = job.bytes.unwrap_or(free + 1);
        let dir = job.part.parent().unwrap_or(&job.part).to_owned();
        Trouble::Lasting(FetchError::DiskFull { dir, needed, free })
    }
}
