//! Inputs, rounded as [`super::super::inputs`] says and laid out as products take them.

// A closure around an instruction can stay a call, and an iterator takes one: loops count here.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::super::input_chunk::{ACROSS, InputChunk, ROUND, SMALLEST, SPAN};
use super::chunk::sums_of_32;
use super::integers::across_32;
use crate::quantized::blocks::CHUNK;
use crate::value::Value;

/// Spans of a chunk.
const SPANS: usize = CHUNK / SPAN;

/// A chunk's integers, group after group.
#[repr(align(64))]
struct Integers([i8; CHUNK]);

/// Rounds `[rows, width]`, chunk by chunk, in groups of 16 or 32.
///
/// # Safety
/// The processor has the instructions.
#[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::quantized::fast) unsafe fn round<E: Value>(
    group: usize,
    values: &[E],
    width: usize,
    chunks: &mut [InputChunk],
) {
    let n_chunks = width.div_ceil(CHUNK);
    for (values, chunks) in values
        .chunks_exact(width)
        .zip(chunks.chunks_exact_mut(n_chunks))
    {
        for (values, chunk) in values.chunks(CHUNK).zip(chunks) {
            let mut padded = [0.0; CHUNK];
            for (padded, value) in padded.iter_mut().zip(values) {
                *padded = value.widen();
            }
            // SAFETY: the caller's promise.
            unsafe {
                let mut integers = Integers([0; CHUNK]);
                let scales = round_spans(&padded, &mut integers);
                if group == 32 {
                    lay_out_32(&integers, scales, chunk);
                } else {
                    lay_out_16(&integers, scales, chunk);
                }
            }
        }
    }
}

/// Rounds a chunk's spans and returns their scales.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn round_spans(values: &[f32; CHUNK], integers: &mut Integers) -> __m256 {
    // SAFETY: the caller's promise; every load and store lies within an array.
    unsafe {
        let mut largest = [0u32; SPANS];
        for span in 0..SPANS {
            let place = values.as_ptr().add(span * SPAN);
            // The magnitudes' bits are in the order of the magnitudes, infinity and NaN last.
            let magnitudes = _mm512_set1_epi32(0x7fff_ffff);
            let first = _mm512_castps_si512(_mm512_loadu_ps(place));
            let second = _mm512_castps_si512(_mm512_loadu_ps(place.add(16)));
            largest[span] = _mm512_reduce_max_epu32(_mm512_max_epu32(
                _mm512_and_si512(first, magnitudes),
                _mm512_and_si512(second, magnitudes),
            ));
        }
        let largest = _mm256_castsi256_ps(_mm256_loadu_si256(largest.as_ptr().cast()));
        let infinity = _mm256_set1_ps(f32::INFINITY);
        let is_finite = _mm256_cmp_ps_mask::<_CMP_LT_OQ>(largest, infinity);
        let is_rounded =
            is_finite & _mm256_cmp_ps_mask::<_CMP_GE_OQ>(largest, _mm256_set1_ps(SMALLEST));
        let most = _mm256_set1_ps(127.0);
        let scales = _mm256_maskz_div_ps(is_rounded, largest, most);
        let scales = _mm256_mask_mov_ps(_mm256_set1_ps(f32::NAN), is_finite, scales);
        let mut inverses = [0.0f32; SPANS];
        _mm256_storeu_ps(inverses.as_mut_ptr(), _mm256_div_ps(most, largest));
        for span in 0..SPANS {
            let inverse = _mm512_set1_ps(inverses[span]);
            let mask = if is_rounded & (1 << span) > 0 {
                0xffff
            } else {
                0
            };
            for half in 0..2 {
                let at = span * SPAN + half * 16;
                let value = _mm512_loadu_ps(values.as_ptr().add(at));
                let rounded = _mm512_add_ps(_mm512_mul_ps(value, inverse), _mm512_set1_ps(ROUND));
                let bytes = _mm512_maskz_cvtepi32_epi8(mask, _mm512_castps_si512(rounded));
                _mm_store_si128(integers.0.as_mut_ptr().add(at).cast(), bytes);
            }
        }
        scales
    }
}

/// Lays out a chunk with groups of 32.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn lay_out_32(integers: &Integers, scales: __m256, chunk: &mut InputChunk) {
    // SAFETY: the caller's promise; every load and store lies within an array.
    unsafe {
        let mut groups = [integers.0.as_ptr().cast::<u8>(); 8];
        for group in 0..8 {
            groups[group] = groups[group].add(32 * group);
        }
        let across = across_32(groups);
        store_integers(&across, chunk);
        let totals = sums_of_32(added_up(&across));
        let corrections = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32::<7>(totals));
        let sums = _mm256_mul_ps(scales, _mm256_cvtepi32_ps(totals));
        _mm256_store_ps(chunk.scales.as_mut_ptr(), scales);
        _mm256_store_si256(chunk.corrections.as_mut_ptr().cast(), corrections);
        _mm256_store_ps(chunk.sums.as_mut_ptr(), sums);
        let mut order = [0i32; 16];
        for lane in 0..16 {
            order[lane] = ACROSS[2 * (lane / 4) + lane % 2] as i32;
        }
        let order = _mm512_loadu_si512(order.as_ptr().cast());
        let twice = |values| _mm512_permutexvar_ps(order, _mm512_castps256_ps512(values));
        _mm512_store_ps(chunk.twice.scales.as_mut_ptr(), twice(scales));
        _mm512_store_ps(chunk.twice.sums.as_mut_ptr(), twice(sums));
        let corrections = twice(_mm256_castsi256_ps(corrections));
        _mm512_store_ps(chunk.twice.corrections.as_mut_ptr().cast(), corrections);
    }
}

/// Lays out a chunk with groups of 16, two of which are a span.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn lay_out_16(integers: &Integers, scales: __m256, chunk: &mut InputChunk) {
    // SAFETY: the caller's promise; every load and store lies within an array.
    unsafe {
        let mut across = [_mm512_setzero_si512(); 4];
        let words = integers.0.as_ptr().cast::<i32>();
        for quarter in 0..4 {
            let lanes =
                _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60);
            across[quarter] = _mm512_i32gather_epi32::<4>(lanes, words.add(quarter));
        }
        store_integers(&across, chunk);
        let totals = added_up(&across);
        let corrections = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32::<7>(totals));
        let order = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        let scales = _mm512_permutexvar_ps(order, _mm512_castps256_ps512(scales));
        let sums = _mm512_mul_ps(scales, _mm512_cvtepi32_ps(totals));
        _mm512_store_ps(chunk.scales.as_mut_ptr(), scales);
        _mm512_store_si512(chunk.corrections.as_mut_ptr().cast(), corrections);
        _mm512_store_ps(chunk.sums.as_mut_ptr(), sums);
    }
}

/// Sums of four integers beside each other, added up over four vectors.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn added_up(vectors: &[__m512i; 4]) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = _mm512_setzero_si512();
        for quarter in 0..4 {
            sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), vectors[quarter]);
        }
        sums
    }
}

/// Writes a chunk's integers.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn store_integers(across: &[__m512i; 4], chunk: &mut InputChunk) {
    for quarter in 0..4 {
        // SAFETY: the caller's promise; the place lies within the array, which is aligned.
        unsafe {
            let place = chunk.integers.as_mut_ptr().add(64 * quarter);
            _mm512_store_si512(place.cast(), across[quarter]);
        }
    }
}
