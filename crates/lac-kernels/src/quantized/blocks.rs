//! Blocks as integers and scales, in portable Rust: what every format comes down to.

mod small;
mod super_blocks;

use super::format::BlockFormat;

/// Weights in the longest block.
const MAX_LEN: usize = 256;

/// Groups in a block at most.
const MAX_GROUPS: usize = 16;

/// A block of weights: the value of a weight is `scale * integer + offset`, with the scale and offset of its group.
pub(crate) struct Unpacked {
    /// In the weights' order; as many as the block has.
    pub(crate) integers: [i8; MAX_LEN],
    /// Of each group.
    pub(crate) scales: [f32; MAX_GROUPS],
    /// Of each group; read where the format has offsets.
    pub(crate) offsets: [f32; MAX_GROUPS],
}

impl Unpacked {
    pub(crate) fn new() -> Self {
        Self {
            integers: [0; MAX_LEN],
            scales: [0.0; MAX_GROUPS],
            offsets: [0.0; MAX_GROUPS],
        }
    }
}

/// A format whose blocks can be unpacked.
pub(crate) trait Block {
    /// Weights in a block.
    const LEN: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Weights that have one scale.
    const GROUP: usize;
    /// Whether an offset is added.
    const HAS_OFFSETS: bool;

    /// Unpacks a block of [`BYTES`](Self::BYTES) bytes.
    fn unpack(block: &[u8], unpacked: &mut Unpacked);
}

/// Calls a function for the type that unpacks a format's blocks.
macro_rules! for_format {
    ($format:expr, |$block:ident| $call:expr) => {
        for_format!(@ $format, $block, $call,
            Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4)
    };
    (@ $format:expr, $block:ident, $call:expr, $($name:ident),+) => {
        match $format {
            $($crate::quantized::BlockFormat::$name => {
                type $block = $crate::quantized::blocks::types::$name;
                $call
            })+
        }
    };
}

/// The types that unpack blocks, by their format's name.
pub(crate) mod types {
    pub(crate) use super::small::{IQ4_NL, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
    pub(crate) use super::super_blocks::{IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};
}

/// Writes the values of whole blocks.
pub(super) fn dequantize(format: BlockFormat, blocks: &[u8], values: &mut [f32]) {
    for_format!(format, |B| dequantize_blocks::<B>(blocks, values));
}

fn dequantize_blocks<B: Block>(blocks: &[u8], values: &mut [f32]) {
    let mut unpacked = Unpacked::new();
    let blocks = blocks.chunks_exact(B::BYTES);
    for (block, values) in blocks.zip(values.chunks_exact_mut(B::LEN)) {
        B::unpack(block, &mut unpacked);
        let groups = values
            .chunks_exact_mut(B::GROUP)
            .zip(unpacked.integers.chunks_exact(B::GROUP));
        let scales = unpacked.scales.iter().zip(&unpacked.offsets);
        for ((values, integers), (&scale, &offset)) in groups.zip(scales) {
            for (value, &integer) in values.iter_mut().zip(integers) {
                let product = scale * f32::from(integer);
                // Without an offset a negative zero stays one.
                *value = if B::HAS_OFFSETS {
                    product + offset
                } else {
                    product
                };
            }
        }
    }
}

/// The f16 at a byte.
#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    burn::tensor::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
