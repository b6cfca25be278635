//! NVIDIA's GPUs as ONNX Runtime uses them: whether one can be used here, and if not, what is missing.
//!
//! One program serves machines with and without a GPU: which library `engines.onnxruntime` names decides what can be
//! used. What was found of a GPU holds for the life of the process, as its library does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::ep::cuda::{CUDA_DYLIBS, CUDNN_DYLIBS};
use ort::ep::{CUDA, ExecutionProvider};
use ort::memory::AllocationDevice;
use ort::value::Tensor;

use super::environment;
use crate::engine::Device;

/// What was found of each GPU that was asked for: why it cannot be used, if so.
static FOUND: Mutex<BTreeMap<u32, Option<String>>> = Mutex::new(BTreeMap::new());

/// Where graphs compute of an engine that asks for `asked`; with what is missing and the next step where that is the
/// CPU instead. `library` is ONNX Runtime's.
pub(in crate::backend) fn settle(library: &Path, asked: Device) -> (Device, Option<String>) {
    let Device::Cuda(number) = asked else { return (asked, None) };
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = found.entry(number).or_insert_with(|| try_out(library, number).err());
    (if missing.is_some() { Device::Cpu } else { asked }, missing.clone())
}

/// The same, and tells the operator of an engine that computes on the CPU though it was to use a GPU.
pub(in crate::backend) fn settle_for(engine: &str, library: &Path, asked: Device) -> Device {
    let (device, missing) = settle(library, asked);
    if let Some(why) = missing {
        tracing::warn!(engine, %asked, why, "an engine computes on the CPU");
    }
    device
}

/// Brings a number to the GPU. The error says what is missing, and what to do.
fn try_out(library: &Path, number: u32) -> Result<(), String> {
    environment(library).map_err(|reason| {
        let library = library.display();
        format!(
            "ONNX Runtime's library {library} cannot be loaded ({reason}): run `scripts/setup`, or \
             `scripts/setup --cuda` for one that knows GPUs, or set `engines.onnxruntime`"
        )
    })?;
    if !CUDA::is_available().map_err(|error| error.to_string())? {
        return Err(format!(
            "ONNX Runtime's library {} is the one for the CPU: run `scripts/setup --cuda` and set \
             `engines.onnxruntime` to what it installs, or set `device = \"cpu\"`",
            library.display()
        ));
    }
    preload(library.parent().unwrap_or(library));
    let number = i32::try_from(number).map_err(|error| error.to_string())?;
    let one = Tensor::from_array(([1], vec![1.0_f32])).map_err(|error| error.to_string())?;
    one.to(AllocationDevice::CUDA, number).map(drop).map_err(|error| explain(&error.to_string()))
}

/// Loads CUDA's and cuDNN's libraries that lie beside ONNX Runtime's, as `scripts/setup --cuda` puts them; those that
/// do not are left to the system, which looks where it always does.
fn preload(folder: &Path) {
    for name in CUDA_DYLIBS.iter().chain(CUDNN_DYLIBS) {
        let path = folder.join(name);
        if path.is_file()
            && let Err(error) = ort::util::preload_dylib(&path)
        {
            tracing::debug!(%error, path = %path.display(), "a library of CUDA cannot be loaded");
        }
    }
}

/// What to do about an error of ONNX Runtime's.
fn explain(error: &str) -> String {
    let step = if error.contains("libcuda.so") {
        "NVIDIA's driver is not installed (libcuda.so.1): install it, until `nvidia-smi` shows the GPU"
    } else if error.contains("cannot open shared object file") {
        "a library of CUDA 13 or cuDNN 9 is missing: run `scripts/setup --cuda`, which puts them beside ONNX Runtime's"
    } else if error.contains("driver version is insufficient") {
        "NVIDIA's driver is too old for CUDA 13: install version 580 or newer"
    } else if error.contains("no CUDA-capable device") || error.contains("invalid device ordinal") {
        "there is no such GPU: look at `nvidia-smi -L`, and count from cuda:0"
    } else if error.contains("out of memory") {
        "the GPU has no memory left: `nvidia-smi` shows which program holds it"
    } else {
        "ONNX Runtime cannot use the GPU"
    };
    // It begins with the place in its sources, and may go on for pages.
    let said = error.rsplit(" : FAIL : ").next().unwrap_or(error);
    let short: String = said.lines().next().unwrap_or_default().chars().take(300).collect();
    format!("{step}, or set `device = \"cpu\"`; ONNX Runtime says: {short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/onnxruntime/libonnxruntime.so");

    #[test]
    fn the_library_for_the_cpu_says_what_to_install() {
        let (device, missing) = settle(Path::new(LIBRARY), Device::Cuda(0));
        assert_eq!(device, Device::Cpu);
        let missing = missing.expect("it has no CUDA");
        for part in [LIBRARY, "scripts/setup --cuda", "engines.onnxruntime", "device = \"cpu\""] {
            assert!(missing.contains(part), "{part} is missing in: {missing}");
        }
        assert_eq!(settle(Path::new(LIBRARY), Device::Cuda(0)).1, Some(missing), "the same when asked again");
        assert_eq!(settle(Path::new("/nowhere"), Device::Cpu), (Device::Cpu, None), "nobody looks");
    }

    /// Errors of ONNX Runtime 1.31 and CUDA 13, shortened.
    #[test]
    fn errors_are_explained() {
        let cannot = |name: &str| {
            format!(
                "Failed to load library libonnxruntime_providers_cuda.so with error: {name}: cannot open shared object file: No such file or directory"
            )
        };
        let table = [
            (cannot("libcuda.so.1"), "NVIDIA's driver is not installed"),
            (cannot("libcublasLt.so.13"), "scripts/setup --cuda"),
            ("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version".into(), "580"),
            ("CUDA failure 100: no CUDA-capable device is detected".into(), "nvidia-smi -L"),
            ("CUDA failure 101: invalid device ordinal".into(), "count from cuda:0"),
            ("CUDA failure 2: out of memory".into(), "no memory left"),
            ("something else".into(), "cannot use the GPU"),
        ];
        for (error, told) in table {
            let explained = explain(&error);
            assert!(explained.contains(told) && explained.contains("device = \"cpu\""), "{explained}");
            assert!(explained.ends_with(&error), "{explained}");
        }
        assert!(explain(&"x".repeat(10_000)).len() < 500, "and no pages");
        let placed = "/onnxruntime_src/provider_bridge_ort.cc:2043 Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load";
        assert!(explain(placed).ends_with("ONNX Runtime says: Failed to load"), "nor places in its sources");
    }
}
