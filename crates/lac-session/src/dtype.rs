//! The data type that a model is computed in.

use std::str::FromStr;

use lac_models::{DecoderConfig, LoadConfig, WeightDtype};

use crate::device::DeviceName;
use crate::error::SessionError;
use crate::memory::gib;
use crate::notice::{Notice, Tell};

/// A data type to compute in, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtypeName {
    /// The checkpoint's own.
    Auto,
    /// This one.
    Only(WeightDtype),
}

impl DtypeName {
    /// All of them, `auto` first.
    pub const ALL: &'static [Self] = &[
        Self::Auto,
        Self::Only(WeightDtype::F32),
        Self::Only(WeightDtype::F16),
        Self::Only(WeightDtype::Bf16),
    ];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(dtype) => dtype.name(),
        }
    }

    /// Explains in a line what it means.
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
///
/// # Errors
/// [`SessionError::Device`] where the device cannot be opened.
pub fn load_config_for(
    asked: DtypeName,
    device: &DeviceName,
    own: impl FnOnce() -> Option<LoadConfig>,
    tell: &mut Tell<'_>,
) -> Result<LoadConfig, SessionError> {
    let own = match asked {
        DtypeName::Only(dtype) => return Ok(dtype.into()),
        DtypeName::Auto => own().unwrap_or(WeightDtype::F32.into()),
    };
    if own.dtype != WeightDtype::F32 && !device.open()?.supports_dtype(own.dtype.to_burn()) {
        tell(Notice::Warning(format!(
            "the checkpoint is in {}, which {device} does not compute in: f32 is taken",
            own.dtype.name()
        )));
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
    device: &DeviceName,
    decoder: &DecoderConfig,
    tell: &mut Tell<'_>,
) {
    let stay = device.is_cpu() && config.dtype == WeightDtype::F32;
    if quantized_types.is_empty() || stay {
        return;
    }
    let dtype = config.dtype;
    tell(Notice::Note(format!(
        "the weights in {} are dequantised while they are loaded: in {} they take {} on {device}",
        quantized_types.join("+"),
        dtype.name(),
        gib(dtype.n_bytes(decoder)),
    )));
}

impl FromStr for DtypeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().copied();
        let found = known.clone().find(|dtype| dtype.name() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = known.map(Self::name).collect();
            format!("unknown data type {text:?}: expected {}", names.join(", "))
        })
    }
}
