//! Products of activations that are rounded to integers with weights that are integers in memory.
//!
//! A weight is `scale * integer + offset`, with the scale and offset of its group of 32 or 16; an activation is
//! `scale * integer`. So a group's part of a product is, in f32 and in this order of operations,
//!
//! ```text
//! dot * (weight scale * input scale)  [ + offset * (input scale * sum of input integers) ]
//! ```
//!
//! where `dot` is the dot product of both groups' integers, which is exact: it takes less than 24 bits. Group `g`'s part
//! is added to lane `g mod 8`, group after group, and at the end the lanes are added up in a tree. All instructions
//! compute that, so they give the same bits, and no other row has a part in it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod input_chunk;
mod inputs;
mod lanes;
mod tiles;
mod weights;

pub(super) use inputs::{Inputs, MIN_TILE_INPUTS};
pub(super) use weights::WeightRows;

use self::input_chunk::Order;
use self::tiles::{Portable, Unpack, tiles};
use super::blocks::{Block, Grouped, Groups, for_format, unpack};
use super::format::BlockFormat;
use super::instructions::{Instructions, Kind};

/// The size of a format's groups; `None` where weights are plain numbers, which have none.
pub(super) fn group_len(format: BlockFormat) -> Option<usize> {
    for_format!(format, |B| Some(<B as Block>::GROUP), |_N| None)
}

/// The product of every row of weights with every input, written to `outputs[input * stride + row]`. The inputs are
/// rounded for the format's groups and as wide as the weights. Nothing where weights are plain numbers.
pub(super) fn products(
    format: BlockFormat,
    instructions: Instructions,
    weights: WeightRows<'_>,
    inputs: &Inputs,
    outputs: &mut [f32],
    stride: usize,
) {
    for_format!(
        format,
        |B| of_blocks::<B>(instructions, weights, inputs, outputs, stride),
        |_N| ()
    );
}

fn of_blocks<B: ForEveryKind>(
    instructions: Instructions,
    weights: WeightRows<'_>,
    inputs: &Inputs,
    outputs: &mut [f32],
    stride: usize,
) {
    let n_chunks = weights.row(0).len().div_ceil(B::PER_CHUNK * B::BYTES);
    assert_eq!(n_chunks, inputs.n_chunks(), "inputs as wide as the weights");
    let order = Order::of(instructions);
    assert_eq!(inputs.order(), order, "inputs for these instructions");
    assert!(outputs.len() >= (inputs.len() - 1) * stride + weights.len());
    #[cfg(target_arch = "x86_64")]
    if instructions.kind() == Kind::Avx512 {
        // SAFETY: `instructions` says that the processor has them; the widths and the number of outputs have been
        // checked.
        return unsafe { avx512::products::<B>(weights, inputs, outputs, stride) };
    }
    let format = Unpack {
        chunk_bytes: B::PER_CHUNK * B::BYTES,
        unpack: unpack::<B>,
        instructions,
    };
    // One function for all formats that are alike.
    match (B::GROUP, B::HAS_OFFSETS) {
        (32, false) => in_tiles::<Groups<32, false>>(format, weights, inputs, outputs, stride),
        (32, true) => in_tiles::<Groups<32, true>>(format, weights, inputs, outputs, stride),
        (_, false) => in_tiles::<Groups<16, false>>(format, weights, inputs, outputs, stride),
        (_, true) => in_tiles::<Groups<16, true>>(format, weights, inputs, outputs, stride),
    }
}

fn in_tiles<G: Grouped>(
    format: Unpack,
    weights: WeightRows<'_>,
    inputs: &Inputs,
    outputs: &mut [f32],
    stride: usize,
) {
    match format.instructions.kind() {
        // SAFETY: every processor has what this needs.
        Kind::Portable => unsafe {
            tiles::<G, Portable>(format, weights, inputs, outputs, stride);
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `instructions` says that the processor has them.
        Kind::Avx2 | Kind::Avx512 => unsafe {
            avx2::products::<G>(format, weights, inputs, outputs, stride);
        },
    }
}

/// A format that there is code for, whatever the instructions.
#[cfg(target_arch = "x86_64")]
trait ForEveryKind: Block + avx512::Unpack {}
#[cfg(target_arch = "x86_64")]
impl<B: Block + avx512::Unpack> ForEveryKind for B {}
#[cfg(not(target_arch = "x86_64"))]
trait ForEveryKind: Block {}
#[cfg(not(target_arch = "x86_64"))]
impl<B: Block> ForEveryKind for B {}
