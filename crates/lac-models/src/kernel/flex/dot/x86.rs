//! Vectors of x86-64 processors.
//!
//! The methods carry no target features, so that they can be those of a trait; they are inlined into
//! functions that do. Each `unsafe` block below rests on that: the functions of `impl_dot!` are entered only
//! where the processor has the instructions.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use burn::tensor::{bf16, f16};

use super::super::value::Value;
use super::{Instructions, padded};

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
