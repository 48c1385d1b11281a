//! Devices by name, and which of them there are.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::error::SessionError;

/// A device by its name: `cpu`, `wgpu`, `vulkan:1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName {
    kind: Kind,
    index: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cpu,
    Wgpu,
    Vulkan,
    Cuda,
}

const KINDS: [(Kind, &str); 4] = [
    (Kind::Cpu, "cpu"),
    (Kind::Wgpu, "wgpu"),
    (Kind::Vulkan, "vulkan"),
    (Kind::Cuda, "cuda"),
];

impl Kind {
    fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    /// Returns the devices of this kind, or `None` when support for it was not compiled in.
    fn devices(self) -> Option<Vec<Device>> {
        match self {
            #[cfg(feature = "flex")]
            Kind::Cpu => Some(vec![Device::flex()]),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu => Some(Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec()),
            #[cfg(feature = "vulkan")]
            Kind::Vulkan => Some(Device::enumerate(burn::tensor::DeviceType::Vulkan).into_vec()),
            #[cfg(feature = "cuda")]
            Kind::Cuda => Some(Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec()),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, index) = match text.split_once(':') {
            None => (text, None),
            Some((name, index)) => match index.parse() {
                Ok(index) => (name, Some(index)),
                Err(_) => return Err(format!("{index:?} is not the number of a device")),
            },
        };
        let expected = "expected cpu, wgpu[:i], vulkan[:i] or cuda[:i]";
        let kind = KINDS.iter().find(|(_, known)| *known == name);
        match (kind, index) {
            (None, _) => Err(format!("unknown device {name:?}: {expected}")),
            (Some((Kind::Cpu, _)), Some(_)) => Err("there is one cpu device only".to_owned()),
            (Some(&(kind, _)), index) => Ok(Self { kind, index }),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => write!(f, "{}", self.kind.name()),
            Some(index) => write!(f, "{}:{index}", self.kind.name()),
        }
    }
}

impl DeviceName {
    /// The CPU.
    pub const CPU: Self = Self {
        kind: Kind::Cpu,
        index: None,
    };

    /// Returns whether the device is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.kind == Kind::Cpu
    }

    /// Opens the device.
    ///
    /// # Errors
    /// [`SessionError::Device`] where support for it was not compiled in, or there is no such device.
    pub fn open(&self) -> Result<Device, SessionError> {
        let name = self.kind.name();
        let Some(devices) = self.kind.devices() else {
            return Err(SessionError::Device(format!(
                "--device {self}: this lac was compiled without {name}; \
                 it has {} (build with --features {name})",
                compiled_in().join(", ")
            )));
        };
        let n_devices = devices.len();
        match devices.into_iter().nth(self.index.unwrap_or(0)) {
            Some(device) => Ok(device),
            None if n_devices == 0 => Err(SessionError::Device(format!(
                "--device {self}: no {name} device was found on this machine; see `lac devices`"
            ))),
            None => Err(SessionError::Device(format!(
                "--device {self}: {n_devices} {name} device(s) were found, numbered from 0; \
                 see `lac devices`"
            ))),
        }
    }
}

fn compiled_in() -> Vec<&'static str> {
    listing()
        .into_iter()
        .filter(|(_, devices)| devices.is_some())
        .map(|(name, _)| name)
        .collect()
}

/// Returns every kind of device with the devices found, `None` where it was not compiled in.
pub fn listing() -> Vec<(&'static str, Option<Vec<String>>)> {
    KINDS
        .iter()
        .map(|&(kind, name)| {
            let devices = kind.devices().map(|devices| {
                devices
                    .iter()
                    .map(|device| format!("{:?}", device.as_dispatch()))
                    .collect()
            });
            (name, devices)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_by_kind_and_number() {
        for name in ["cpu", "wgpu", "wgpu:1", "vulkan:0", "cuda:7"] {
            let device: DeviceName = name.parse().unwrap();
            assert_eq!(device.to_string(), name);
        }
        for (name, reason) in [
            ("tpu", "unknown device"),
            ("cuda:x", "not the number"),
            ("cpu:1", "one cpu device"),
        ] {
            let error = name.parse::<DeviceName>().unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
