//! Runs the program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// The most that is read of a phoneme listing: far more than the longest allowed text makes.
const MAX_LISTING: u64 = 1 << 20;

/// The program and how to call it.
#[derive(Clone, Debug)]
pub(in crate::backend) struct Program {
    path: PathBuf,
}

impl Program {
    pub(in crate::backend) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(in crate::backend) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has the voice or language `name`. Blocks; for start-up only.
    pub(in crate::backend) fn knows(&self, name: &str) -> Result<bool, String> {
        let mut command = std::process::Command::new(&self.path);
        command.args(["-q", "-v", name, ""]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().map(|status| status.success()).map_err(|error| error.to_string())
    }

    /// What `--voices` prints. Blocks; for start-up only.
    pub(super) fn list_voices(&self, kind: Option<&str>) -> Result<String, String> {
        let flag = kind.map_or("--voices".to_owned(), |kind| format!("--voices={kind}"));
        let output = std::process::Command::new(&self.path)
            .arg(flag)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("`--voices` ended with {}", output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts to speak `text`; a WAV comes out of the child's standard output.
    pub(super) async fn speak(&self, text: &str, voice: &str, speed: u32) -> std::io::Result<Child> {
        let speed = speed.to_string();
        // -b 1: UTF-8. -z: no pause at the end; the caller knows better whether one belongs there.
        let mut child = self.start(["--stdin", "--stdout", "-z", "-b", "1", "-v", voice, "-s", &speed])?;
        feed(&mut child, text).await?;
        Ok(child)
    }

    /// Phonemes of each of `words`, in IPA with `_` between phonemes; `None` where they cannot be told apart.
    pub(super) async fn sound_out(
        &self,
        words: &[String],
        voice: &str,
    ) -> std::io::Result<Option<Vec<String>>> {
        // One word a line: espeak-ng speaks, and lists, line by line.
        let lines = self.list(words, voice, Some("--sep=_")).await?;
        Ok((lines.len() == words.len()).then_some(lines))
    }

    /// Phonemes of each of `texts` in IPA, a line for each clause that espeak-ng sees in it.
    pub(in crate::backend) async fn list(
        &self,
        texts: &[String],
        voice: &str,
        option: Option<&str>,
    ) -> std::io::Result<Vec<String>> {
        let mut child = self.start(["-q", "--ipa", "-b", "1", "-v", voice].into_iter().chain(option))?;
        let Some(stdout) = child.stdout.take() else { return Ok(Vec::new()) };
        let lines = texts.iter().map(|text| format!("{text}\n")).collect::<String>();
        let mut listing = Vec::new();
        let mut stdout = stdout.take(MAX_LISTING);
        let (fed, read) = tokio::join!(feed(&mut child, &lines), stdout.read_to_end(&mut listing));
        fed?;
        read?;
        child.wait().await?;
        Ok(String::from_utf8_lossy(&listing).lines().map(str::to_owned).collect())
    }

    fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> std::io::Result<Child> {
        Command::new(&self.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
    }
}

async fn feed(child: &mut Child, text: &str) -> std::io::Result<()> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    stdin.write_all(text.as_bytes()).await?;
    stdin.shutdown().await
}
