//! Blocks as vectors.

use std::arch::x86_64::*;

use super::blocks::Blocks;
use super::integers::{
    bit_pairs, iq4_indices, looked_up, nibble_pairs, q3_quarter, q5_integers, q6_quarter,
    q8_integers, quarters, table,
};
use crate::quantized::blocks::Block;
use crate::quantized::blocks::small::{E2M1, UNEVEN};
use crate::quantized::blocks::types::*;

/// 256 weights in four vectors of unsigned integers, with [`Unpack::ADDED`] added to each.
#[derive(Clone, Copy)]
pub(in crate::quantized::fast) struct Wide {
    /// In [`Order::Across`](super::super::input_chunk::Order::Across).
    pub(super) integers: [__m512i; 4],
    /// Of sixteen groups, or of eight in the lower half.
    pub(super) scales: __m512,
    /// The same, where the format has offsets.
    pub(super) offsets: __m512,
}

/// A format whose blocks can be unpacked to vectors. Scales and offsets are computed as [`Block::unpack`] computes them.
pub(in crate::quantized::fast) trait Unpack: Block {
    /// What is added to an integer so that it has no sign: a power of two, or nothing.
    const ADDED: u8;

    /// The integers of a chunk: a quarter of each group in each vector.
    ///
    /// # Safety
    /// The processor has the instructions, and the blocks can be read.
    unsafe fn integers(blocks: Blocks) -> [__m512i; 4];

    /// The scales of a chunk's groups.
    ///
    /// # Safety
    /// As for [`integers`](Self::integers).
    unsafe fn scales(blocks: Blocks) -> __m512;

    /// The offsets of a chunk's groups, where the format has them.
    ///
    /// # Safety
    /// As for [`integers`](Self::integers).
    unsafe fn offsets(blocks: Blocks) -> __m512;

    /// Unpacks a chunk.
    ///
    /// # Safety
    /// As for [`integers`](Self::integers).
    #[inline(always)]
    unsafe fn unpack_wide(blocks: Blocks) -> Wide {
        // SAFETY: the caller's promise.
        unsafe {
            Wide {
                integers: Self::integers(blocks),
                scales: Self::scales(blocks),
                offsets: Self::offsets(blocks),
            }
        }
    }

    /// Unpacks a chunk of a row, or at the row's end the part that is left of it.
    ///
    /// # Safety
    /// As for [`integers`](Self::integers); the row has a block or more after `start`.
    #[inline(always)]
    unsafe fn unpack_chunk(row: &[u8], start: usize) -> Wide {
        let n_bytes = row.len() - start;
        let start = row.as_ptr().wrapping_add(start);
        // With a number that the compiler knows, no block has to be asked for.
        // SAFETY: the caller's promise.
        unsafe {
            if n_bytes >= Self::PER_CHUNK * Self::BYTES {
                let n_blocks = Self::PER_CHUNK;
                Self::unpack_wide(Blocks { start, n_blocks })
            } else {
                let n_blocks = n_bytes / Self::BYTES;
                Self::unpack_wide(Blocks { start, n_blocks })
            }
        }
    }
}

/// Values of eight groups.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn eight(values: __m256) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_castps256_ps512(values) }
}

/// Sixteen signed bytes as f32, times a number.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn times_bytes(number: __m512, bytes: __m128i) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_mul_ps(number, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))) }
}

/// The f16 at a place, in all lanes.
///
/// # Safety
/// The processor has AVX-512 and F16C, and two bytes can be read.
#[inline(always)]
unsafe fn half(place: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let bits = _mm256_set1_epi16(place.cast::<i16>().read_unaligned());
        _mm512_cvtph_ps(bits)
    }
}

/// The same negated.
///
/// # Safety
/// As for [`half`].
#[inline(always)]
unsafe fn minus_half(place: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_xor_ps(half(place), _mm512_set1_ps(-0.0)) }
}

