//! One input: rows of weights one after another, as memory hands them out fastest.

// A closure around an instruction can stay a call, and an iterator takes one: loops count here.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::super::input_chunk::InputChunk;
use super::super::inputs::Inputs;
use super::super::weights::WeightRows;
use super::ahead::{AHEAD, ask_for};
use super::blocks::Blocks;
use super::chunk::{Form, add, dots, totals};
use super::unpack::Unpack;

/// The product of every row with the one input.
///
/// # Safety
/// As for [`super::products`].
#[inline(always)]
pub(super) unsafe fn products<B: Unpack>(
    weights: WeightRows<'_>,
    inputs: &Inputs,
    outputs: &mut [f32],
) {
    let input = inputs.row(0);
    let outputs = &mut outputs[..weights.len()];
    for (eight, outputs) in outputs.chunks_mut(8).enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [_mm256_setzero_ps(); 8];
            for row in 0..outputs.len() {
                sums[row] = lanes::<B>(weights.row(8 * eight + row), input);
            }
            outputs.copy_from_slice(&totals(&sums)[..outputs.len()]);
        }
    }
}

/// The lanes of the product of a row with an input.
///
/// # Safety
/// As for [`super::products`].
#[inline(always)]
unsafe fn lanes<B: Unpack>(row: &[u8], input: &[InputChunk]) -> __m256 {
    let chunk_bytes = B::PER_CHUNK * B::BYTES;
    let n_chunks = row.len() / chunk_bytes;
    // SAFETY: the caller's promise; the blocks lie within the row, and the input has as many chunks.
    unsafe {
        let mut sum = _mm256_setzero_ps();
        for chunk in 0..n_chunks {
            let start = row.as_ptr().add(chunk * chunk_bytes);
            for line in (0..chunk_bytes).step_by(64) {
                ask_for(start.wrapping_add(AHEAD + line));
            }
            let n_blocks = B::PER_CHUNK;
            let blocks = Blocks { start, n_blocks };
            add_chunk::<B>(&mut sum, blocks, input.get_unchecked(chunk));
        }
        let n_rest = row.len() - n_chunks * chunk_bytes;
        if n_rest > 0 {
            let start = row.as_ptr().add(n_chunks * chunk_bytes);
            ask_for(start.wrapping_add(AHEAD));
            let n_blocks = n_rest / B::BYTES;
            let blocks = Blocks { start, n_blocks };
            add_chunk::<B>(&mut sum, blocks, input.get_unchecked(n_chunks));
        }
        sum
    }
}

/// Adds the parts of a chunk's groups to their lanes.
///
/// # Safety
/// The processor has the instructions, and the blocks can be read.
#[inline(always)]
unsafe fn add_chunk<B: Unpack>(sum: &mut __m256, blocks: Blocks, input: &InputChunk) {
    // SAFETY: the caller's promise.
    unsafe {
        let weights = B::unpack_wide(blocks);
        let dots = dots(&weights.integers, input);
        add(Form::of::<B>(), sum, &weights, dots, input);
    }
}
