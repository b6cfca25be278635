//! How memory grows while an engine is loaded. Engines are loaded one after the other, so growth is theirs; what
//! an engine allocates and gives back while it loads may be counted, where the allocator keeps it.

use crate::engine::EngineProcess;
use crate::engine::cost::LoadGrowth;
use crate::telemetry::machine::{self, GpuMemory, Gpus};

/// Watches memory.
#[derive(Debug)]
pub(super) struct Growth {
    gpus: Gpus,
}

impl Growth {
    pub(super) fn watch() -> Self {
        Self { gpus: Gpus::find() }
    }

    /// What `load` answers, and how memory grew meanwhile.
    pub(super) fn around<T>(&self, load: impl FnOnce() -> T) -> (T, LoadGrowth) {
        let (ram, vram) = (machine::resident_bytes(), self.gpus.memory());
        let loaded = load();
        let growth = LoadGrowth {
            ram_bytes: grown(ram, machine::resident_bytes()),
            vram_bytes: vram.zip(self.gpus.memory()).map(|(before, after)| vram_grown(before, after)),
        };
        (loaded, growth)
    }

    /// The same with what an engine's own process takes.
    pub(super) fn with_process(&self, growth: LoadGrowth, process: Option<EngineProcess>) -> LoadGrowth {
        let Some(process) = process else { return growth };
        let apart = machine::resident_bytes_of(process.pid);
        let ram_bytes = apart.map(|bytes| bytes.saturating_add(growth.ram_bytes.unwrap_or_default()));
        LoadGrowth { ram_bytes, ..growth }
    }
}

/// What this process and its children took of GPUs; where that is not told, what all programs did. Who holds nothing
/// yet is told as unknown.
fn vram_grown(before: GpuMemory, after: GpuMemory) -> u64 {
    match after.own_bytes {
        Some(own) => own.saturating_sub(before.own_bytes.unwrap_or_default()),
        None => after.used_bytes.saturating_sub(before.used_bytes),
    }
}

fn grown(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_on_a_gpu_is_our_own_where_that_is_told() {
        let memory = |used_bytes, own_bytes| GpuMemory { total_bytes: 100, used_bytes, own_bytes };
        let table = [
            (memory(10, None), memory(50, Some(30)), 30),
            (memory(50, Some(30)), memory(90, Some(35)), 5),
            (memory(10, None), memory(50, None), 40),
            (memory(50, Some(30)), memory(20, Some(10)), 0),
        ];
        for (before, after, bytes) in table {
            assert_eq!(vram_grown(before, after), bytes, "{before:?} {after:?}");
        }
    }

    #[test]
    fn growth_is_what_is_held_afterwards() {
        let bytes = 64 << 20;
        let (held, growth) = Growth::watch().around(|| vec![1u8; bytes]);
        let ram = growth.ram_bytes.expect("Linux tells");
        // Other tests run in this process too, but none holds so much.
        assert!(ram > (bytes / 2) as u64, "{ram}");
        drop(held);
        assert_eq!((grown(Some(5), Some(3)), grown(None, Some(3))), (Some(0), None));
    }
}
