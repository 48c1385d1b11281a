//! The product of a chunk of weights with a chunk of an input.

// A closure around an instruction can stay a call, and an iterator takes one: loops count here.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::super::input_chunk::InputChunk;
use super::unpack::{Unpack, Wide};

/// The dot products of four vectors of weights with an input's chunk, in sums of four.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
pub(super) unsafe fn dots(weights: &[__m512i; 4], input: &InputChunk) -> __m512i {
    // SAFETY: the caller's promise; every load lies within an array of a chunk, which is aligned.
    unsafe {
        let mut dots = _mm512_setzero_si512();
        for quarter in 0..4 {
            let inputs = input_vector(input, quarter);
            dots = _mm512_dpbusd_epi32(dots, weights[quarter], inputs);
        }
        dots
    }
}

/// One of the four vectors of an input's chunk.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
pub(super) unsafe fn input_vector(input: &InputChunk, quarter: usize) -> __m512i {
    // SAFETY: the caller's promise; the load lies within the chunk's array, which is aligned.
    unsafe { _mm512_load_si512(input.integers[64 * quarter..][..64].as_ptr().cast()) }
}

/// What the product of a chunk depends on beside the numbers; the compiler knows it wherever it is used.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// Weights that have one scale: 16 or 32.
    pub(super) group: usize,
    /// Whether weights have offsets.
    pub(super) has_offsets: bool,
    /// What has been added to the weights' integers.
    pub(super) added: u8,
}

impl Form {
    /// The form of a format's weights as they are unpacked.
    #[inline(always)]
    pub(super) fn of<B: Unpack>() -> Self {
        Self {
            group: B::GROUP,
            has_offsets: B::HAS_OFFSETS,
            added: B::ADDED,
        }
    }
}

/// Adds the parts of a chunk's groups to their lanes; `dots` are what [`dots`] gives.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
pub(super) unsafe fn add(
    form: Form,
    sum: &mut __m256,
    weights: &Wide,
    dots: __m512i,
    input: &InputChunk,
) {
    // SAFETY: the caller's promise; every load lies within an array of a chunk, which is aligned.
    unsafe {
        if form.group == 32 {
            let mut dots = sums_of_32(dots);
            if form.added > 0 {
                let corrections = _mm256_load_si256(input.corrections.as_ptr().cast());
                let shift = _mm_cvtsi32_si128(correction_shift(form.added));
                dots = _mm256_add_epi32(dots, _mm256_sra_epi32(corrections, shift));
            }
            let scales = _mm512_castps512_ps256(weights.scales);
            let scales = _mm256_mul_ps(scales, _mm256_load_ps(input.scales.as_ptr()));
            let mut parts = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales);
            if form.has_offsets {
                let offsets = _mm512_castps512_ps256(weights.offsets);
                let offsets = _mm256_mul_ps(offsets, _mm256_load_ps(input.sums.as_ptr()));
                parts = _mm256_add_ps(parts, offsets);
            }
            *sum = _mm256_add_ps(*sum, parts);
        } else {
            let mut dots = dots;
            if form.added > 0 {
                let corrections = _mm512_load_si512(input.corrections.as_ptr().cast());
                let shift = _mm_cvtsi32_si128(correction_shift(form.added));
                dots = _mm512_add_epi32(dots, _mm512_sra_epi32(corrections, shift));
            }
            let scales = _mm512_mul_ps(weights.scales, _mm512_load_ps(input.scales.as_ptr()));
            let mut parts = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scales);
            if form.has_offsets {
                let offsets = _mm512_mul_ps(weights.offsets, _mm512_load_ps(input.sums.as_ptr()));
                parts = _mm512_add_ps(parts, offsets);
            }
            *sum = _mm256_add_ps(*sum, _mm512_castps512_ps256(parts));
            *sum = _mm256_add_ps(*sum, _mm512_extractf32x8_ps::<1>(parts));
        }
    }
}

/// The sums of groups of 32, in their order. Two neighbours are a group, in the order across.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
pub(super) unsafe fn sums_of_32(sums: __m512i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let lower = _mm512_castsi512_ps(sums);
        let upper = _mm512_extractf32x8_ps::<1>(lower);
        let lower = _mm512_castps512_ps256(lower);
        let even = _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(lower, upper));
        let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0xdd>(lower, upper));
        _mm256_add_epi32(even, odd)
    }
}

/// By how many bits corrections for 128 are too large.
#[inline(always)]
fn correction_shift(added: u8) -> i32 {
    (128 / i32::from(added)).ilog2() as i32
}

/// The totals of eight products' lanes, each as [`total`](super::super::lanes::total) adds them up.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
pub(super) unsafe fn totals(sums: &[__m256; 8]) -> [f32; 8] {
    // SAFETY: the caller's promise; there is room for eight values.
    unsafe {
        // In each half of a vector the halves of one product, added up.
        let mut halves = [_mm256_setzero_ps(); 4];
        for pair in 0..4 {
            let (first, second) = (sums[2 * pair], sums[2 * pair + 1]);
            halves[pair] = _mm256_add_ps(
                _mm256_permute2f128_ps::<0x20>(first, second),
                _mm256_permute2f128_ps::<0x31>(first, second),
            );
        }
        let mut quarters = [_mm256_setzero_ps(); 2];
        for pair in 0..2 {
            let (first, second) = (halves[2 * pair], halves[2 * pair + 1]);
            quarters[pair] = _mm256_add_ps(
                _mm256_shuffle_ps::<0x44>(first, second),
                _mm256_shuffle_ps::<0xee>(first, second),
            );
        }
        // The even products, and after them the odd ones.
        let singles = _mm256_add_ps(
            _mm256_shuffle_ps::<0x88>(quarters[0], quarters[1]),
            _mm256_shuffle_ps::<0xdd>(quarters[0], quarters[1]),
        );
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let mut totals = [0.0; 8];
        _mm256_storeu_ps(
            totals.as_mut_ptr(),
            _mm256_permutevar8x32_ps(singles, order),
        );
        totals
    }
}