macro_rules! unpack {
    ($name:ident adds $added:literal, |$blocks:ident| {
        integers: $integers:expr,
        scales: $scales:expr,
        offsets: $offsets:expr $(,)?
    }) => {
        impl Unpack for $name {
            const ADDED: u8 = $added;

            #[inline(always)]
            unsafe fn integers($blocks: Blocks) -> [__m512i; 4] {
                // SAFETY: the caller says that the processor has the instructions, and that the blocks can be read;
                // all places lie within a block.
                unsafe { $integers }
            }

            #[inline(always)]
            unsafe fn scales($blocks: Blocks) -> __m512 {
                // SAFETY: as above.
                unsafe { $scales }
            }

            #[inline(always)]
            unsafe fn offsets($blocks: Blocks) -> __m512 {
                // SAFETY: as above.
                unsafe { $offsets }
            }
        }
    };
    ($name:ident adds $added:literal, |$blocks:ident| {
        integers: $integers:expr,
        scales: $scales:expr $(,)?
    }) => {
        unpack!($name adds $added, |$blocks| {
            integers: $integers,
            scales: $scales,
            offsets: {
                let _none = $blocks;
                _mm512_setzero_ps()
            },
        });
    };
}

unpack!(Q8_0 adds 128, |blocks| {
    integers: q8_integers(blocks),
    scales: eight(_mm256_cvtph_ps(blocks.halves::<Self>(0))),
});
unpack!(Q4_0 adds 8, |blocks| {
    integers: blocks.of_eighteen_bytes().1,
    scales: eight(_mm256_cvtph_ps(blocks.of_eighteen_bytes().0)),
});
unpack!(Q4_1 adds 0, |blocks| {
    integers: blocks.nibbles::<Self>(4),
    scales: eight(_mm256_cvtph_ps(_mm256_cvtepi32_epi16(blocks.words::<Self>(0)))),
    offsets: upper_halves(blocks.words::<Self>(0)),
});
unpack!(Q5_0 adds 16, |blocks| {
    integers: blocks.five_bits::<Self>(6, 2),
    scales: eight(_mm256_cvtph_ps(blocks.halves::<Self>(0))),
});
unpack!(Q5_1 adds 0, |blocks| {
    integers: blocks.five_bits::<Self>(8, 4),
    scales: eight(_mm256_cvtph_ps(_mm256_cvtepi32_epi16(blocks.words::<Self>(0)))),
    offsets: upper_halves(blocks.words::<Self>(0)),
});
unpack!(IQ4_NL adds 128, |blocks| {
    integers: looked_up(table(&UNEVEN, 128), blocks.of_eighteen_bytes().1),
    scales: eight(_mm256_cvtph_ps(blocks.of_eighteen_bytes().0)),
});
unpack!(MXFP4 adds 16, |blocks| {
    integers: looked_up(table(&E2M1, 16), blocks.nibbles::<Self>(1)),
    scales: eight(powers(blocks)),
});
unpack!(Q4_K adds 0, |blocks| {
    integers: nibble_pairs(blocks.start.wrapping_add(16)),
    scales: six_bits(half(blocks.start), six_bit_integers(blocks.start).0),
    offsets: six_bits(minus_half(blocks.start.wrapping_add(2)), six_bit_integers(blocks.start).1),
});
unpack!(Q5_K adds 0, |blocks| {
    integers: q5_integers(blocks.start),
    scales: six_bits(half(blocks.start), six_bit_integers(blocks.start).0),
    offsets: six_bits(minus_half(blocks.start.wrapping_add(2)), six_bit_integers(blocks.start).1),
});
unpack!(Q6_K adds 32, |blocks| {
    integers: quarters!(q6_quarter(blocks.start)),
    scales: times_bytes(
        half(blocks.start.wrapping_add(208)),
        _mm_loadu_si128(blocks.start.wrapping_add(192).cast()),
    ),
});
unpack!(Q2_K adds 0, |blocks| {
    integers: quarters!(bit_pairs(blocks.start.wrapping_add(16))),
    scales: times_bytes(
        half(blocks.start.wrapping_add(80)),
        _mm_and_si128(_mm_loadu_si128(blocks.start.cast()), _mm_set1_epi8(0xf)),
    ),
    offsets: times_bytes(
        minus_half(blocks.start.wrapping_add(82)),
        _mm_and_si128(
            _mm_srli_epi16::<4>(_mm_loadu_si128(blocks.start.cast())),
            _mm_set1_epi8(0xf),
        ),
    ),
});
unpack!(Q3_K adds 4, |blocks| {
    integers: quarters!(q3_quarter(blocks.start)),
    scales: times_bytes(half(blocks.start.wrapping_add(108)), q3_scales(blocks.start.wrapping_add(96))),
});
unpack!(IQ4_XS adds 128, |blocks| {
    integers: looked_up(table(&UNEVEN, 128), iq4_indices(blocks.start.wrapping_add(8))),
    scales: times_bytes(half(blocks.start), iq4_scales(blocks.start)),
});

