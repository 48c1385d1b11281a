//! The values of blocks.

use burn::tensor::{bf16, f16};

use super::blocks::{Block, CHUNK, Chunk, for_format};
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

for_instructions! {
    fn of_blocks<B: Block>(blocks: &[u8], values: &mut [f32]) {
        let mut chunk = Chunk::new();
        let chunks = blocks.chunks(B::PER_CHUNK * B::BYTES);
        for (blocks, values) in chunks.zip(values.chunks_mut(CHUNK)) {
            chunk.unpack::<B>(blocks);
            let groups = values.chunks_exact_mut(B::GROUP).zip(chunk.integers.chunks_exact(B::GROUP));
            let scales = chunk.scales.iter().zip(&chunk.offsets);
            for ((values, integers), (&scale, &offset)) in groups.zip(scales) {
                for (value, &integer) in values.iter_mut().zip(integers) {
                    let product = scale * f32::from(integer);
                    // Without an offset a negative zero stays one.
                    *value = if B::HAS_OFFSETS { product + offset } else { product };
                }
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
