//! The data types that weights are converted to.

use std::str::FromStr;

use burn::tensor::DType;
use lac_core::named::{UnknownName, by_name};

use crate::decoder::DecoderConfig;

/// The data type weights are converted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightDtype {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 5 of them for the exponent.
    F16,
    /// 16 bits, 8 of them for the exponent.
    Bf16,
}

impl WeightDtype {
    /// All data types.
    pub const ALL: &'static [Self] = &[Self::F32, Self::F16, Self::Bf16];

    /// Returns burn's name for it.
    pub fn to_burn(self) -> DType {
        match self {
            WeightDtype::F32 => DType::F32,
            WeightDtype::F16 => DType::F16,
            WeightDtype::Bf16 => DType::BF16,
        }
    }

    /// Returns how many bytes a model's weights take.
    pub fn n_bytes(self, config: &DecoderConfig) -> u64 {
        let n_parameters = config.n_parameters();
        n_parameters.saturating_mul(self.to_burn().size() as u64)
    }

    /// Returns the name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            WeightDtype::F32 => "f32",
            WeightDtype::F16 => "f16",
            WeightDtype::Bf16 => "bf16",
        }
    }
}

impl FromStr for WeightDtype {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("data type", Self::ALL, Self::name, name)
    }
}