/// The upper halves of words as f16.
///
/// # Safety
/// The processor has AVX-512 and F16C.
#[inline(always)]
unsafe fn upper_halves(words: __m256i) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let halves = _mm256_cvtepi32_epi16(_mm256_srli_epi32::<16>(words));
        eight(_mm256_cvtph_ps(halves))
    }
}

/// The powers of two of MXFP4, 2^(exponent − 128), the two smallest of them subnormal.
///
/// # Safety
/// The processor has AVX-512, and the blocks can be read.
#[inline(always)]
unsafe fn powers(blocks: Blocks) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        // The word's other bytes do not matter.
        let words = blocks.words::<MXFP4>(0);
        let exponents = _mm256_and_si256(words, _mm256_set1_epi32(0xff));
        let one = _mm256_set1_epi32(1);
        let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(exponents, one));
        let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), exponents);
        let is_normal = _mm256_cmpgt_epi32_mask(exponents, one);
        _mm256_castsi256_ps(_mm256_mask_blend_epi32(is_normal, subnormal, normal))
    }
}

/// A number times eight integers without sign.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn six_bits(number: __m512, integers: u64) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let integers = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(integers as i64));
        let number = _mm512_castps512_ps256(number);
        eight(_mm256_mul_ps(number, _mm256_cvtepi32_ps(integers)))
    }
}

/// The integers of scales and offsets of Q4_K and Q5_K, a byte each.
///
/// # Safety
/// Sixteen bytes can be read.
#[inline(always)]
unsafe fn six_bit_integers(block: *const u8) -> (u64, u64) {
    // SAFETY: the caller's promise.
    let [first, second, third] =
        unsafe { block.wrapping_add(4).cast::<[u32; 3]>().read_unaligned() };
    let join = |lower: u32, upper: u32| u64::from(lower) | (u64::from(upper) << 32);
    let scales = (third & 0x0f0f_0f0f) | ((first >> 2) & 0x3030_3030);
    let offsets = ((third >> 4) & 0x0f0f_0f0f) | ((second >> 2) & 0x3030_3030);
    (
        join(first & 0x3f3f_3f3f, scales),
        join(second & 0x3f3f_3f3f, offsets),
    )
}

/// The sixteen integers of Q3_K's scales, from twelve bytes.
///
/// # Safety
/// The processor has AVX-512, and the bytes can be read.
#[inline(always)]
unsafe fn q3_scales(bytes: *const u8) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let lower = bytes.cast::<u64>().read_unaligned();
        let upper = bytes.wrapping_add(8).cast::<u32>().read_unaligned();
        let lower = _mm_set_epi64x((lower >> 4) as i64, lower as i64);
        let upper = _mm_set_epi32(
            (upper >> 6) as i32,
            (upper >> 4) as i32,
            (upper >> 2) as i32,
            upper as i32,
        );
        let lower = _mm_and_si128(lower, _mm_set1_epi8(0xf));
        let upper = _mm_and_si128(upper, _mm_set1_epi8(3));
        let integers = _mm_or_si128(lower, _mm_slli_epi16::<4>(upper));
        _mm_sub_epi8(integers, _mm_set1_epi8(32))
    }
}

/// The eight integers of IQ4_XS' scales, from the six bytes after the first two.
///
/// # Safety
/// The processor has AVX-512, and the bytes can be read.
#[inline(always)]
unsafe fn iq4_scales(block: *const u8) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let upper = block.wrapping_add(2).cast::<u16>().read_unaligned();
        let lower = block.wrapping_add(4).cast::<u32>().read_unaligned();
        let mut integers = [0i8; 8];
        for (group, integer) in integers.iter_mut().enumerate() {
            let lower = (lower >> (4 * group)) & 0xf;
            let upper = (u32::from(upper) >> (2 * group)) & 3;
            *integer = (lower | (upper << 4)) as i8 - 32;
        }
        _mm_loadl_epi64(integers.as_ptr().cast())
    }
}
