//! Vectors of x86-64 processors.
//!
//! The methods carry no target features, so that they can be those of a trait; they are inlined into
//! functions that do. Each `unsafe` block below rests on that: the functions of `impl_dot!` are entered only
//! where the processor has the instructions.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use burn::tensor::{bf16, f16};

use super::instructions::{Instructions, padded};
use crate::value::Value;

/// Sixteen values, widened to f32.
pub(super) struct Avx512<E>(PhantomData<E>);

/// Eight values, widened to f32.
pub(super) struct Avx2<E>(PhantomData<E>);

/// Thirty-two values, multiplied in pairs as they are.
pub(super) struct Avx512Bf16;

/// Values that vectors of f32 can be made of.
pub(super) trait Widen: Value {
    /// # Safety
    /// The processor has AVX-512, and sixteen values can be read.
    unsafe fn sixteen(values: *const Self) -> __m512;

    /// # Safety
    /// The processor has AVX-512, and as many values can be read as the mask has bits.
    unsafe fn first_of_sixteen(values: *const Self, mask: u16) -> __m512;

    /// # Safety
    /// The processor has AVX2 and F16C, and eight values can be read.
    unsafe fn eight(values: *const Self) -> __m256;
}

impl Widen for f32 {
    #[inline(always)]
    unsafe fn sixteen(values: *const Self) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(values) }
    }

    #[inline(always)]
    unsafe fn first_of_sixteen(values: *const Self, mask: u16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(mask, values) }
    }

    #[inline(always)]
    unsafe fn eight(values: *const Self) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(values) }
    }
}

impl Widen for bf16 {
    #[inline(always)]
    unsafe fn sixteen(values: *const Self) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(values.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn first_of_sixteen(values: *const Self, mask: u16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, values.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn eight(values: *const Self) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(values.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }
}

impl Widen for f16 {
    #[inline(always)]
    unsafe fn sixteen(values: *const Self) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(values.cast())) }
    }

    #[inline(always)]
    unsafe fn first_of_sixteen(values: *const Self, mask: u16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, values.cast())) }
    }

    #[inline(always)]
    unsafe fn eight(values: *const Self) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(values.cast())) }
    }
}

impl<E: Widen> Instructions for Avx512<E> {
    type Value = E;
    type Vector = __m512;
    type Sum = __m512;

    const STEP: usize = 16;
    const LEFT: usize = 6;

    #[inline(always)]
    fn zero() -> Self::Sum {
        // SAFETY: see the module.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(values: *const E) -> Self::Vector {
        // SAFETY: the caller's promise.
        unsafe { E::sixteen(values) }
    }

    #[inline(always)]
    unsafe fn load_first(values: *const E, n: usize) -> Self::Vector {
        // SAFETY: the mask has `n` bits; the caller's promise.
        unsafe { E::first_of_sixteen(values, ((1u32 << n) - 1) as u16) }
    }

    #[inline(always)]
    fn multiply_add(sum: Self::Sum, left: Self::Vector, right: Self::Vector) -> Self::Sum {
        // SAFETY: see the module.
        unsafe { _mm512_fmadd_ps(left, right, sum) }
    }

    #[inline(always)]
    fn total(sum: Self::Sum) -> f32 {
        // SAFETY: see the module.
        unsafe { _mm512_reduce_add_ps(sum) }
    }

    #[inline(always)]
    fn totals<const LEFT: usize, const RIGHT: usize>(
        sums: [[Self::Sum; RIGHT]; LEFT],
    ) -> [[f32; LEFT]; RIGHT] {
        // SAFETY: see the module.
        unsafe { totals_of_sixteen_lanes(sums) }
    }
}

impl Instructions for Avx512Bf16 {
    type Value = bf16;
    type Vector = __m512bh;
    type Sum = __m512;

    const STEP: usize = 32;
    const LEFT: usize = 6;

    #[inline(always)]
    fn zero() -> Self::Sum {
        // SAFETY: see the module.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(values: *const bf16) -> Self::Vector {
        // SAFETY: the caller says that 32 values can be read, unaligned; both types are 64 bytes of bits.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(values.cast())) }
    }

    #[inline(always)]
    unsafe fn load_first(values: *const bf16, n: usize) -> Self::Vector {
        let mask = ((1u64 << n) - 1) as u32;
        // SAFETY: the mask has `n` bits; the caller's promise. The types as above.
        unsafe {
            let bits = _mm512_maskz_loadu_epi16(mask, values.cast());
            std::mem::transmute::<__m512i, __m512bh>(bits)
        }
    }

    #[inline(always)]
    fn multiply_add(sum: Self::Sum, left: Self::Vector, right: Self::Vector) -> Self::Sum {
        // SAFETY: see the module.
        unsafe { _mm512_dpbf16_ps(sum, left, right) }
    }

    #[inline(always)]
    fn total(sum: Self::Sum) -> f32 {
        // SAFETY: see the module.
        unsafe { _mm512_reduce_add_ps(sum) }
    }

    #[inline(always)]
    fn totals<const LEFT: usize, const RIGHT: usize>(
        sums: [[Self::Sum; RIGHT]; LEFT],
    ) -> [[f32; LEFT]; RIGHT] {
        // SAFETY: see the module.
        unsafe { totals_of_sixteen_lanes(sums) }
    }
}

impl<E: Widen> Instructions for Avx2<E> {
    type Value = E;
    type Vector = __m256;
    type Sum = __m256;

    const STEP: usize = 8;
    const LEFT: usize = 2;

