//! What runs of a graph read and write, by name, and where that lies: what is to stay on the device stays there, and goes
//! into the next run as it is.
//!
//! On the CPU it is the same path, and nothing is copied but what is fed.

use std::fmt::Debug;

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, RunOptions, Session, SessionOutputs};
use ort::value::{DynValue, IntoTensorElementType, PrimitiveTensorElementType, Tensor};

use crate::engine::Device;

/// What the next runs of one graph read and write. What it holds lives as long as it does, or until it is cleared.
#[derive(Debug)]
pub(in crate::backend) struct Binding {
    bound: IoBinding,
    /// Where the graph computes.
    device: MemoryInfo<'static>,
    host: MemoryInfo<'static>,
}

impl Binding {
    /// Nothing is bound yet. `device` is where the session computes.
    pub(in crate::backend) fn new(session: &Session, device: Device) -> Result<Self, String> {
        let bound = session.create_binding().map_err(text)?;
        Ok(Self { bound, device: memory(device)?, host: memory(Device::Cpu)? })
    }

    /// Feeds numbers to an input. It keeps them until it is given something else.
    pub(in crate::backend) fn feed<T>(
        &mut self,
        input: &str,
        shape: Vec<usize>,
        values: Vec<T>,
    ) -> Result<(), String>
    where
        T: IntoTensorElementType + PrimitiveTensorElementType + Debug + Clone + 'static,
    {
        let value = Tensor::from_array((shape, values)).map_err(text)?;
        self.bound.bind_input(input, &value).map_err(text)
    }

    /// Gives an input what an earlier run wrote, from where it lies. It keeps that until it is given something else.
    pub(in crate::backend) fn pass(&mut self, input: &str, value: &DynValue) -> Result<(), String> {
        self.bound.bind_input(input, value).map_err(text)
    }

    /// An output is written, and stays where the graph computes. For one run.
    pub(in crate::backend) fn keep(&mut self, output: &str) -> Result<(), String> {
        self.bound.bind_output_to_device(output, &self.device).map_err(text)
    }

    /// An output is written, and comes to the CPU. For one run.
    pub(in crate::backend) fn fetch(&mut self, output: &str) -> Result<(), String> {
        self.bound.bind_output_to_device(output, &self.host).map_err(text)
    }

    /// An output is written into `value`. For one run.
    pub(in crate::backend) fn fill(&mut self, output: &str, value: &mut DynValue) -> Result<(), String> {
        self.bound.bind_output(output, value).map_err(text)
    }

    /// Lets go of outputs. ONNX Runtime would write the next run's into the memory of the last one's.
    pub(in crate::backend) fn clear_outputs(&mut self) {
        self.bound.clear_outputs();
    }

    /// Lets go of all.
    pub(in crate::backend) fn clear(&mut self) {
        self.bound.clear();
    }

    /// Runs the graph of this session; what was bound comes out. `stop` ends it from another thread.
    pub(in crate::backend) fn run<'a>(
        &'a self,
        session: &'a mut Session,
        stop: Option<&RunOptions>,
    ) -> Result<SessionOutputs<'a>, String> {
        // What was copied to a GPU has arrived there.
        self.bound.synchronize_inputs().map_err(text)?;
        match stop {
            Some(stop) => session.run_binding_with_options(&self.bound, stop).map_err(text),
            None => session.run_binding(&self.bound).map_err(text),
        }
    }
}

/// Memory of a device.
pub(super) fn memory(device: Device) -> Result<MemoryInfo<'static>, String> {
    let (name, number) = match device {
        Device::Cpu => (AllocationDevice::CPU, 0),
        Device::Cuda(number) => (AllocationDevice::CUDA, i32::try_from(number).unwrap_or_default()),
    };
    MemoryInfo::new(name, number, AllocatorType::Device, MemoryType::Default).map_err(text)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(super) fn text(error: ort::Error) -> String {
    error.to_string()
}
