//! The GPUs that whisper.cpp finds, in the order in which it counts them. Knows nothing of engines.

use std::ffi::CStr;

use whisper_rs_sys as sys;

/// What the GPUs are called that it can compute on; none of a build for the CPU alone.
#[expect(unsafe_code, reason = "ggml tells of devices through raw pointers")]
pub(super) fn names() -> Vec<String> {
    // SAFETY: what a device is called is a string that lives as long as ggml's list.
    let names = found().map(|device| unsafe { CStr::from_ptr(sys::ggml_backend_dev_description(device)) });
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Memory of all of them together. Makes a context on each where they are CUDA's.
#[expect(unsafe_code, reason = "ggml tells of devices through raw pointers")]
pub(super) fn total_bytes() -> u64 {
    let bytes = found().map(|device| {
        let (mut free, mut total) = (0, 0);
        // SAFETY: both places outlive the call.
        unsafe { sys::ggml_backend_dev_memory(device, &raw mut free, &raw mut total) };
        u64::try_from(total).unwrap_or(u64::MAX)
    });
    bytes.fold(0, u64::saturating_add)
}

/// The GPUs on ggml's list of devices.
#[expect(unsafe_code, reason = "ggml tells of devices through raw pointers")]
fn found() -> impl Iterator<Item = sys::ggml_backend_dev_t> {
    // What ggml says of them goes to the log, not to standard error.
    whisper_rs::install_logging_hooks();
    // SAFETY: ggml makes its list once, on the first call, and leaves it as it is.
    let count = unsafe { sys::ggml_backend_dev_count() };
    // SAFETY: the number is below the count.
    let devices = (0..count).map(|number| unsafe { sys::ggml_backend_dev_get(number) });
    // SAFETY: a device lives as long as the list.
    devices.filter(|device| is_gpu(unsafe { sys::ggml_backend_dev_type(*device) }))
}

/// The kinds that `gpu_device` counts.
fn is_gpu(kind: sys::ggml_backend_dev_type) -> bool {
    kind == sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_GPU
        || kind == sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_IGPU
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_told_from_gpus() {
        let kinds = [
            (sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_CPU, false),
            (sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_GPU, true),
            (sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_IGPU, true),
            (sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_ACCEL, false),
        ];
        for (kind, expected) in kinds {
            assert_eq!(is_gpu(kind), expected, "{kind}");
        }
    }

    #[test]
    fn a_build_for_the_cpu_finds_none_and_others_name_theirs() {
        let names = names();
        let for_gpus =
            cfg!(any(feature = "cuda", feature = "hipblas", feature = "metal", feature = "vulkan"));
        assert!(for_gpus || names.is_empty(), "{names:?}");
        assert_eq!(names.is_empty(), total_bytes() == 0, "{names:?}");
        assert!(names.iter().all(|name| !name.is_empty()), "{names:?}");
    }
}
