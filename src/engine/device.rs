//! Where an engine computes: on this machine's cores, or on one of its GPUs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a GPU is written, before its number.
const CUDA: &str = "cuda:";
/// More GPUs than any machine has.
const MAX_GPUS: u32 = 64;

/// Where an engine computes. Written `cpu`, or `cuda:N` for the N-th NVIDIA GPU, from 0.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The machine's cores.
    #[default]
    Cpu,
    /// A GPU, by its number.
    Cuda(u32),
}

/// What is written is no device.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("there is no device {written:?}; there are \"cpu\" and \"cuda:0\" to \"cuda:{}\"", MAX_GPUS - 1)]
pub struct NoSuchDevice {
    /// What stands there.
    pub written: String,
}

impl Device {
    /// Whether it is a GPU.
    pub fn is_gpu(self) -> bool {
        self != Self::Cpu
    }
}

impl FromStr for Device {
    type Err = NoSuchDevice;

    fn from_str(text: &str) -> Result<Self, NoSuchDevice> {
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        // `parse` alone would take "+1" as well.
        let digits = text.strip_prefix(CUDA).filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| *number < MAX_GPUS);
        number.map(Self::Cuda).ok_or_else(|| NoSuchDevice { written: text.to_owned() })
    }
}

impl TryFrom<String> for Device {
    type Error = NoSuchDevice;

    fn try_from(text: String) -> Result<Self, NoSuchDevice> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "{CUDA}{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for (text, device) in
            [("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:12", Device::Cuda(12))]
        {
            assert_eq!((text.parse(), device.to_string()), (Ok(device), text.to_owned()));
            assert_eq!(device.is_gpu(), text != "cpu");
        }
    }

    #[test]
    fn what_is_no_device_is_told_with_what_is_taken() {
        for text in
            ["", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "cuda:64", "CPU", "cuda:99999999999"]
        {
            let told = text.parse::<Device>().expect_err(text).to_string();
            assert_eq!(
                told,
                format!("there is no device {text:?}; there are \"cpu\" and \"cuda:0\" to \"cuda:63\"")
            );
        }
    }
}
