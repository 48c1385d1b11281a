//! The values of blocks.

use burn::tensor::{bf16, f16};

use super::blocks::{Block, CHUNK, Chunk, Grouped, Groups, for_format, unpack};
use super::format::BlockFormat;
use super::instructions::{Instructions, for_instructions};
use crate::half_precision::{widen_bf16, widen_f16};

/// Writes the values of whole blocks.
pub(super) fn dequantize(
    format: BlockFormat,
    instructions: Instructions,
    blocks: &[u8],
    values: &mut [f32],
) {
    for_format!(
        format,
        |B| of_blocks::<B>(instructions, blocks, values),
        |N| of_numbers::<N>(instructions, blocks, values)
    );
}

fn of_blocks<B: Block>(instructions: Instructions, blocks: &[u8], values: &mut [f32]) {
    let mut chunk = Chunk::new();
    let chunks = blocks.chunks(B::PER_CHUNK * B::BYTES);
    for (blocks, values) in chunks.zip(values.chunks_mut(CHUNK)) {
        unpack::<B>(instructions, blocks, &mut chunk);
        // One function for all formats that are alike.
        match (B::GROUP, B::HAS_OFFSETS) {
            (32, false) => of_chunk::<Groups<32, false>>(instructions, &chunk, values),
            (32, true) => of_chunk::<Groups<32, true>>(instructions, &chunk, values),
            (_, false) => of_chunk::<Groups<16, false>>(instructions, &chunk, values),
            (_, true) => of_chunk::<Groups<16, true>>(instructions, &chunk, values),
        }
    }
}

for_instructions! {
    fn of_chunk<G: Grouped>(chunk: &Chunk, values: &mut [f32]) {
        let groups = values.chunks_exact_mut(G::LEN).zip(chunk.integers.chunks_exact(G::LEN));
        let scales = chunk.scales.iter().zip(&chunk.offsets);
        for ((values, integers), (&scale, &offset)) in groups.zip(scales) {
            for (value, &integer) in values.iter_mut().zip(integers) {
                let product = scale * f32::from(integer);
                // Without an offset a negative zero stays one.
                *value = if G::HAS_OFFSETS { product + offset } else { product };
            }
        }
    }
}

for_instructions! {
    fn of_numbers<N: Number>(numbers: &[u8], values: &mut [f32]) {
        for (number, value) in numbers.chunks_exact(N::BYTES).zip(values) {
            *value = N::value(number);
        }
    }
}

/// A floating-point number as files hold it.
trait Number {
    const BYTES: usize;

    /// The value of [`BYTES`](Self::BYTES) bytes.
    fn value(bytes: &[u8]) -> f32;
}

impl Number for f32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn value(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

impl Number for f16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn value(bytes: &[u8]) -> f32 {
        widen_f16(u16::from_le_bytes([bytes[0], bytes[1]]))
    }
}

impl Number for bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn value(bytes: &[u8]) -> f32 {
        widen_bf16(u16::from_le_bytes([bytes[0], bytes[1]]))
    }
}
