//! What this machine has and what this process takes of it: cores, RAM, GPU memory, CPU time.
//!
//! Read from `/proc`, the control group and NVIDIA's library (NVML), which is loaded at run time: a machine
//! without it has no GPU, which is no error. Figures that the system does not tell are `None`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use serde::Serialize;

/// Where control groups are mounted.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// RAM that this process may take: the machine's, or what its control group allows if that is less.
pub fn ram_bytes() -> Option<u64> {
    let machine = kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    Some(cgroup_limit(Path::new(CGROUP_ROOT)).map_or(machine, |limit| limit.min(machine)))
}

/// RAM that this process holds now.
pub fn resident_bytes() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// RAM that another process holds now; `None` where there is none of that number.
pub fn resident_bytes_of(pid: u32) -> Option<u64> {
    kibibytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

/// Cores that this process may compute on.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// CPU time of this process and of the children that it has waited for.
pub fn cpu_time() -> Duration {
    let spent = |who| {
        getrusage(who)
            .map_or(Duration::ZERO, |usage| duration(usage.user_time()) + duration(usage.system_time()))
    };
    spent(UsageWho::RUSAGE_SELF) + spent(UsageWho::RUSAGE_CHILDREN)
}

/// Memory of NVIDIA's GPUs, of one or of all together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct GpuMemory {
    /// Bytes there are.
    pub total_bytes: u64,
    /// Bytes that some program holds.
    pub used_bytes: u64,
    /// Bytes that this process and its children hold; `None` where that is not told, as in most containers.
    pub own_bytes: Option<u64>,
}

/// The GPUs' library, held open while there is something to ask.
#[derive(Debug)]
pub struct Gpus(Option<Nvml>);

impl Gpus {
    /// Looks for NVML. Without it, or without a GPU, nothing is found.
    pub fn find() -> Self {
        Self::find_in(None)
    }

    fn find_in(library: Option<&Path>) -> Self {
        let found = match library {
            None => Nvml::init(),
            Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        };
        Self(found.inspect_err(|error| tracing::debug!(%error, "no GPU is seen")).ok())
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.as_ref().and_then(|nvml| nvml.device_count().ok()).unwrap_or_default()
    }

    /// Memory of all GPUs; `None` where there is none.
    pub fn memory(&self) -> Option<GpuMemory> {
        let each: Vec<GpuMemory> = (0..self.count()).filter_map(|number| self.memory_of(number)).collect();
        let (first, others) = each.split_first()?;
        Some(others.iter().fold(*first, |sum, memory| GpuMemory {
            total_bytes: sum.total_bytes.saturating_add(memory.total_bytes),
            used_bytes: sum.used_bytes.saturating_add(memory.used_bytes),
            own_bytes: sum.own_bytes.zip(memory.own_bytes).map(|(sum, own)| sum.saturating_add(own)),
        }))
    }

    /// Memory of one GPU; `None` where there is none of that number.
    pub fn memory_of(&self, number: u32) -> Option<GpuMemory> {
        let device = self.0.as_ref()?.device_by_index(number).ok()?;
        let memory = device.memory_info().ok()?;
        let programs = device.running_compute_processes().ok();
        let held = programs.map(|programs| programs.iter().map(held).collect::<Vec<_>>());
        let own_bytes = held.and_then(|held| own_bytes(&held, is_ours));
        Some(GpuMemory { total_bytes: memory.total, used_bytes: memory.used, own_bytes })
    }
}

/// A program on a GPU, and what it holds there where the driver tells.
fn held(program: &ProcessInfo) -> (u32, Option<u64>) {
    match program.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => (program.pid, Some(bytes)),
        UsedGpuMemory::Unavailable => (program.pid, None),
    }
}

