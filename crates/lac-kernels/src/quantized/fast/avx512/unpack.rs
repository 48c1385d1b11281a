//! Blocks as vectors.

use std::arch::x86_64::*;

use crate::quantized::blocks::Block;
use crate::quantized::blocks::small::{E2M1, UNEVEN};
use crate::quantized::blocks::types::*;

/// 256 weights in four vectors of unsigned integers, with [`Unpack::ADDED`] added to each.
pub(in crate::quantized::fast) struct Wide {
    /// In the weights' order.
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

    /// The integers of two groups of 32 weights, the first for `pair` zero.
    ///
    /// # Safety
    /// The processor has the instructions, and the blocks can be read.
    unsafe fn integers(blocks: Blocks, pair: usize) -> __m512i;

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
                integers: [
                    Self::integers(blocks, 0),
                    Self::integers(blocks, 1),
                    Self::integers(blocks, 2),
                    Self::integers(blocks, 3),
                ],
                scales: Self::scales(blocks),
                offsets: Self::offsets(blocks),
            }
        }
    }
}

/// The blocks of a chunk, fewer than it has at a row's end.
#[derive(Clone, Copy)]
pub(in crate::quantized::fast) struct Blocks {
    pub(super) start: *const u8,
    pub(super) n_blocks: usize,
}

/// What stands where there is no block: the input's scale there is zero, and this one's is finite.
static NO_BLOCK: [u8; 34] = [0; 34];

impl Blocks {
    /// A block's place, `at` bytes from its beginning.
    #[inline(always)]
    fn at<B: Block>(self, block: usize, at: usize) -> *const u8 {
        let start = if block < self.n_blocks {
            self.start.wrapping_add(block * B::BYTES)
        } else {
            NO_BLOCK.as_ptr()
        };
        start.wrapping_add(at)
    }

    /// The word of 16 bits at a block's place.
    #[inline(always)]
    unsafe fn half_at<B: Block>(self, block: usize, at: usize) -> i16 {
        // SAFETY: the caller says that the blocks can be read.
        unsafe { self.at::<B>(block, at).cast::<i16>().read_unaligned() }
    }

    /// The word of 32 bits at a block's place.
    #[inline(always)]
    unsafe fn word_at<B: Block>(self, block: usize, at: usize) -> u32 {
        // SAFETY: the caller says that the blocks can be read.
        unsafe { self.at::<B>(block, at).cast::<u32>().read_unaligned() }
    }

    /// The words of 16 bits `at` bytes from each block's beginning.
    #[inline(always)]
    unsafe fn halves<B: Block>(self, at: usize) -> __m128i {
        // SAFETY: the caller says that the blocks can be read.
        unsafe {
            _mm_setr_epi16(
                self.half_at::<B>(0, at),
                self.half_at::<B>(1, at),
                self.half_at::<B>(2, at),
                self.half_at::<B>(3, at),
                self.half_at::<B>(4, at),
                self.half_at::<B>(5, at),
                self.half_at::<B>(6, at),
                self.half_at::<B>(7, at),
            )
        }
    }

    /// The words of 32 bits `at` bytes from each block's beginning.
    #[inline(always)]
    unsafe fn words<B: Block>(self, at: usize) -> __m256i {
        // SAFETY: the caller says that the blocks can be read.
        unsafe {
            _mm256_setr_epi32(
                self.word_at::<B>(0, at) as i32,
                self.word_at::<B>(1, at) as i32,
                self.word_at::<B>(2, at) as i32,
                self.word_at::<B>(3, at) as i32,
                self.word_at::<B>(4, at) as i32,
                self.word_at::<B>(5, at) as i32,
                self.word_at::<B>(6, at) as i32,
                self.word_at::<B>(7, at) as i32,
            )
        }
    }

    /// The sixteen bytes with two indices each, `at` bytes from the beginnings of two blocks, as 64 indices of four
    /// bits.
    #[inline(always)]
    unsafe fn nibbles<B: Block>(self, pair: usize, at: usize) -> __m512i {
        // SAFETY: the caller says that the blocks can be read.
        unsafe { nibbles(self.at::<B>(2 * pair, at), self.at::<B>(2 * pair + 1, at)) }
    }

    /// As [`nibbles`](Self::nibbles), with a fifth bit of each from the 32 bits at another place.
    #[inline(always)]
    unsafe fn five_bits<B: Block>(self, pair: usize, at: usize, high_at: usize) -> __m512i {
        // SAFETY: the caller says that the blocks can be read.
        unsafe {
            let high = self.word_at::<B>(2 * pair + 1, high_at);
            let high = u64::from(self.word_at::<B>(2 * pair, high_at)) | (u64::from(high) << 32);
            let nibbles = self.nibbles::<B>(pair, at);
            _mm512_mask_add_epi8(nibbles, high, nibbles, _mm512_set1_epi8(16))
        }
    }
}

