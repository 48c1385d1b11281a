//! Tiles of a few rows, unpacked once for many inputs, however chunks are multiplied.

use super::input_chunk::InputChunk;
use super::inputs::Inputs;
use super::lanes::{LANES, total};
use super::weights::WeightRows;
use crate::quantized::blocks::{CHUNK, Chunk, Grouped};
use crate::quantized::instructions::Instructions;

/// Rows of weights that are unpacked together.
const TILE: usize = 4;

/// Inputs that pass a tile at a time: the tile is unpacked once for all of them, and they stay in a cache.
const MAX_INPUTS: usize = 64;

/// How chunks are multiplied with one set of instructions.
pub(super) trait Multiply {
    /// Adds the parts of a chunk's groups to their lanes.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn add<G: Grouped>(lanes: &mut [f32; LANES], weights: &Chunk, input: &InputChunk);
}

/// Loops for any processor.
pub(super) struct Portable;

impl Multiply for Portable {
    #[inline(always)]
    unsafe fn add<G: Grouped>(lanes: &mut [f32; LANES], weights: &Chunk, input: &InputChunk) {
        for group in 0..CHUNK / G::LEN {
            let span = group * G::LEN..(group + 1) * G::LEN;
            let pairs = weights.integers[span.clone()]
                .iter()
                .zip(&input.integers[span]);
            let dot: i32 = pairs.map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
            let mut part = dot as f32 * (weights.scales[group] * input.scales[group]);
            if G::HAS_OFFSETS {
                part += weights.offsets[group] * input.sums[group];
            }
            lanes[group % LANES] += part;
        }
    }
}

/// How a format's blocks are unpacked to a chunk.
#[derive(Clone, Copy)]
pub(super) struct Unpack {
    /// Bytes of a chunk.
    pub(super) chunk_bytes: usize,
    /// Unpacks a chunk, or at a row's end a part of one.
    pub(super) unpack: fn(Instructions, &[u8], &mut Chunk),
    pub(super) instructions: Instructions,
}

/// Multiplies tile by tile.
///
/// # Safety
/// The processor has the instructions `M`.
#[inline(always)]
pub(super) unsafe fn tiles<G: Grouped, M: Multiply>(
    format: Unpack,
    weights: WeightRows<'_>,
    inputs: &Inputs,
    outputs: &mut [f32],
    stride: usize,
) {
    let chunk_bytes = format.chunk_bytes;
    let mut chunks: [Chunk; TILE] = std::array::from_fn(|_| Chunk::new());
    let mut lanes = [[[0.0; LANES]; TILE]; MAX_INPUTS];
    for first_input in (0..inputs.len()).step_by(MAX_INPUTS) {
        let n_inputs = MAX_INPUTS.min(inputs.len() - first_input);
        for first in (0..weights.len()).step_by(TILE) {
            let n_rows = TILE.min(weights.len() - first);
            lanes[..n_inputs].fill([[0.0; LANES]; TILE]);
            for chunk_idx in 0..inputs.n_chunks() {
                for (row, chunk) in chunks[..n_rows].iter_mut().enumerate() {
                    let blocks = &weights.row(first + row)[chunk_idx * chunk_bytes..];
                    let blocks = &blocks[..blocks.len().min(chunk_bytes)];
                    (format.unpack)(format.instructions, blocks, chunk);
                }
                for (input, lanes) in lanes[..n_inputs].iter_mut().enumerate() {
                    let input = &inputs.row(first_input + input)[chunk_idx];
                    for (lanes, chunk) in lanes.iter_mut().zip(&chunks[..n_rows]) {
                        // SAFETY: the caller's promise.
                        unsafe { M::add::<G>(lanes, chunk, input) };
                    }
                }
            }
            for (input, lanes) in lanes[..n_inputs].iter().enumerate() {
                let outputs = &mut outputs[(first_input + input) * stride + first..][..n_rows];
                for (output, lanes) in outputs.iter_mut().zip(lanes) {
                    *output = total(*lanes);
                }
            }
        }
    }
}
