//! Which device whisper.cpp computes on: what it was built for decides, and which GPUs there are. Pure but for
//! [`settle`], which asks the machine.

use super::gpus;
use crate::engine::Device;
use crate::telemetry::machine::Gpus;

/// What whisper.cpp was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Build {
    /// The CPU alone.
    Cpu,
    /// NVIDIA's GPUs.
    Cuda,
    /// GPUs of another kind, which it counts itself.
    Other,
}

const BUILD: Build = if cfg!(feature = "cuda") {
    Build::Cuda
} else if cfg!(any(feature = "hipblas", feature = "metal", feature = "vulkan")) {
    Build::Other
} else {
    Build::Cpu
};

/// Where whisper.cpp computes that is asked to do so on `asked`; with the reason where that is the CPU instead.
pub(in crate::backend) fn settle(asked: Device) -> (Device, Option<String>) {
    // The machine is asked only where the answer matters.
    let gpus = if asked.is_gpu() { found() } else { 0 };
    let missing = missing(asked, BUILD, gpus);
    (if missing.is_some() { Device::Cpu } else { asked }, missing)
}

/// How many GPUs there are for this build.
fn found() -> u32 {
    match BUILD {
        Build::Cpu => 0,
        Build::Cuda => Gpus::find().count(),
        Build::Other => u32::try_from(gpus::names().len()).unwrap_or(u32::MAX),
    }
}

/// The same as [`settle`] on another machine that has the GPU, with this program.
pub(in crate::backend) fn planned(asked: Device) -> (Device, Option<String>) {
    let missing = missing(asked, BUILD, u32::MAX);
    (if missing.is_some() { Device::Cpu } else { asked }, missing)
}

/// Memory of the GPUs that NVIDIA's library does not know of; none where this build uses none of them.
pub(in crate::backend) fn gpu_bytes() -> Option<u64> {
    (BUILD == Build::Other).then(gpus::total_bytes).filter(|bytes| *bytes > 0)
}

fn missing(asked: Device, build: Build, gpus: u32) -> Option<String> {
    let Device::Cuda(number) = asked else { return None };
    match build {
        Build::Cpu => Some(
            "this program's whisper.cpp computes on the CPU alone: build it with `--features cuda` (or `vulkan`), \
             or set `device = \"cpu\"`"
                .to_owned(),
        ),
        Build::Cuda if number >= gpus => Some(format!(
            "NVIDIA's driver shows {gpus} GPUs: look at `nvidia-smi`, and count from cuda:0, or set \
             `device = \"cpu\"`"
        )),
        Build::Other if number >= gpus => Some(format!(
            "whisper.cpp finds {gpus} GPUs: see whether `vulkaninfo --summary` (or `rocminfo`) lists it, and whether this \
             user may open `/dev/dri/renderD*`, and count from cuda:0, or set `device = \"cpu\"`"
        )),
        Build::Cuda | Build::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_used_where_the_build_and_the_machine_have_it() {
        let table = [
            (Device::Cpu, Build::Cpu, 0, None),
            (Device::Cpu, Build::Cuda, 1, None),
            (Device::Cuda(0), Build::Cpu, 1, Some("--features cuda")),
            (Device::Cuda(0), Build::Cuda, 1, None),
            (Device::Cuda(1), Build::Cuda, 1, Some("shows 1 GPUs")),
            (Device::Cuda(0), Build::Cuda, 0, Some("nvidia-smi")),
            (Device::Cpu, Build::Other, 0, None),
            (Device::Cuda(0), Build::Other, 1, None),
            (Device::Cuda(0), Build::Other, 0, Some("finds 0 GPUs")),
            (Device::Cuda(1), Build::Other, 1, Some("vulkaninfo")),
        ];
        for (asked, build, gpus, told) in table {
            let missing = missing(asked, build, gpus);
            assert_eq!(missing.is_some(), told.is_some(), "{asked} {build:?} {gpus}: {missing:?}");
            assert!(missing.is_none_or(|why| why.contains(told.unwrap_or_default())), "{asked} {build:?}");
        }
    }

    #[test]
    fn this_build_says_what_it_can() {
        let (device, why) = settle(Device::Cuda(0));
        assert_eq!(device == Device::Cpu, why.is_some());
        assert_eq!(settle(Device::Cpu), (Device::Cpu, None));
    }
}