/// Twice sixteen bytes with two indices each, as 64 indices of four bits.
///
/// # Safety
/// The processor has AVX-512, and the bytes can be read.
#[inline(always)]
unsafe fn nibbles(first: *const u8, second: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let first = _mm512_broadcast_i32x4(_mm_loadu_si128(first.cast()));
        let second = _mm_loadu_si128(second.cast());
        let both = _mm512_mask_broadcast_i32x4(first, 0xff00, second);
        let shifts = _mm512_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4);
        _mm512_and_si512(_mm512_srlv_epi32(both, shifts), _mm512_set1_epi8(0xf))
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

/// Thirty-two bytes twice, the second time shifted right by more bits.
///
/// # Safety
/// The processor has AVX-512, and the bytes can be read.
#[inline(always)]
unsafe fn twice_shifted(bytes: *const u8, first: i32, second: i32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let both = _mm512_broadcast_i64x4(_mm256_loadu_si256(bytes.cast()));
        let shifts = _mm512_inserti64x4::<1>(_mm512_set1_epi32(first), _mm256_set1_epi32(second));
        _mm512_srlv_epi32(both, shifts)
    }
}

/// Where a bit is set in thirty-two bytes, and another one in the same bytes.
///
/// # Safety
/// The processor has AVX-512, and the bytes can be read.
#[inline(always)]
unsafe fn bits(bytes: *const u8, first: usize, second: usize) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        let both = _mm512_broadcast_i64x4(_mm256_loadu_si256(bytes.cast()));
        let bit = |bit: usize| (1u8 << bit) as i8;
        let tested =
            _mm512_inserti64x4::<1>(_mm512_set1_epi8(bit(first)), _mm256_set1_epi8(bit(second)));
        _mm512_test_epi8_mask(both, tested)
    }
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

/// A table's sixteen bytes for each of four quarters of a vector, with a constant added.
#[inline(always)]
fn table(values: &[i8; 16], added: u8) -> __m512i {
    let mut bytes = [0; 16];
    for (byte, &value) in bytes.iter_mut().zip(values) {
        *byte = (value as u8).wrapping_add(added);
    }
    // SAFETY: sixteen bytes are read; whoever unpacks has the instructions.
    unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(bytes.as_ptr().cast())) }
}

