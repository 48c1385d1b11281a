//! Vectors of 64 integers, and dot products of four integers at once (VNNI).
//!
//! One factor of `vpdpbusd` is unsigned, so weights are unpacked with a constant added, and the products are corrected
//! by the sum of the input's integers times that constant, in integers.

mod ahead;
mod blocks;
mod chunk;
mod few;
mod integers;
mod round;
mod row;
mod tile;
mod unpack;

pub(super) use round::round;
pub(super) use unpack::Unpack;

use super::inputs::{Inputs, MIN_TILE_INPUTS};
use super::weights::WeightRows;

/// As [`super::products`].
///
/// # Safety
/// The processor has the instructions of [`Kind::Avx512`](crate::quantized::instructions::Kind::Avx512), the inputs are as wide as the
/// weights, and all outputs are there.
#[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn products<B: Unpack>(
    weights: WeightRows<'_>,
    inputs: &Inputs,
    outputs: &mut [f32],
    stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match inputs.len() {
            1 => row::products::<B>(weights, inputs, outputs),
            ..MIN_TILE_INPUTS => few::products::<B>(weights, inputs, outputs, stride),
            _ => tile::products::<B>(weights, inputs, outputs, stride),
        }
    }
}
