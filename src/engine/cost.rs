//! What an engine costs: memory, and CPU time for its work.
//!
//! Plain figures; knows no backend and measures nothing. Read [`EngineCost`] first. Every figure is for one
//! instance. Backends declare costs from their model files, without loading them; what is measured while an
//! engine loads or works replaces what was declared; what the operator wrote in the configuration goes over both.

use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Worked out from the model's files, or written in the configuration.
    #[default]
    Declared,
    /// Measured on this machine.
    Measured,
}

impl Source {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Measured => "measured",
        }
    }
}

/// Memory of one kind (RAM, or a GPU's) that an instance takes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Footprint {
    /// Weights and tables, in bytes; held from load on.
    pub instance_bytes: u64,
    /// State of each slot, in bytes; held from load on.
    pub slot_bytes: u64,
    /// What a slot takes on top of its state while it works on the longest request, in bytes.
    pub call_bytes: u64,
    /// Where `instance_bytes` and `slot_bytes` come from; `call_bytes` is always declared.
    pub source: Source,
}

impl Footprint {
    /// Bytes after load.
    pub fn loaded_bytes(&self, slots: usize) -> u64 {
        self.instance_bytes.saturating_add(self.slot_bytes.saturating_mul(slots as u64))
    }

    /// Bytes when every slot works on the longest request: what a budget must hold.
    pub fn peak_bytes(&self, slots: usize) -> u64 {
        self.loaded_bytes(slots).saturating_add(self.call_bytes.saturating_mul(slots as u64))
    }

    /// Bytes that one slot less would save.
    pub fn each_slot_bytes(&self) -> u64 {
        self.slot_bytes.saturating_add(self.call_bytes)
    }

    /// The same with `bytes` in place of what load was declared to take. What the slots' states were declared to
    /// take stays theirs, as far as the measured figure holds it.
    #[must_use]
    pub fn measured(mut self, bytes: u64, slots: usize) -> Self {
        let slots = slots.max(1) as u64;
        self.slot_bytes = self.slot_bytes.min(bytes / slots);
        self.instance_bytes = bytes - self.slot_bytes * slots;
        self.source = Source::Measured;
        self
    }
}

/// CPU time of an engine's work. A call takes `call + input × input units + unit × units`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct WorkCost {
    /// CPU seconds of a call, however short.
    pub call_cpu_s: f64,
    /// CPU seconds for each unit of input; a language model's prompt token. 0 for the others.
    pub input_cpu_s: f64,
    /// CPU seconds for each unit of work: a second of speech heard, a token written, a second of speech made.
    pub unit_cpu_s: f64,
    /// Where these come from.
    pub source: Source,
}

impl WorkCost {
    /// CPU seconds of one call.
    pub fn cpu_s(&self, input: f64, units: f64) -> f64 {
        self.call_cpu_s + self.input_cpu_s * input + self.unit_cpu_s * units
    }
}

/// What one instance of an engine costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EngineCost {
    /// The machine's memory.
    pub ram: Footprint,
    /// A GPU's memory; all zero for an engine that computes on the CPU.
    pub vram: Footprint,
    /// CPU time.
    pub work: WorkCost,
    /// Threads that compute at once, whatever the slots: the most cores that the instance can keep busy.
    pub threads: usize,
}

/// Growth of memory while an engine was loaded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct LoadGrowth {
    /// Growth of the process's resident memory, in bytes; `None` where the system does not tell.
    pub ram_bytes: Option<u64>,
    /// Growth of the GPUs' used memory, in bytes; `None` where there is no GPU.
    pub vram_bytes: Option<u64>,
}

impl LoadGrowth {
    /// Writes it to the log; figures that the system does not tell are left out of the line.
    pub fn tell(self, pool: &str, engine: &str, slots: usize) {
        let ram_mib = self.ram_bytes.map(|bytes| bytes >> 20);
        let vram_mib = self.vram_bytes.map(|bytes| bytes >> 20);
        tracing::info!(
            pool,
            engine,
            slots,
            ram_mib,
            vram_mib,
            "engine loaded; memory is what the process grew by"
        );
    }
}

impl EngineCost {
    /// The same with measured memory in place of declared.
    #[must_use]
    pub fn with_load(mut self, growth: LoadGrowth, slots: usize) -> Self {
        if let Some(bytes) = growth.ram_bytes {
            self.ram = self.ram.measured(bytes, slots);
        }
        // Another program may have taken GPU memory meanwhile; an engine that declares none has taken none.
        if let Some(bytes) = growth.vram_bytes.filter(|_| self.vram.peak_bytes(slots) > 0) {
            self.vram = self.vram.measured(bytes, slots);
        }
        self
    }

    /// The same on a GPU: what it took of RAM lies there, and its work takes the GPU's time, of which nothing is
    /// declared. `host_bytes` of RAM stay.
    #[must_use]
    pub fn on_gpu(self, host_bytes: u64) -> Self {
        let ram = Footprint { instance_bytes: host_bytes, source: self.ram.source, ..Footprint::default() };
        Self { ram, vram: self.ram, work: WorkCost::default(), ..self }
    }

