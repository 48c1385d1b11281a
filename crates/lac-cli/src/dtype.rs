//! The data type that `--dtype` names.

use anyhow::Result;
use lac_models::{DecoderConfig, LoadConfig, WeightDtype};

use crate::device::DeviceArg;
use crate::memory::gib;
use crate::output::{note, warn_user};

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
            Self::Auto => Some(
                "The checkpoint's own, as its config.json or its tensors say; for quantised weights the fast products, \
                 which round activations to 8 bits",
            ),
            Self::Only(WeightDtype::F32) => Some(
                "32 bits; for quantised weights the exact products, without rounding activations",
            ),
            Self::Only(_) => {
                Some("16 bits; quantised weights are dequantised while they are loaded")
            }
        }
    }
}

/// Returns how weights are loaded. `own` returns the way that the checkpoint is made for, and is called under `auto`
/// alone. Where it cannot be told, and on devices that do not have its data type, f32 is taken: it holds every value of
/// the others.
pub fn load_config_for(
    asked: DtypeArg,
    device: &DeviceArg,
    own: impl FnOnce() -> Option<LoadConfig>,
) -> Result<LoadConfig> {
    let own = match asked {
        DtypeArg::Only(dtype) => return Ok(dtype.into()),
        DtypeArg::Auto => own().unwrap_or(WeightDtype::F32.into()),
    };
    if own.dtype != WeightDtype::F32 && !device.open()?.supports_dtype(own.dtype.to_burn()) {
        warn_user!(
            "the checkpoint is in {}, which {device} does not compute in: f32 is taken",
            own.dtype.name()
        );
        return Ok(WeightDtype::F32.into());
    }
    if device.is_cpu() {
        return Ok(own);
    }
    // The CPU alone multiplies blocks.
    Ok(own.dtype.into())
}

/// Says what becomes of quantised weights where they do not stay in their blocks.
pub fn note_dequantised(
    quantized_types: &[&str],
    config: LoadConfig,
    device: &DeviceArg,
    decoder: &DecoderConfig,
) {
    let stay = device.is_cpu() && config.dtype == WeightDtype::F32;
    if quantized_types.is_empty() || stay {
        return;
    }
    let dtype = config.dtype;
    note!(
        "the weights in {} are dequantised while they are loaded: in {} they take {} on {device}",
        quantized_types.join("+"),
        dtype.name(),
        gib(dtype.n_bytes(decoder)),
    );
}
