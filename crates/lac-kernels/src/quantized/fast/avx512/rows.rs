//! Rows of weights one after another, as memory hands them out fastest, with few inputs.

// A closure around an instruction can stay a call, and an iterator takes one: loops count here.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::super::inputs::{InputChunk, Inputs};
use super::super::lanes::total;
use super::super::weights::WeightRows;
use super::unpack::{Blocks, Unpack, Wide};

/// Bytes that a row of weights is asked for in advance: with two threads, the processor's own prefetching leaves a part
/// of the memory's bandwidth unused.
const AHEAD: usize = 4096;

/// The product of every row with every input.
///
/// # Safety
/// As for [`super::products`].
#[inline(always)]
pub(super) unsafe fn products<B: Unpack>(
    weights: WeightRows<'_>,
    inputs: &Inputs,
    outputs: &mut [f32],
    stride: usize,
) {
    for row_idx in 0..weights.len() {
        let row = weights.row(row_idx);
        let mut first = 0;
        while first < inputs.len() {
            let outputs = &mut outputs[first * stride + row_idx..];
            // From the second time on, the row comes from a cache.
            // SAFETY: the caller's promise; so many inputs are left.
            first += unsafe {
                match inputs.len() - first {
                    4.. => multiply::<B, 4>(row, inputs, first, outputs, stride),
                    2.. => multiply::<B, 2>(row, inputs, first, outputs, stride),
                    _ => multiply::<B, 1>(row, inputs, first, outputs, stride),
                }
            };
        }
    }
}

/// The product of a row with each of `N` inputs from `first` on; returns `N`.
///
/// # Safety
/// As for [`super::products`]; there are so many inputs.
#[inline(always)]
unsafe fn multiply<B: Unpack, const N: usize>(
    row: &[u8],
    inputs: &Inputs,
    first: usize,
    outputs: &mut [f32],
    stride: usize,
) -> usize {
    let inputs: [&[InputChunk]; N] = std::array::from_fn(|input| inputs.row(first + input));
    let chunk_bytes = B::PER_CHUNK * B::BYTES;
    let n_chunks = row.len() / chunk_bytes;
    // SAFETY: the caller's promise; the blocks lie within the row, and the inputs have as many chunks.
    unsafe {
        let mut sums = [_mm256_setzero_ps(); N];
        for chunk in 0..n_chunks {
            let start = row.as_ptr().add(chunk * chunk_bytes);
            for line in (0..chunk_bytes).step_by(64) {
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(AHEAD + line).cast());
            }
            let blocks = Blocks {
                start,
                n_blocks: B::PER_CHUNK,
            };
            let weights = B::unpack_wide(blocks);
            for (sum, input) in sums.iter_mut().zip(inputs) {
                add::<B>(sum, &weights, input.get_unchecked(chunk));
            }
        }
        let rest = row.len() - n_chunks * chunk_bytes;
        if rest > 0 {
            let blocks = Blocks {
                start: row.as_ptr().add(n_chunks * chunk_bytes),
                n_blocks: rest / B::BYTES,
            };
            let weights = B::unpack_wide(blocks);
            for (sum, input) in sums.iter_mut().zip(inputs) {
                add::<B>(sum, &weights, input.get_unchecked(n_chunks));
            }
        }
        for (input, sum) in sums.into_iter().enumerate() {
            let mut lanes = [0.0; 8];
            _mm256_storeu_ps(lanes.as_mut_ptr(), sum);
            outputs[input * stride] = total(lanes);
        }
    }
    N
}

/// Adds the parts of a chunk's groups to their lanes.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn add<B: Unpack>(sum: &mut __m256, weights: &Wide, input: &InputChunk) {
    // SAFETY: the caller's promise; every load lies within an array of a chunk, which is aligned.
    unsafe {
        let mut dots = [_mm512_setzero_si512(); 4];
        for quarter in 0..4 {
            let inputs = _mm512_load_si512(input.integers.as_ptr().add(64 * quarter).cast());
            dots[quarter] = _mm512_dpbusd_epi32(dots[quarter], weights.integers[quarter], inputs);
        }
        // Sums of four quarters of each vector, the same quarters beside each other.
        let (a, b, c, d) = (dots[0], dots[1], dots[2], dots[3]);
        let first = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let second = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let quarters = _mm512_add_epi32(
            _mm512_unpacklo_epi64(first, second),
            _mm512_unpackhi_epi64(first, second),
        );
        if B::GROUP == 32 {
            // Two quarters are a group: 0, 2, 4, 6 in the lower half, 1, 3, 5, 7 in the upper one.
            let even = _mm512_shuffle_i32x4::<0b10_00>(quarters, quarters);
            let odd = _mm512_shuffle_i32x4::<0b11_01>(quarters, quarters);
            let groups = _mm512_castsi512_si256(_mm512_add_epi32(even, odd));
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let mut dots = _mm256_permutevar8x32_epi32(groups, order);
            if B::ADDED > 0 {
                let corrections = _mm256_load_si256(input.corrections.as_ptr().cast());
                let shift = _mm_cvtsi32_si128((128 / i32::from(B::ADDED)).ilog2() as i32);
                dots = _mm256_add_epi32(dots, _mm256_sra_epi32(corrections, shift));
            }
            let scales = _mm256_mul_ps(
                _mm512_castps512_ps256(weights.scales),
                _mm256_load_ps(input.scales.as_ptr()),
            );
            let mut parts = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales);
            if B::HAS_OFFSETS {
                let offsets = _mm512_castps512_ps256(weights.offsets);
                parts = _mm256_add_ps(
                    parts,
                    _mm256_mul_ps(offsets, _mm256_load_ps(input.sums.as_ptr())),
                );
            }
            *sum = _mm256_add_ps(*sum, parts);
        } else {
            // A quarter is a group: the first ones of all vectors, then the second ones.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let mut dots = _mm512_permutexvar_epi32(order, quarters);
            if B::ADDED > 0 {
                let corrections = _mm512_load_si512(input.corrections.as_ptr().cast());
                let shift = _mm_cvtsi32_si128((128 / i32::from(B::ADDED)).ilog2() as i32);
                dots = _mm512_add_epi32(dots, _mm512_sra_epi32(corrections, shift));
            }
            let scales = _mm512_mul_ps(weights.scales, _mm512_load_ps(input.scales.as_ptr()));
            let mut parts = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scales);
            if B::HAS_OFFSETS {
                let offsets = _mm512_mul_ps(weights.offsets, _mm512_load_ps(input.sums.as_ptr()));
                parts = _mm512_add_ps(parts, offsets);
            }
            *sum = _mm256_add_ps(*sum, _mm512_castps512_ps256(parts));
            *sum = _mm256_add_ps(*sum, _mm512_extractf32x8_ps::<1>(parts));
        }
    }
}
