//! What was measured, as rows of a table.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::speaker::Heard;

/// What stands above the rows.
pub(crate) fn head(endpoint: &str, sentences: usize, words: usize) -> Result<String> {
    Ok(format!(
        "Load average before: {}. Each person says {sentences} sentences of {words} words; an endpoint: {endpoint}.\n\
         Latencies in ms, from the words told to their translation: p50 / p95. `told`: translations per person at least \
         and at most;\n`failed` and `late`: sentences without one, by the server's word or after 6 s. `Jain`: 1 where all were told equally many. `saved`: of the texts asked for, those merged with \
         another's or remembered.\n\n\
         | sessions | way | partial | final | partials | finals | failed | late | told | Jain | asked | merged | cached | saved \
         | calls | 429s |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        load_average()?
    ))
}

pub(crate) fn load_average() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// Texts that were to be translated, by where their translation came from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    made: u64,
    merged: u64,
    cached: u64,
}

impl Asked {
    /// Since the process began.
    pub(crate) async fn of(address: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).await?;
        let count = |how: &str| {
            let name = format!("antiphon_translation_requests_total{{how=\"{how}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
        };
        Ok(Self { made: count("made"), merged: count("merged"), cached: count("cached") })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            made: self.made - before.made,
            merged: self.merged - before.merged,
            cached: self.cached - before.cached,
        }
    }

    fn total(self) -> u64 {
        self.made + self.merged + self.cached
    }
}

/// One measurement.
pub(crate) struct Row {
    pub(crate) sessions: usize,
    pub(crate) way: &'static str,
    pub(crate) heard: Vec<Heard>,
    pub(crate) asked: Asked,
    /// Answers that the endpoints gave or began.
    pub(crate) calls: usize,
    pub(crate) refused: usize,
}

impl Row {
    fn shares(&self) -> Vec<usize> {
        self.heard.iter().map(|heard| heard.partials.len() + heard.finals.len()).collect()
    }

    /// Jain's fairness index of what each was told.
    fn fairness(&self) -> f64 {
        let shares: Vec<f64> = self.shares().into_iter().map(|share| share as f64).collect();
        let squares: f64 = shares.iter().map(|share| share * share).sum();
        if squares > 0.0 { shares.iter().sum::<f64>().powi(2) / (shares.len() as f64 * squares) } else { 1.0 }
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let all = |of: fn(&Heard) -> &Vec<Duration>| -> Vec<Duration> {
            self.heard.iter().flat_map(of).copied().collect()
        };
        let (partials, finals) = (all(|heard| &heard.partials), all(|heard| &heard.finals));
        let sum = |of: fn(&Heard) -> usize| self.heard.iter().map(of).sum::<usize>();
        let (failed, late) = (sum(|heard| heard.failed), sum(|heard| heard.late));
        let shares = self.shares();
        let (least, most) = (shares.iter().min().unwrap_or(&0), shares.iter().max().unwrap_or(&0));
        let Asked { merged, cached, .. } = self.asked;
        let saved = (merged + cached) as f64 * 100.0 / self.asked.total().max(1) as f64;
        write!(f, "| {} | {} ", self.sessions, self.way)?;
        write!(f, "| {} | {} ", percentiles(&partials), percentiles(&finals))?;
        write!(f, "| {} | {} | {failed} | {late} ", partials.len(), finals.len())?;
        write!(f, "| {least}–{most} | {:.3} ", self.fairness())?;
        write!(f, "| {} | {merged} | {cached} | {saved:.0} % ", self.asked.total())?;
        write!(f, "| {} | {} |", self.calls, self.refused)
    }
}

/// By nearest rank.
fn percentiles(times: &[Duration]) -> String {
    let mut ms: Vec<u128> = times.iter().map(Duration::as_millis).collect();
    ms.sort_unstable();
    let rank = |percent: usize| ms.get((ms.len() * percent).div_ceil(100).checked_sub(1)?).copied();
    match (rank(50), rank(95)) {
        (Some(p50), Some(p95)) => format!("{p50} / {p95}"),
        _ => "–".to_owned(),
    }
}
