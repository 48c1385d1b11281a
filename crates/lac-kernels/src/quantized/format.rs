//! The formats of blocks, and what GGUF files call them.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// How a block of weights lies in memory. The names are ggml's. The floating-point formats are blocks of one weight, in
/// little-endian order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(non_camel_case_types, reason = "the formats' own names")]
#[non_exhaustive]
pub enum BlockFormat {
    /// A number of 32 bits (IEEE 754 binary32).
    F32,
    /// A number of 16 bits (IEEE 754 binary16).
    F16,
    /// The upper 16 bits of an F32.
    BF16,
    /// 32 integers of 4 bits and a scale.
    Q4_0,
    /// 32 integers of 4 bits, a scale and a smallest value.
    Q4_1,
    /// 32 integers of 5 bits and a scale.
    Q5_0,
    /// 32 integers of 5 bits, a scale and a smallest value.
    Q5_1,
    /// 32 integers of 8 bits and a scale.
    Q8_0,
    /// 256 integers of 2 bits; scales and smallest values of 4 bits for every 16.
    Q2_K,
    /// 256 integers of 3 bits; scales of 6 bits for every 16.
    Q3_K,
    /// 256 integers of 4 bits; scales and smallest values of 6 bits for every 32.
    Q4_K,
    /// 256 integers of 5 bits; scales and smallest values of 6 bits for every 32.
    Q5_K,
    /// 256 integers of 6 bits; scales of 8 bits for every 16.
    Q6_K,
    /// 32 indices of 4 bits into 16 unevenly spaced values, and a scale.
    IQ4_NL,
    /// As IQ4_NL, 256 of them; scales of 6 bits for every 32.
    IQ4_XS,
    /// 32 floating-point numbers of 4 bits (E2M1) and a power of two (OCP Microscaling Formats 1.0).
    MXFP4,
}

impl BlockFormat {
    /// All formats.
    pub const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::MXFP4,
    ];

    /// Returns the number of weights in a block; rows are whole numbers of blocks.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K | Self::IQ4_XS => 256,
            _ => 32,
        }
    }

    /// Returns the number of bytes that a block takes.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 | Self::IQ4_NL => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
            Self::IQ4_XS => 136,
            Self::MXFP4 => 17,
        }
    }

    /// Returns the number of bytes of a row of `width` weights; `None` where that is no whole number of blocks, or more
    /// than an address space holds.
    pub const fn row_bytes(self, width: usize) -> Option<usize> {
        if !width.is_multiple_of(self.block_len()) {
            return None;
        }
        (width / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Returns the format's number in GGUF files (`ggml_type`).
    pub const fn ggml_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 30,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2_K => 10,
            Self::Q3_K => 11,
            Self::Q4_K => 12,
            Self::Q5_K => 13,
            Self::Q6_K => 14,
            Self::IQ4_NL => 20,
            Self::IQ4_XS => 23,
            Self::MXFP4 => 39,
        }
    }

    /// Returns the format of a number in GGUF files, if it is one of these.
    pub fn from_ggml_type(number: u32) -> Option<Self> {
        let mut formats = Self::ALL.into_iter();
        formats.find(|format| format.ggml_type() == number)
    }

    /// Returns the format's name, for instance `Q4_K`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::IQ4_NL => "IQ4_NL",
            Self::IQ4_XS => "IQ4_XS",
            Self::MXFP4 => "MXFP4",
        }
    }
}

impl Display for BlockFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Returned for a name that is no format's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown block format `{name}`: expected one of {}", BlockFormat::ALL.map(BlockFormat::name).join(", "))]
pub struct UnknownFormat {
    /// The name.
    pub name: String,
}

/// Reads a name in upper or lower case.
impl FromStr for BlockFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let mut formats = Self::ALL.into_iter();
        let format = formats.find(|format| format.name().eq_ignore_ascii_case(name));
        format.ok_or_else(|| UnknownFormat { name: name.into() })
    }
}
