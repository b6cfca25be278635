//! What the operating system says about this process, read from `/proc` when somebody asks. The names are the
//! ones that every Prometheus client library uses.

use std::fmt::Write;
use std::fs;

use serde::Serialize;

/// Clock ticks a second in `/proc/self/stat`. Linux fixes it at 100 for what user space sees (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures of one process; `None` where the system does not tell.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// User and system CPU time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
}

/// Lines in Prometheus' text format; figures that the system does not tell are left out.
pub(super) fn render() -> String {
    Usage::read().render()
}

impl Usage {
    /// The figures of this process, now.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Self { open_files, ..Self::parse(&stat, &status) }
    }

    fn parse(stat: &str, status: &str) -> Self {
        // Fields 14 and 15 are user and system time. The name in field 2 may hold blanks and brackets.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: Vec<f64> =
            after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Self {
            cpu_seconds: (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / TICKS_PER_SECOND),
            resident_bytes: field("VmRSS:").map(|kibibytes| kibibytes * 1024),
            threads: field("Threads:"),
            open_files: None,
        }
    }

    fn render(&self) -> String {
        let figures = [
            ("process_cpu_seconds_total", "counter", "User and system CPU time", self.cpu_seconds),
            (
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory",
                self.resident_bytes.map(|n| n as f64),
            ),
            ("process_threads", "gauge", "Threads", self.threads.map(|n| n as f64)),
            ("process_open_fds", "gauge", "Open file descriptors", self.open_files.map(|n| n as f64)),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in figures {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_by_field() {
        let stat = "42 (an (odd) name) S 1 42 42 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 7 0 99 1 2";
        let status = "Name:\tantiphon\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        let usage = Usage::parse(stat, status);
        assert_eq!(
            usage,
            Usage {
                cpu_seconds: Some(2.0),
                resident_bytes: Some(2048 * 1024),
                threads: Some(7),
                open_files: None
            }
        );
        let text = usage.render();
        assert!(text.contains("\nprocess_cpu_seconds_total 2\n"), "{text}");
        assert!(!text.contains("process_open_fds"), "{text}");
    }

    #[test]
    fn a_system_without_proc_has_no_figures() {
        assert_eq!(Usage::parse("", "").render(), "");
    }
}
