//! How downloads go on, for people: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::megabytes;
use crate::models::{How, Progress};

const DOWNLOAD: &str = "{prefix:40!} {bar:24} {bytes:>10} of {total_bytes:<10} {bytes_per_sec:>12} {eta}";
const UNKNOWN: &str = "{prefix:40!} {spinner} {bytes} {bytes_per_sec}";
const VERIFY: &str = "{msg:40!} {bar:24} {bytes:>10} of {total_bytes:<10}";
/// Parts of a file at which a plain line is printed.
const PLAIN_PARTS: u64 = 4;

/// The files that are being pulled.
pub(super) struct Bars {
    all: MultiProgress,
    files: Mutex<HashMap<String, ProgressBar>>,
    plain: bool,
}

impl Bars {
    pub(super) fn new() -> Self {
        let plain = !std::io::stderr().is_terminal();
        let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self { all: MultiProgress::with_draw_target(target), files: Mutex::default(), plain }
    }

    /// Takes them off the screen.
    pub(super) fn clear(&self) {
        self.all.clear().ok();
    }

    fn with<T>(&self, file: &str, act: impl FnOnce(&ProgressBar) -> T) -> T {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = files.entry(file.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::no_length());
            bar.with_prefix(file.to_owned())
        });
        act(bar)
    }

    /// A line for logs and for terminals alike.
    fn line(&self, text: &str) {
        if self.plain {
            writeln!(std::io::stderr(), "{text}").ok();
        } else {
            self.all.println(text).ok();
        }
    }
}

impl Progress for Bars {
    fn start(&self, file: &str, done: u64, total: Option<u64>) {
        self.with(file, |bar| {
            bar.set_style(style(if total.is_some() { DOWNLOAD } else { UNKNOWN }));
            bar.set_position(done);
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.reset_eta();
        });
        if self.plain {
            let size = total.map_or_else(|| "size unknown".to_owned(), megabytes);
            let from = if done > 0 { format!(", going on at {}", megabytes(done)) } else { String::new() };
            self.line(&format!("{file}: {size}{from}"));
        }
    }

    fn advance(&self, file: &str, bytes: u64) {
        let crossed = self.with(file, |bar| {
            let before = bar.position();
            bar.inc(bytes);
            crossed(before, bar.position(), bar.length()?)
        });
        if let Some(part) = crossed.filter(|_| self.plain) {
            self.line(&format!("{file}: {} %", part * 100 / PLAIN_PARTS));
        }
    }

    fn end(&self, file: &str, how: How) {
        let words = match how {
            How::Kept => "was there",
            How::Linked => "linked from the Hugging Face cache",
            How::Copied => "copied",
            How::Downloaded => "downloaded",
            How::Failed => "not downloaded",
        };
        self.with(file, ProgressBar::finish_and_clear);
        self.line(&format!("{file}: {words}"));
    }

    fn note(&self, text: &str) {
        self.line(text);
    }
}

/// The last part of the file, short of its end, that was reached by going from `before` to `after`.
fn crossed(before: u64, after: u64, total: u64) -> Option<u64> {
    let part = |at: u64| at.saturating_mul(PLAIN_PARTS).checked_div(total).unwrap_or(0);
    (part(after) > part(before) && part(after) < PLAIN_PARTS).then(|| part(after))
}

/// One bar over many files.
pub(super) struct Bytes(ProgressBar);

impl Bytes {
    pub(super) fn new(total: u64) -> Self {
        Self(ProgressBar::new(total).with_style(style(VERIFY)))
    }

    pub(super) fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Runs `print` without the bar in the way.
    pub(super) fn hidden(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are right: the test says so.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_right() {
        for template in [DOWNLOAD, UNKNOWN, VERIFY] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn plain_lines_come_at_quarters() {
        assert_eq!(crossed(0, 24, 100), None);
        assert_eq!(crossed(24, 25, 100), Some(1));
        assert_eq!(crossed(25, 80, 100), Some(3));
        assert_eq!(crossed(80, 100, 100), None);
        assert_eq!(crossed(0, 5, 0), None);
    }
}
