//! What espeak-ng takes: child processes that last as long as a clause.

use super::EspeakConfig;
use crate::engine::EngineCost;
use crate::engine::cost::{Footprint, Source, WorkCost};

/// A child's resident memory at its highest, measured with espeak-ng 1.51: 14 MiB, of which the part that is the
/// program itself is shared by all. It is none of the server's resident memory, but it is of the machine's.
const CHILD_BYTES: u64 = 14 << 20;
/// Children of a clause: one speaks, one lists phonemes for the words' times.
const CHILDREN: u64 = 2;
/// The voices that the server remembers, and its buffers.
const INSTANCE_BYTES: u64 = 256 << 10;

impl EspeakConfig {
    /// What one instance costs. Times are those of espeak-ng 1.51 on a core at 2 to 3 GHz: 6 ms for a clause with
    /// words that were heard before, and as much again for the phonemes of new ones, here every other clause.
    pub fn cost(&self) -> Result<EngineCost, String> {
        Ok(EngineCost {
            ram: Footprint {
                instance_bytes: INSTANCE_BYTES,
                slot_bytes: 0,
                call_bytes: CHILDREN * CHILD_BYTES,
                source: Source::Declared,
            },
            vram: Footprint::default(),
            work: WorkCost {
                call_cpu_s: 0.012,
                input_cpu_s: 0.0,
                unit_cpu_s: 0.004,
                source: Source::Declared,
            },
            threads: self.slots,
        })
    }
}
