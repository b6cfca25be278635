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

/// Memory of all NVIDIA GPUs together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct GpuMemory {
    /// Bytes there are.
    pub total_bytes: u64,
    /// Bytes that some program holds.
    pub used_bytes: u64,
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

    /// Memory of all GPUs; `None` where there is none.
    pub fn memory(&self) -> Option<GpuMemory> {
        let nvml = self.0.as_ref()?;
        let count = nvml.device_count().ok().filter(|count| *count > 0)?;
        let of = |index| nvml.device_by_index(index).and_then(|device| device.memory_info()).ok();
        let sum = |sum: GpuMemory, memory: nvml_wrapper::struct_wrappers::device::MemoryInfo| GpuMemory {
            total_bytes: sum.total_bytes.saturating_add(memory.total),
            used_bytes: sum.used_bytes.saturating_add(memory.used),
        };
        Some((0..count).filter_map(of).fold(GpuMemory::default(), sum))
    }
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
    fn a_machine_without_nvml_has_no_gpu() {
        assert_eq!(Gpus::find_in(Some(Path::new("/nowhere/libnvidia-ml.so.1"))).memory(), None);
        // And where it may be there, asking is no error either.
        let memory = Gpus::find().memory();
        assert!(memory.is_none_or(|memory| memory.used_bytes <= memory.total_bytes));
    }
}
