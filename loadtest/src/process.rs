//! Memory and CPU time of the server, from `/proc`.

use std::fs::read_to_string;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// Ticks a second in `/proc/PID/stat`: 100 in every Linux user space, whatever the kernel's own clock.
const TICKS: f64 = 100.0;

/// Memory and CPU time at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) rss_mib: f64,
    pub(crate) cpu_s: f64,
}

/// What a process used over the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    pub(crate) pid: u32,
    pub(crate) start_rss_mib: f64,
    pub(crate) peak_rss_mib: f64,
    pub(crate) end_rss_mib: f64,
    pub(crate) cpu_s: f64,
    /// Cores busy on the average, and in the busiest second.
    pub(crate) mean_cores: f64,
    pub(crate) peak_cores: f64,
}

/// Watches one process.
#[derive(Debug)]
pub(crate) struct Watch {
    usage: Usage,
    first: (Instant, Sample),
    latest: (Instant, Sample),
}

impl Watch {
    /// Begins to watch; `None` if there is no such process.
    pub(crate) fn new(pid: u32) -> Option<Self> {
        let sample = sample(pid)?;
        let now = Instant::now();
        let rss = sample.rss_mib;
        let usage =
            Usage { pid, start_rss_mib: rss, peak_rss_mib: rss, end_rss_mib: rss, ..Usage::default() };
        Some(Self { usage, first: (now, sample), latest: (now, sample) })
    }

    /// Looks again; call it every second or so.
    pub(crate) fn look(&mut self) {
        if let Some(sample) = sample(self.usage.pid) {
            self.note(Instant::now(), sample);
        }
    }

    fn note(&mut self, now: Instant, sample: Sample) {
        let cores = |since: (Instant, Sample)| {
            let seconds = (now - since.0).max(Duration::from_millis(1)).as_secs_f64();
            (sample.cpu_s - since.1.cpu_s) / seconds
        };
        let usage = &mut self.usage;
        usage.peak_rss_mib = usage.peak_rss_mib.max(sample.rss_mib);
        usage.end_rss_mib = sample.rss_mib;
        usage.cpu_s = sample.cpu_s - self.first.1.cpu_s;
        usage.mean_cores = cores(self.first);
        // The clock of CPU time has 10 ms steps: a shorter look says nothing.
        if now - self.latest.0 >= Duration::from_millis(500) {
            usage.peak_cores = usage.peak_cores.max(cores(self.latest));
            self.latest = (now, sample);
        }
    }

    /// What was used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }
}

fn sample(pid: u32) -> Option<Sample> {
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(Sample { rss_mib: rss_mib(&status)?, cpu_s: cpu_s(&stat)? })
}

fn rss_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1_024.0)
}

/// User and system time; the name in brackets may hold anything, so fields are counted behind it.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// The process that listens at `url`'s port, if that is on this machine and may be looked at.
pub(crate) fn find_listener(url: &str) -> Option<u32> {
    let authority = url.strip_prefix("ws://")?.split(['/', '?']).next()?;
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let host = host.trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let port: u16 = port.parse().ok()?;
    if !local {
        return None;
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode = tables.iter().find_map(|table| listening_inode(&read_to_string(table).ok()?, port))?;
    processes().find(|pid| holds_socket(*pid, &inode))
}

/// The socket that listens on `port`, from a table like `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTEN;
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = Path::new("/proc").read_dir().into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holds_socket(pid: u32, inode: &str) -> bool {
    let target = format!("socket:[{inode}]");
    let files =
        Path::new("/proc").join(pid.to_string()).join("fd").read_dir().into_iter().flatten().flatten();
    files.filter_map(|file| file.path().read_link().ok()).any(|link| link.as_os_str() == target.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        assert_eq!(rss_mib("Name:\tx\nVmRSS:\t  2048 kB\n"), Some(2.0));
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 12 0 0 0 150 50 0 0 20 0 1 0 99 1 2";
        assert_eq!(cpu_s(stat), Some(2.0));
        assert!(sample(std::process::id()).is_some_and(|own| own.rss_mib > 1.0));
    }

    #[test]
    fn the_listener_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/v1/realtime", listener.local_addr().unwrap());
        assert_eq!(find_listener(&url), Some(std::process::id()));
        assert_eq!(find_listener("ws://192.0.2.1:80/v1/realtime"), None);
    }

    #[test]
    fn usage_is_start_peak_end_and_cores() {
        let mut watch = Watch::new(std::process::id()).unwrap();
        let (start, rss) = (watch.first.0, watch.usage.start_rss_mib);
        let cpu = watch.first.1.cpu_s;
        watch.note(start + Duration::from_secs(1), Sample { rss_mib: rss + 9.0, cpu_s: cpu + 1.5 });
        watch.note(start + Duration::from_secs(2), Sample { rss_mib: rss + 1.0, cpu_s: cpu + 2.0 });
        let usage = watch.usage();
        assert_eq!((usage.peak_rss_mib, usage.end_rss_mib), (rss + 9.0, rss + 1.0));
        assert!((usage.mean_cores - 1.0).abs() < 1e-9 && (usage.peak_cores - 1.5).abs() < 1e-9);
    }
}
