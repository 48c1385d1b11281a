//! Blocks as integers and scales, in portable Rust: what every format comes down to.

pub(super) mod small;
mod super_blocks;

use super::instructions::for_instructions;
use crate::half_precision::widen_f16;

/// Weights that are unpacked together: the longest block, or eight of the short ones.
pub(super) const CHUNK: usize = 256;

/// Groups in a chunk at most.
pub(super) const MAX_GROUPS: usize = 16;

/// Weights as integers: the value of a weight is `scale * integer + offset`, with the scale and offset of its group.
#[repr(align(64))]
pub(super) struct Chunk {
    /// In the weights' order.
    pub(super) integers: [i8; CHUNK],
    /// Of each group.
    pub(super) scales: [f32; MAX_GROUPS],
    /// Of each group; read where the format has offsets.
    pub(super) offsets: [f32; MAX_GROUPS],
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self {
            integers: [0; CHUNK],
            scales: [0.0; MAX_GROUPS],
            offsets: [0.0; MAX_GROUPS],
        }
    }
}

for_instructions! {
    /// Unpacks whole blocks, as many as a chunk has or, at a row's end, fewer. Groups that are not there have scales and
    /// offsets of zero.
    pub(super) fn unpack<B: Block>(blocks: &[u8], chunk: &mut Chunk) {
        let n_groups = B::LEN / B::GROUP;
        let n_blocks = blocks.len() / B::BYTES;
        for (idx, block) in blocks.chunks_exact(B::BYTES).enumerate() {
            let groups = idx * n_groups..(idx + 1) * n_groups;
            B::unpack(
                block,
                &mut Unpacked {
                    integers: &mut chunk.integers[idx * B::LEN..(idx + 1) * B::LEN],
                    scales: &mut chunk.scales[groups.clone()],
                    offsets: &mut chunk.offsets[groups],
                },
            );
        }
        chunk.scales[n_blocks * n_groups..].fill(0.0);
        chunk.offsets[n_blocks * n_groups..].fill(0.0);
    }
}

/// What formats have in common that are alike once they are unpacked.
pub(super) trait Grouped {
    /// Weights in a group.
    const LEN: usize;
    /// Whether an offset is added.
    const HAS_OFFSETS: bool;
}

/// Groups of one size, with offsets or without.
pub(super) struct Groups<const LEN: usize, const HAS_OFFSETS: bool>;

impl<const LEN: usize, const HAS_OFFSETS: bool> Grouped for Groups<LEN, HAS_OFFSETS> {
    const LEN: usize = LEN;
    const HAS_OFFSETS: bool = HAS_OFFSETS;
}

/// Where the weights of a block are unpacked to.
pub(super) struct Unpacked<'a> {
    /// As many as the block has.
    integers: &'a mut [i8],
    /// As many as the block has groups.
    scales: &'a mut [f32],
    /// As many as the block has groups; not written where the format has no offsets.
    offsets: &'a mut [f32],
}

/// A format whose blocks can be unpacked.
pub(super) trait Block {
    /// Weights in a block.
    const LEN: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Weights that have one scale.
    const GROUP: usize;
    /// Whether an offset is added.
    const HAS_OFFSETS: bool;
    /// Blocks in a chunk.
    const PER_CHUNK: usize = CHUNK / Self::LEN;

    /// Unpacks a block of [`BYTES`](Self::BYTES) bytes.
    fn unpack(block: &[u8], unpacked: &mut Unpacked<'_>);
}

/// Calls a function for the type that unpacks a format's blocks, and another one for the type of a format that is plain
/// numbers.
macro_rules! for_format {
    ($format:expr, |$block:ident| $call:expr, |$number:ident| $plain:expr) => {
        for_format!(@ $format, $block, $call, $number, $plain,
            Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4)
    };
    (@ $format:expr, $block:ident, $call:expr, $number:ident, $plain:expr, $($name:ident),+) => {
        match $format {
            $crate::quantized::BlockFormat::F32 => {
                type $number = f32;
                $plain
            }
            $crate::quantized::BlockFormat::F16 => {
                type $number = burn::tensor::f16;
                $plain
            }
            $crate::quantized::BlockFormat::BF16 => {
                type $number = burn::tensor::bf16;
                $plain
            }
            $($crate::quantized::BlockFormat::$name => {
                type $block = $crate::quantized::blocks::types::$name;
                $call
            })+
        }
    };
}

/// The types that unpack blocks, by their format's name.
pub(super) mod types {
    pub(in crate::quantized) use super::small::{IQ4_NL, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
    pub(in crate::quantized) use super::super_blocks::{IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};
}

pub(super) use for_format;

/// The f16 at a byte.
#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    widen_f16(u16::from_le_bytes([block[at], block[at + 1]]))
}
