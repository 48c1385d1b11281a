//! Vectors of 32 integers.

use std::arch::x86_64::*;

use super::input_chunk::InputChunk;
use super::inputs::Inputs;
use super::lanes::LANES;
use super::tiles::{Multiply, Unpack, tiles};
use super::weights::WeightRows;
use crate::quantized::blocks::{Chunk, Grouped};

/// As [`super::products`].
///
/// # Safety
/// The processor has AVX2 and F16C.
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn products<G: Grouped>(
    format: Unpack,
    weights: WeightRows<'_>,
    inputs: &Inputs,
    outputs: &mut [f32],
    stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { tiles::<G, Avx2>(format, weights, inputs, outputs, stride) };
}

struct Avx2;

impl Multiply for Avx2 {
    #[inline(always)]
    unsafe fn add<G: Grouped>(lanes: &mut [f32; LANES], weights: &Chunk, input: &InputChunk) {
        // SAFETY: the caller's promise; every load lies within an array, and a chunk's arrays have 256 and 16 values.
        unsafe {
            // Loops, because a closure is not always inlined here.
            let mut dots = [_mm256_setzero_si256(); 8];
            for (span, dots) in dots.iter_mut().enumerate() {
                let weights = _mm256_loadu_si256(weights.integers[span * 32..].as_ptr().cast());
                let inputs = _mm256_load_si256(input.integers[span * 32..].as_ptr().cast());
                *dots = products_of_four(weights, inputs);
            }
            let mut pairs = [_mm256_setzero_si256(); 4];
            for (pair, dots) in pairs.iter_mut().zip(dots.as_chunks::<2>().0) {
                *pair = _mm256_hadd_epi32(dots[0], dots[1]);
            }
            let mut sum = _mm256_loadu_ps(lanes.as_ptr());
            if G::LEN == 32 {
                // In each half, a span's quarter after the other.
                let first = _mm256_hadd_epi32(pairs[0], pairs[1]);
                let second = _mm256_hadd_epi32(pairs[2], pairs[3]);
                let dots = _mm256_add_epi32(
                    _mm256_permute2x128_si256::<0x20>(first, second),
                    _mm256_permute2x128_si256::<0x31>(first, second),
                );
                sum = _mm256_add_ps(sum, parts::<G>(dots, weights, input, 0));
            } else {
                // Each half of a span is a group: the lower halves of four spans, then their upper ones.
                for half in 0..2 {
                    let quarters = _mm256_hadd_epi32(pairs[2 * half], pairs[2 * half + 1]);
                    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                    let dots = _mm256_permutevar8x32_epi32(quarters, order);
                    sum = _mm256_add_ps(sum, parts::<G>(dots, weights, input, half * LANES));
                }
            }
            _mm256_storeu_ps(lanes.as_mut_ptr(), sum);
        }
    }
}

/// The products of 32 pairs of integers, in sums of four.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn products_of_four(weights: __m256i, inputs: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        // One factor has to be unsigned, so the weight's sign goes to the input. A sum of two products is 2 · 128 · 127
        // at most, which 16 bits hold.
        let magnitudes = _mm256_abs_epi8(weights);
        let signed = _mm256_sign_epi8(inputs, weights);
        let pairs = _mm256_maddubs_epi16(magnitudes, signed);
        _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
    }
}

/// The parts of eight groups, from `first` on.
///
/// # Safety
/// The processor has AVX2, and a chunk has these groups.
#[inline(always)]
unsafe fn parts<G: Grouped>(
    dots: __m256i,
    weights: &Chunk,
    input: &InputChunk,
    first: usize,
) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        let scales = _mm256_mul_ps(eight(&weights.scales, first), eight(&input.scales, first));
        let parts = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales);
        if G::HAS_OFFSETS {
            let offsets = _mm256_mul_ps(eight(&weights.offsets, first), eight(&input.sums, first));
            _mm256_add_ps(parts, offsets)
        } else {
            parts
        }
    }
}

/// Eight values from `first` on.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn eight(values: &[f32], first: usize) -> __m256 {
    // SAFETY: the caller's promise; eight values are there.
    unsafe { _mm256_loadu_ps(values[first..][..LANES].as_ptr()) }
}