/// What programs hold that are ours. Where none is, processes may have other numbers outside than in here: nothing is
/// known then.
fn own_bytes(held: &[(u32, Option<u64>)], is_ours: impl Fn(u32) -> bool) -> Option<u64> {
    let ours: Vec<Option<u64>> =
        held.iter().filter(|(pid, _)| is_ours(*pid)).map(|(_, bytes)| *bytes).collect();
    let bytes: Option<u64> = ours.iter().copied().sum();
    bytes.filter(|_| !ours.is_empty())
}

/// Whether a process is this one or a child of it.
fn is_ours(pid: u32) -> bool {
    let parent = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse::<u32>().ok()
    };
    let this = std::process::id();
    pid == this || parent() == Some(this)
}

fn duration(time: TimeVal) -> Duration {
    let micros = time.tv_sec().saturating_mul(1_000_000).saturating_add(time.tv_usec());
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

/// The value of a line like `MemTotal:  1024 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least memory limit from this process's control group up to `root`.
fn cgroup_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_files(root, &groups).iter().filter_map(|path| limit(&fs::read_to_string(path).ok()?)).min()
}

/// Where limits may stand, by the lines of `/proc/self/cgroup`: version 2 (`0::/path`) and version 1
/// (`4:memory:/path`). A limit of any group above holds as well.
fn limit_files(root: &Path, groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = base.join(path.trim_start_matches('/'));
        files
            .extend(own.ancestors().take_while(|folder| folder.starts_with(&base)).map(|dir| dir.join(file)));
    }
    files
}

/// A limit as written: a number, or `max`.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_their_names() {
        let text = "MemTotal:       24684000 kB\nMemFree:  5 kB\n";
        assert_eq!(kibibytes(text, "MemTotal:"), Some(24_684_000 * 1024));
        assert_eq!(kibibytes(text, "VmRSS:"), None);
        assert_eq!((limit("max\n"), limit("1073741824\n")), (None, Some(1 << 30)));
    }

    #[test]
    fn limits_are_looked_for_in_every_group_above() {
        let files = |groups: &str| -> Vec<String> {
            limit_files(Path::new("/r"), groups).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(files("0::/a/b\n"), ["/r/a/b/memory.max", "/r/a/memory.max", "/r/memory.max"]);
        assert_eq!(files("0::/\n"), ["/r/memory.max"]);
        assert_eq!(
            files("12:cpu,cpuacct:/x\n4:memory:/docker\n"),
            ["/r/memory/docker/memory.limit_in_bytes", "/r/memory/memory.limit_in_bytes"]
        );
        assert_eq!(files("nonsense"), [""; 0]);
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let (ram, resident) = (ram_bytes().expect("Linux tells"), resident_bytes().expect("Linux tells"));
        assert!(resident > 0 && resident < ram, "{resident} of {ram}");
        assert!(cores() > 0);
        let before = cpu_time();
        let sum = (0..3_000_000u64).fold(0u64, |sum, n| std::hint::black_box(sum ^ n.wrapping_mul(31)));
        assert!(sum != 1 && cpu_time() > before);
    }

    #[test]
    fn what_is_ours_of_a_gpu_is_known_where_our_number_is() {
        let held = [(1, Some(100)), (7, Some(20)), (8, Some(3)), (9, None)];
        let own = |ours: &[u32]| own_bytes(&held, |pid| ours.contains(&pid));
        assert_eq!((own(&[7, 8]), own(&[1])), (Some(23), Some(100)));
        assert_eq!((own(&[42]), own(&[7, 9]), own_bytes(&[], |_| true)), (None, None, None));
        assert!(is_ours(std::process::id()) && !is_ours(1));
    }

    #[test]
    fn a_machine_without_nvml_has_no_gpu() {
        assert_eq!(Gpus::find_in(Some(Path::new("/nowhere/libnvidia-ml.so.1"))).count(), 0);
        assert_eq!(Gpus::find_in(Some(Path::new("/nowhere/libnvidia-ml.so.1"))).memory(), None);
        // And where it may be there, asking is no error either.
        let memory = Gpus::find().memory();
        assert!(memory.is_none_or(|memory| memory.used_bytes <= memory.total_bytes));
    }
}