macro_rules! unpack {
    ($name:ident adds $added:literal, |$blocks:ident| {
        integers: |$pair:ident| $integers:expr,
        scales: $scales:expr,
        offsets: $offsets:expr $(,)?
    }) => {
        impl Unpack for $name {
            const ADDED: u8 = $added;

            #[inline(always)]
            unsafe fn integers($blocks: Blocks, $pair: usize) -> __m512i {
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
        integers: |$pair:ident| $integers:expr,
        scales: $scales:expr $(,)?
    }) => {
        unpack!($name adds $added, |$blocks| {
            integers: |$pair| $integers,
            scales: $scales,
            offsets: {
                let _none = $blocks;
                _mm512_setzero_ps()
            },
        });
    };
}

unpack!(Q8_0 adds 128, |blocks| {
    integers: |pair| {
        let first = _mm256_loadu_si256(blocks.at::<Self>(2 * pair, 2).cast());
        let second = _mm256_loadu_si256(blocks.at::<Self>(2 * pair + 1, 2).cast());
        let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second);
        _mm512_xor_si512(both, _mm512_set1_epi8(-128))
    },
    scales: eight(_mm256_cvtph_ps(blocks.halves::<Self>(0))),
});
unpack!(Q4_0 adds 8, |blocks| {
    integers: |pair| blocks.nibbles::<Self>(pair, 2),
    scales: eight(_mm256_cvtph_ps(blocks.halves::<Self>(0))),
});
unpack!(Q4_1 adds 0, |blocks| {
    integers: |pair| blocks.nibbles::<Self>(pair, 4),
    scales: eight(_mm256_cvtph_ps(_mm256_cvtepi32_epi16(blocks.words::<Self>(0)))),
    offsets: upper_halves(blocks.words::<Self>(0)),
});
unpack!(Q5_0 adds 16, |blocks| {
    integers: |pair| blocks.five_bits::<Self>(pair, 6, 2),
    scales: eight(_mm256_cvtph_ps(blocks.halves::<Self>(0))),
});
unpack!(Q5_1 adds 0, |blocks| {
    integers: |pair| blocks.five_bits::<Self>(pair, 8, 4),
    scales: eight(_mm256_cvtph_ps(_mm256_cvtepi32_epi16(blocks.words::<Self>(0)))),
    offsets: upper_halves(blocks.words::<Self>(0)),
});
unpack!(IQ4_NL adds 128, |blocks| {
    integers: |pair| _mm512_shuffle_epi8(table(&UNEVEN, 128), blocks.nibbles::<Self>(pair, 2)),
    scales: eight(_mm256_cvtph_ps(blocks.halves::<Self>(0))),
});
unpack!(MXFP4 adds 16, |blocks| {
    integers: |pair| _mm512_shuffle_epi8(table(&E2M1, 16), blocks.nibbles::<Self>(pair, 1)),
    scales: eight(powers(blocks)),
});
unpack!(Q4_K adds 0, |blocks| {
    integers: |pair| {
        let nibbles = twice_shifted(blocks.start.wrapping_add(16 + 32 * pair), 0, 4);
        _mm512_and_si512(nibbles, _mm512_set1_epi8(0xf))
    },
    scales: six_bits(half(blocks.start), six_bit_integers(blocks.start).0),
    offsets: six_bits(minus_half(blocks.start.wrapping_add(2)), six_bit_integers(blocks.start).1),
});
unpack!(Q5_K adds 0, |blocks| {
    integers: |pair| {
        let nibbles = twice_shifted(blocks.start.wrapping_add(48 + 32 * pair), 0, 4);
        let nibbles = _mm512_and_si512(nibbles, _mm512_set1_epi8(0xf));
        let fifth = bits(blocks.start.wrapping_add(16), 2 * pair, 2 * pair + 1);
        _mm512_mask_add_epi8(nibbles, fifth, nibbles, _mm512_set1_epi8(16))
    },
    scales: six_bits(half(blocks.start), six_bit_integers(blocks.start).0),
    offsets: six_bits(minus_half(blocks.start.wrapping_add(2)), six_bit_integers(blocks.start).1),
});
unpack!(Q6_K adds 32, |blocks| {
    integers: |pair| {
        let (span, shift) = (pair / 2, 4 * (pair % 2));
        let bytes = _mm512_loadu_si512(blocks.start.wrapping_add(64 * span).cast());
        let lower = _mm512_srlv_epi32(bytes, _mm512_set1_epi32(shift as i32));
        let upper = twice_shifted(
            blocks.start.wrapping_add(128 + 32 * span),
            shift as i32,
            shift as i32 + 2,
        );
        let upper = _mm512_and_si512(upper, _mm512_set1_epi8(3));
        let lower = _mm512_and_si512(lower, _mm512_set1_epi8(0xf));
        _mm512_or_si512(lower, _mm512_slli_epi32::<4>(upper))
    },
    scales: times_bytes(
        half(blocks.start.wrapping_add(208)),
        _mm_loadu_si128(blocks.start.wrapping_add(192).cast()),
    ),
});
unpack!(Q2_K adds 0, |blocks| {
    integers: |pair| bit_pairs(blocks.start.wrapping_add(16), pair),
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
    integers: |pair| {
        let lower = bit_pairs(blocks.start.wrapping_add(32), pair);
        let third = bits(blocks.start, 2 * pair, 2 * pair + 1);
        _mm512_mask_add_epi8(lower, third, lower, _mm512_set1_epi8(4))
    },
    scales: times_bytes(half(blocks.start.wrapping_add(108)), q3_scales(blocks.start.wrapping_add(96))),
});
unpack!(IQ4_XS adds 128, |blocks| {
    integers: |pair| {
        // As two blocks of IQ4_NL beside each other, without scales.
        let bytes = blocks.start.wrapping_add(8 + 32 * pair);
        let nibbles = nibbles(bytes, bytes.wrapping_add(16));
        _mm512_shuffle_epi8(table(&UNEVEN, 128), nibbles)
    },
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

/// Two of the eight times 32 pairs of bits that Q2_K and Q3_K have.
///
/// # Safety
/// The processor has AVX-512, and 64 bytes can be read.
#[inline(always)]
unsafe fn bit_pairs(bytes: *const u8, pair: usize) -> __m512i {
    let shift = 4 * (pair % 2) as i32;
    // SAFETY: the caller's promise.
    unsafe {
        let pairs = twice_shifted(bytes.wrapping_add(32 * (pair / 2)), shift, shift + 2);
        _mm512_and_si512(pairs, _mm512_set1_epi8(3))
    }
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