    #[inline(always)]
    fn zero() -> Self::Sum {
        // SAFETY: see the module.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(values: *const E) -> Self::Vector {
        // SAFETY: the caller's promise.
        unsafe { E::eight(values) }
    }

    #[inline(always)]
    unsafe fn load_first(values: *const E, n: usize) -> Self::Vector {
        // SAFETY: the caller's promise.
        unsafe { E::eight(padded::<E, 8>(values, n).as_ptr()) }
    }

    #[inline(always)]
    fn multiply_add(sum: Self::Sum, left: Self::Vector, right: Self::Vector) -> Self::Sum {
        // SAFETY: see the module.
        unsafe { _mm256_fmadd_ps(left, right, sum) }
    }

    #[inline(always)]
    fn total(sum: Self::Sum) -> f32 {
        // SAFETY: see the module.
        unsafe {
            let halves = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
            let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
            _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
        }
    }
}

/// The totals of sums in sixteen lanes, each added up as `_mm512_reduce_add_ps` adds it: halves, quarters, pairs.
///
/// Sums of a tile are added up together: a step lays vectors side by side whose upper lanes are done with, so that
/// sixteen sums take fifteen additions, where each by itself takes four.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn totals_of_sixteen_lanes<const LEFT: usize, const RIGHT: usize>(
    sums: [[__m512; RIGHT]; LEFT],
) -> [[f32; LEFT]; RIGHT] {
    let mut totals = [[0.0; LEFT]; RIGHT];
    let places = totals.as_flattened_mut();
    // In the order of the places. In loops, which the compiler unrolls and leaves in registers.
    let mut s = [unsafe { _mm512_setzero_ps() }; 24];
    for right in 0..RIGHT {
        for left in 0..LEFT {
            s[right * LEFT + left] = sums[left][right];
        }
    }
    // SAFETY: the caller's promise; there is room for as many values as are written.
    unsafe {
        if LEFT * RIGHT == 24 {
            let first = pairs(
                quarters([s[0], s[4], s[8], s[12]]),
                quarters([s[1], s[5], s[9], s[13]]),
            );
            let second = pairs(
                quarters([s[2], s[6], s[10], s[14]]),
                quarters([s[3], s[7], s[11], s[15]]),
            );
            let singles = _mm512_add_ps(
                _mm512_shuffle_ps::<0x88>(first, second),
                _mm512_shuffle_ps::<0xdd>(first, second),
            );
            _mm512_storeu_ps(places.as_mut_ptr(), singles);
            let rest = eight([s[16], s[17], s[18], s[19], s[20], s[21], s[22], s[23]]);
            _mm256_storeu_ps(places[16..].as_mut_ptr(), rest);
        } else if LEFT * RIGHT == 12 {
            let first = eight([s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]]);
            _mm256_storeu_ps(places.as_mut_ptr(), first);
            let rest = eight([s[8], s[9], s[10], s[11], s[8], s[9], s[10], s[11]]);
            _mm_storeu_ps(places[8..].as_mut_ptr(), _mm256_castps256_ps128(rest));
        } else if LEFT * RIGHT == 8 {
            let all = eight([s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]]);
            _mm256_storeu_ps(places.as_mut_ptr(), all);
        } else if LEFT * RIGHT == 6 {
            let six = eight([s[0], s[1], s[2], s[3], s[4], s[5], s[4], s[5]]);
            _mm256_mask_storeu_ps(places.as_mut_ptr(), 0x3f, six);
        } else if LEFT * RIGHT == 4 {
            let four = eight([s[0], s[1], s[2], s[3], s[0], s[1], s[2], s[3]]);
            _mm_storeu_ps(places.as_mut_ptr(), _mm256_castps256_ps128(four));
        } else if LEFT * RIGHT == 3 {
            let three = eight([s[0], s[1], s[2], s[2], s[0], s[1], s[2], s[2]]);
            _mm_mask_storeu_ps(places.as_mut_ptr(), 0x7, _mm256_castps256_ps128(three));
        } else {
            for (place, sum) in places.iter_mut().zip(s) {
                *place = _mm512_reduce_add_ps(sum);
            }
        }
    }
    totals
}

/// The totals of eight sums.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn eight(sums: [__m512; 8]) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        let even = quarters([sums[0], sums[2], sums[4], sums[6]]);
        let odd = quarters([sums[1], sums[3], sums[5], sums[7]]);
        let pairs = pairs(even, odd);
        let singles = _mm512_add_ps(pairs, _mm512_movehdup_ps(pairs));
        _mm512_castps512_ps256(_mm512_maskz_compress_ps(0x5555, singles))
    }
}

/// Adds the upper half of each vector to its lower half, and of those again: four lanes of each, in order.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn quarters([a, b, c, d]: [__m512; 4]) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let halves = |a, b| {
            _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x44>(a, b),
                _mm512_shuffle_f32x4::<0xee>(a, b),
            )
        };
        let (first, second) = (halves(a, b), halves(c, d));
        _mm512_add_ps(
            _mm512_shuffle_f32x4::<0x88>(first, second),
            _mm512_shuffle_f32x4::<0xdd>(first, second),
        )
    }
}

/// Adds the upper pair of every four lanes to the lower one: two lanes of each vector, side by side.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn pairs(first: __m512, second: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        _mm512_add_ps(
            _mm512_shuffle_ps::<0x44>(first, second),
            _mm512_shuffle_ps::<0xee>(first, second),
        )
    }
}
