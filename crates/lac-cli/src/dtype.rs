//! The data type that `--dtype` names.

use anyhow::Result;
use lac_models::WeightDtype;

use crate::device::DeviceArg;
use crate::output::warn_user;

/// A data type to compute in, as named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtypeArg {
    /// The checkpoint's own.
    Auto,
    /// This one.
    Only(WeightDtype),
}

impl DtypeArg {
    pub const ALL: &'static [Self] = &[
        Self::Auto,
        Self::Only(WeightDtype::F32),
        Self::Only(WeightDtype::F16),
        Self::Only(WeightDtype::Bf16),
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(dtype) => dtype.name(),
        }
    }

    /// Returns the line that `--help` has for it.
    pub fn explain(self) -> Option<&'static str> {
        match self {
            Self::Auto => Some("The checkpoint's own, as its config.json or its tensors say"),
            Self::Only(_) => None,
        }
    }
}

/// Returns the data type to compute in. `saved` returns the checkpoint's own, and is called under `auto` alone. Where it
/// cannot be told, and on devices that do not have it, f32 is taken: it holds every value of the others.
pub fn dtype_for(
    asked: DtypeArg,
    device: &DeviceArg,
    saved: impl FnOnce() -> Option<WeightDtype>,
) -> Result<WeightDtype> {
    let saved = match asked {
        DtypeArg::Only(dtype) => return Ok(dtype),
        DtypeArg::Auto => saved().unwrap_or(WeightDtype::F32),
    };
    if saved != WeightDtype::F32 && !device.open()?.supports_dtype(saved.to_burn()) {
        warn_user!(
            "the checkpoint is in {}, which {device} does not compute in: f32 is taken",
            saved.name()
        );
        return Ok(WeightDtype::F32);
    }
    Ok(saved)
}
