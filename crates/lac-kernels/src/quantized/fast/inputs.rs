//! Activations, rounded to integers of 8 bits.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::input_chunk::{InputChunk, Order, ROUND, SMALLEST, SPAN, Twice};
use crate::quantized::blocks::{CHUNK, MAX_GROUPS};
use crate::quantized::instructions::{Instructions, for_instructions};
use crate::value::Value;

/// From this many inputs on, weights may be laid out so that many rows are multiplied beside each other: laying them out
/// takes as long as some inputs do.
pub(in crate::quantized) const MIN_TILE_INPUTS: usize = 12;

/// `[rows, in]` rounded for weights whose groups are of one size.
pub(in crate::quantized) struct Inputs {
    order: Order,
    n_rows: usize,
    n_chunks: usize,
    chunks: Vec<InputChunk>,
}

impl Inputs {
    /// Rounds `[rows, in]`, whose groups have `group` values, 16 or 32.
    pub(in crate::quantized) fn new<E: Value>(
        instructions: Instructions,
        group: usize,
        values: &[E],
        width: usize,
    ) -> Self {
        let empty = InputChunk {
            integers: [0; CHUNK],
            scales: [0.0; MAX_GROUPS],
            corrections: [0; MAX_GROUPS],
            sums: [0.0; MAX_GROUPS],
            twice: Twice {
                scales: [0.0; MAX_GROUPS],
                corrections: [0; MAX_GROUPS],
                sums: [0.0; MAX_GROUPS],
            },
        };
        let n_rows = values.len() / width;
        let n_chunks = width.div_ceil(CHUNK);
        let mut chunks = vec![empty; n_rows * n_chunks];
        let order = Order::of(instructions);
        match order {
            Order::Groups => round::<E>(instructions, group, values, width, &mut chunks),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this order is that of processors with the instructions.
            Order::Across => unsafe { avx512::round::<E>(group, values, width, &mut chunks) },
        }
        Self {
            order,
            n_rows,
            n_chunks,
            chunks,
        }
    }

    /// The order of the integers of all chunks.
    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.n_rows
    }

    pub(super) fn n_chunks(&self) -> usize {
        self.n_chunks
    }

    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[InputChunk] {
        &self.chunks[row * self.n_chunks..][..self.n_chunks]
    }
}

for_instructions! {
    fn round<E: Value>(group: usize, values: &[E], width: usize, chunks: &mut [InputChunk]) {
        let n_chunks = width.div_ceil(CHUNK);
        for (values, chunks) in values.chunks_exact(width).zip(chunks.chunks_exact_mut(n_chunks)) {
            for (values, chunk) in values.chunks(CHUNK).zip(chunks) {
                for (span, values) in values.chunks(SPAN).enumerate() {
                    let integers = &mut chunk.integers[span * SPAN..(span + 1) * SPAN];
                    let mut padded = [0.0; SPAN];
                    for (padded, value) in padded.iter_mut().zip(values) {
                        *padded = value.widen();
                    }
                    let scale = round_span(&padded, integers);
                    for (part, integers) in integers.chunks_exact(group).enumerate() {
                        let sum: i32 = integers.iter().map(|&integer| i32::from(integer)).sum();
                        let group_idx = span * SPAN / group + part;
                        chunk.scales[group_idx] = scale;
                        chunk.corrections[group_idx] = -128 * sum;
                        chunk.sums[group_idx] = scale * sum as f32;
                    }
                }
            }
        }
    }
}

/// Rounds values to integers and returns their scale, as [`Activations::Int8`](crate::quantized::Activations::Int8) defines both.
#[inline(always)]
fn round_span(values: &[f32; SPAN], integers: &mut [i8]) -> f32 {
    // The magnitudes' bits are in the order of the magnitudes, infinity and NaN last.
    let bits = values.iter().map(|value| value.to_bits() & 0x7fff_ffff);
    let largest = f32::from_bits(bits.fold(0, u32::max));
    if !largest.is_finite() {
        return f32::NAN;
    }
    if largest < SMALLEST {
        return 0.0;
    }
    let inverse = 127.0 / largest;
    for (integer, value) in integers.iter_mut().zip(values) {
        *integer = (value * inverse + ROUND).to_bits() as i8;
    }
    largest / 127.0
}