    /// The same with so many bytes of RAM more for the instance.
    #[must_use]
    pub fn with_more_ram(mut self, bytes: u64) -> Self {
        self.ram.instance_bytes = self.ram.instance_bytes.saturating_add(bytes);
        self
    }

    /// The same with the operator's own figures over it.
    #[must_use]
    pub fn with_own(mut self, own: &OwnCost) -> Self {
        let mib = |figure: Option<u64>| figure.map(|mib| mib.saturating_mul(MIB));
        for (footprint, instance, slot) in [
            (&mut self.ram, mib(own.ram_mib), mib(own.slot_ram_mib)),
            (&mut self.vram, mib(own.vram_mib), mib(own.slot_vram_mib)),
        ] {
            if instance.is_some() || slot.is_some() {
                footprint.source = Source::Declared;
            }
            footprint.instance_bytes = instance.unwrap_or(footprint.instance_bytes);
            if let Some(bytes) = slot {
                (footprint.slot_bytes, footprint.call_bytes) = (0, bytes);
            }
        }
        if let Some(unit) = own.unit_cpu_us {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of one unit of work")]
            let unit_cpu_s = unit as f64 / 1e6;
            self.work = WorkCost { unit_cpu_s, source: Source::Declared, ..self.work };
        }
        self
    }
}

/// What the operator knows better: `engines.stt[*].cost` and so on. What is not set is worked out.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnCost {
    /// RAM of the instance without its slots, in MiB.
    pub ram_mib: Option<u64>,
    /// RAM of each slot at work, in MiB.
    pub slot_ram_mib: Option<u64>,
    /// GPU memory of the instance without its slots, in MiB.
    pub vram_mib: Option<u64>,
    /// GPU memory of each slot at work, in MiB.
    pub slot_vram_mib: Option<u64>,
    /// CPU time of a unit of work in microseconds: a second of speech heard, a token, a second of speech made.
    pub unit_cpu_us: Option<u64>,
}

impl OwnCost {
    /// The same of an engine that is not on the GPU that it was described for.
    #[must_use]
    pub fn without_vram(self) -> Self {
        Self { vram_mib: None, slot_vram_mib: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: Footprint =
        Footprint { instance_bytes: 100, slot_bytes: 10, call_bytes: 5, source: Source::Declared };

    #[test]
    fn a_footprint_counts_slots_twice_at_its_peak() {
        assert_eq!(DECLARED.loaded_bytes(4), 140);
        assert_eq!(DECLARED.peak_bytes(4), 160);
        assert_eq!(Footprint { call_bytes: u64::MAX, ..DECLARED }.peak_bytes(4), u64::MAX);
    }

    #[test]
    fn a_measured_load_replaces_the_declared_one() {
        for (bytes, instance, slot) in [(200, 160, 10), (20, 0, 5), (0, 0, 0), (42, 2, 10)] {
            let measured = DECLARED.measured(bytes, 4);
            assert_eq!((measured.instance_bytes, measured.slot_bytes), (instance, slot), "{bytes}");
            assert_eq!(measured.loaded_bytes(4), bytes);
            assert_eq!(measured.peak_bytes(4), bytes + 20);
            assert_eq!(measured.source, Source::Measured);
        }
    }

    #[test]
    fn an_engine_without_gpu_memory_is_not_charged_for_other_programs() {
        let growth = LoadGrowth { ram_bytes: None, vram_bytes: Some(1 << 30) };
        let cost = EngineCost { ram: DECLARED, ..EngineCost::default() }.with_load(growth, 4);
        assert_eq!((cost.vram.peak_bytes(4), cost.ram), (0, DECLARED));
    }

    #[test]
    fn on_a_gpu_memory_is_the_gpus() {
        let work = WorkCost { unit_cpu_s: 1.0, ..WorkCost::default() };
        let cost = EngineCost { ram: DECLARED, work, ..EngineCost::default() }.on_gpu(7);
        assert_eq!((cost.ram.peak_bytes(4), cost.vram), (7, DECLARED));
        assert!(cost.work.cpu_s(1.0, 1.0) == 0.0, "cores do not do it");
        let growth = LoadGrowth { ram_bytes: Some(9), vram_bytes: Some(200) };
        let loaded = cost.with_load(growth, 4);
        assert_eq!((loaded.ram.peak_bytes(4), loaded.vram.loaded_bytes(4)), (9, 200));
    }

    #[test]
    fn the_operators_figures_go_over_measured_ones() {
        let growth = LoadGrowth { ram_bytes: Some(7), vram_bytes: None };
        let own = OwnCost {
            ram_mib: Some(2),
            slot_ram_mib: Some(1),
            unit_cpu_us: Some(1500),
            ..OwnCost::default()
        };
        let cost = EngineCost { ram: DECLARED, ..EngineCost::default() }.with_load(growth, 4).with_own(&own);
        assert_eq!((cost.ram.peak_bytes(4), cost.ram.source), (6 * MIB, Source::Declared));
        assert!((cost.work.cpu_s(0.0, 2.0) - 0.003).abs() < 1e-12);
    }
}
