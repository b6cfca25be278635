//! Runs the program.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// The most that is read of a phoneme listing: far more than the longest allowed text makes.
const MAX_LISTING: u64 = 1 << 20;

/// The program and how to call it.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
}

impl Program {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
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
        let mut child = self.start(&["--stdin", "--stdout", "-z", "-b", "1", "-v", voice, "-s", &speed])?;
        feed(&mut child, text).await?;
        Ok(child)
    }

    /// Phonemes of each of `words`, in IPA with `_` between phonemes; `None` where they cannot be told apart.
    pub(super) async fn sound_out(
        &self,
        words: &[String],
        voice: &str,
    ) -> std::io::Result<Option<Vec<String>>> {
        let mut child = self.start(&["-q", "--ipa", "--sep=_", "-b", "1", "-v", voice])?;
        let Some(stdout) = child.stdout.take() else { return Ok(None) };
        // One word a line: espeak-ng speaks, and lists, line by line.
        let lines = words.iter().map(|word| format!("{word}\n")).collect::<String>();
        let mut listing = Vec::new();
        let mut stdout = stdout.take(MAX_LISTING);
        let (fed, read) = tokio::join!(feed(&mut child, &lines), stdout.read_to_end(&mut listing));
        fed?;
        read?;
        child.wait().await?;
        let listing = String::from_utf8_lossy(&listing);
        let lines: Vec<String> = listing.lines().map(str::to_owned).collect();
        Ok((lines.len() == words.len()).then_some(lines))
    }

    fn start<A: AsRef<OsStr>>(&self, arguments: &[A]) -> std::io::Result<Child> {
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
