//! Blocks as vectors.

// A closure around an instruction can stay a call, and an iterator takes one: loops count here.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::super::inputs::ACROSS;
use crate::quantized::blocks::Block;
use crate::quantized::blocks::small::{E2M1, UNEVEN};
use crate::quantized::blocks::types::*;

/// 256 weights in four vectors of unsigned integers, with [`Unpack::ADDED`] added to each.
#[derive(Clone, Copy)]
pub(in crate::quantized::fast) struct Wide {
    /// In [`Order::Across`](super::super::inputs::Order::Across).
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

    /// The first eight of the sixteen bytes `at` bytes from each block's beginning, across, and the other eight.
    #[inline(always)]
    unsafe fn sixteen_bytes<B: Block>(self, at: usize) -> [__m512i; 2] {
        // SAFETY: the caller says that the blocks can be read.
        unsafe {
            let bytes = |block| _mm_loadu_si128(self.at::<B>(block, at).cast());
            let even = four_lanes([bytes(0), bytes(4), bytes(2), bytes(6)]);
            let odd = four_lanes([bytes(1), bytes(5), bytes(3), bytes(7)]);
            [
                _mm512_unpacklo_epi64(even, odd),
                _mm512_unpackhi_epi64(even, odd),
            ]
        }
    }

    /// The four-bit integers of blocks that have sixteen bytes with two of them each, `at` bytes from the beginning.
    #[inline(always)]
    unsafe fn nibbles<B: Block>(self, at: usize) -> [__m512i; 4] {
        // SAFETY: the caller says that the blocks can be read.
        unsafe { nibbles(self.sixteen_bytes::<B>(at)) }
    }

    /// As [`nibbles`](Self::nibbles), with a fifth bit of each from the 32 bits at another place.
    #[inline(always)]
    unsafe fn five_bits<B: Block>(self, at: usize, high_at: usize) -> [__m512i; 4] {
        // SAFETY: the caller says that the blocks can be read.
        unsafe {
            let word = |block| self.word_at::<B>(block, high_at) as i32;
            let words = _mm256_setr_epi32(
                word(0),
                word(1),
                word(4),
                word(5),
                word(2),
                word(3),
                word(6),
                word(7),
            );
            let words = _mm512_cvtepu32_epi64(words);
            let [a, b, c, d] = self.nibbles::<B>(at);
            [
                with_fifth_bits::<0>(a, words),
                with_fifth_bits::<1>(b, words),
                with_fifth_bits::<2>(c, words),
                with_fifth_bits::<3>(d, words),
            ]
        }
    }

    /// The words of 18 bytes' blocks: their scales, and what [`nibbles`](Self::nibbles) gives for the other 16 bytes. Two
    /// loads for all of them, but for the last block's end.
    #[inline(always)]
    unsafe fn of_eighteen_bytes(self) -> (__m128i, [__m512i; 4]) {
        const BYTES: usize = 18;
        // SAFETY: the caller says that the blocks can be read.
        unsafe {
            let n_bytes = self.n_blocks * BYTES;
            let first = load_first(self.start, n_bytes);
            let second = load_first(self.start.wrapping_add(64), n_bytes.saturating_sub(64));
            let words = |order: &[u16; 32]| {
                let order = _mm512_loadu_si512(order.as_ptr().cast());
                _mm512_permutex2var_epi16(first, order, second)
            };
            let mut lower = words(&EIGHTEEN_LOWER);
            let mut upper = words(&EIGHTEEN_UPPER);
            if self.n_blocks == 8 {
                let last = self.start.wrapping_add(7 * BYTES + 2);
                let lower_end = _mm_loadl_epi64(last.cast());
                let upper_end = _mm_loadl_epi64(last.wrapping_add(8).cast());
                lower = _mm512_mask_broadcastq_epi64(lower, 0x80, lower_end);
                upper = _mm512_mask_broadcastq_epi64(upper, 0x80, upper_end);
            }
            let scales = _mm512_castsi512_si128(words(&EIGHTEEN_SCALES));
            (scales, nibbles([lower, upper]))
        }
    }
}

/// The words of 18 bytes' blocks that are their scales, block after block.
static EIGHTEEN_SCALES: [u16; 32] = eighteen_words(0, [0, 1, 2, 3, 4, 5, 6, 7], 1);
/// Their first eight bytes of integers, across.
static EIGHTEEN_LOWER: [u16; 32] = eighteen_words(1, ACROSS, 4);
/// Their other eight bytes.
static EIGHTEEN_UPPER: [u16; 32] = eighteen_words(5, ACROSS, 4);

/// The places of some words of each block among 64 words: `n` from word `at` on. The last block's need not be there.
const fn eighteen_words(at: u16, order: [usize; 8], n: usize) -> [u16; 32] {
    let mut places = [0; 32];
    let mut place = 0;
    while place < 8 * n {
        let word = 9 * order[place / n] as u16 + at + (place % n) as u16;
        places[place] = word % 64;
        place += 1;
    }
    places
}

/// At most 64 bytes, and zeros after them.
///
/// # Safety
/// The processor has AVX-512, and the bytes can be read.
#[inline(always)]
unsafe fn load_first(bytes: *const u8, n_bytes: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        if n_bytes >= 64 {
            _mm512_loadu_si512(bytes.cast())
        } else {
            _mm512_maskz_loadu_epi8((1 << n_bytes) - 1, bytes.cast())
        }
    }
}

/// Four times sixteen bytes beside each other.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn four_lanes([a, b, c, d]: [__m128i; 4]) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let lanes = _mm512_castsi128_si512(a);
        let lanes = _mm512_mask_broadcast_i32x4(lanes, 0x00f0, b);
        let lanes = _mm512_mask_broadcast_i32x4(lanes, 0x0f00, c);
        _mm512_mask_broadcast_i32x4(lanes, 0xf000, d)
    }
}

/// The lower four bits of two vectors' bytes, and after them the upper ones.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn nibbles([first, second]: [__m512i; 2]) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let four_bits = _mm512_set1_epi8(0xf);
        [
            _mm512_and_si512(first, four_bits),
            _mm512_and_si512(second, four_bits),
            _mm512_and_si512(_mm512_srli_epi16::<4>(first), four_bits),
            _mm512_and_si512(_mm512_srli_epi16::<4>(second), four_bits),
        ]
    }
}

/// Adds 16 where a bit is set in the byte `QUARTER` of each word.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn with_fifth_bits<const QUARTER: i64>(nibbles: __m512i, words: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let place = QUARTER * 0x0101_0101_0101_0101;
        let upper = place + 0x0808_0808_0808_0808;
        let places = _mm512_broadcast_i32x4(_mm_set_epi64x(upper, place));
        let bytes = _mm512_shuffle_epi8(words, places);
        let bits = _mm512_set1_epi64(0x8040_2010_0804_0201u64 as i64);
        let is_set = _mm512_test_epi8_mask(bytes, bits);
        _mm512_mask_add_epi8(nibbles, is_set, nibbles, _mm512_set1_epi8(16))
    }
}

/// A table's bytes for indices of four bits.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn looked_up(table: __m512i, indices: [__m512i; 4]) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            _mm512_shuffle_epi8(table, indices[0]),
            _mm512_shuffle_epi8(table, indices[1]),
            _mm512_shuffle_epi8(table, indices[2]),
            _mm512_shuffle_epi8(table, indices[3]),
        ]
    }
}

/// Calls a function for each quarter of a chunk's groups.
macro_rules! quarters {
    ($function:ident($argument:expr)) => {
        [
            $function::<0>($argument),
            $function::<1>($argument),
            $function::<2>($argument),
            $function::<3>($argument),
        ]
    };
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

/// The integers of Q8_0's blocks, 128 more than they are.
///
/// # Safety
/// The processor has AVX-512, and the blocks can be read.
#[inline(always)]
unsafe fn q8_integers(blocks: Blocks) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut groups = [blocks.start; 8];
        for group in 0..8 {
            groups[group] = blocks.at::<Q8_0>(group, 2);
        }
        let mut integers = across_32(groups);
        for quarter in 0..4 {
            integers[quarter] = _mm512_xor_si512(integers[quarter], _mm512_set1_epi8(-128));
        }
        integers
    }
}

/// Groups of 32 bytes, across.
///
/// # Safety
/// The processor has AVX-512, and 32 bytes can be read from each place.
#[inline(always)]
pub(super) unsafe fn across_32(groups: [*const u8; 8]) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let two = |first: *const u8, second: *const u8| {
            let first = _mm512_castsi256_si512(_mm256_loadu_si256(first.cast()));
            _mm512_inserti64x4::<1>(first, _mm256_loadu_si256(second.cast()))
        };
        let (a, b) = (two(groups[0], groups[4]), two(groups[1], groups[5]));
        let (c, d) = (two(groups[2], groups[6]), two(groups[3], groups[7]));
        // The even quarters of four blocks, and of the others; then the odd ones.
        let first = _mm512_unpacklo_epi64(a, b);
        let second = _mm512_unpacklo_epi64(c, d);
        let first_odd = _mm512_unpackhi_epi64(a, b);
        let second_odd = _mm512_unpackhi_epi64(c, d);
        [
            _mm512_shuffle_i32x4::<0x88>(first, second),
            _mm512_shuffle_i32x4::<0x88>(first_odd, second_odd),
            _mm512_shuffle_i32x4::<0xdd>(first, second),
            _mm512_shuffle_i32x4::<0xdd>(first_odd, second_odd),
        ]
    }
}

/// Words of 64 bits from 128 bytes, of each group in the order across.
///
/// # Safety
/// The processor has AVX-512, and the bytes can be read.
#[inline(always)]
unsafe fn across_groups(bytes: *const u8, places: [i64; 8]) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let first = _mm512_loadu_si512(bytes.cast());
        let second = _mm512_loadu_si512(bytes.wrapping_add(64).cast());
        let places = _mm512_loadu_si512(places.as_ptr().cast());
        _mm512_permutex2var_epi64(first, places, second)
    }
}

/// The integers of Q4_K and the lower four bits of Q5_K's: 32 bytes have those of two groups.
///
/// # Safety
/// The processor has AVX-512, and 128 bytes can be read.
#[inline(always)]
unsafe fn nibble_pairs(bytes: *const u8) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    unsafe { quarters!(nibble_pair_quarter(bytes)) }
}

/// A quarter of [`nibble_pairs`].
///
/// # Safety
/// As for it.
#[inline(always)]
unsafe fn nibble_pair_quarter<const QUARTER: i64>(bytes: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let places = const {
            let mut places = [0; 8];
            let mut lane = 0;
            while lane < 8 {
                places[lane] = 4 * (ACROSS[lane] as i64 / 2) + QUARTER;
                lane += 1;
            }
            places
        };
        let both = across_groups(bytes, places);
        let shifts = _mm512_setr_epi64(0, 4, 0, 4, 0, 4, 0, 4);
        _mm512_and_si512(_mm512_srlv_epi64(both, shifts), _mm512_set1_epi8(0xf))
    }
}

/// The integers of Q5_K.
///
/// # Safety
/// The processor has AVX-512, and the block can be read.
#[inline(always)]
unsafe fn q5_integers(block: *const u8) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut integers = nibble_pairs(block.wrapping_add(48));
        // A group's bit in each of eight bytes.
        let bit = |lane: usize| 0x0101_0101_0101_0101u64.wrapping_shl(ACROSS[lane] as u32) as i64;
        let bits = _mm512_setr_epi64(
            bit(0),
            bit(1),
            bit(2),
            bit(3),
            bit(4),
            bit(5),
            bit(6),
            bit(7),
        );
        for quarter in 0..4 {
            let high = block.wrapping_add(16 + 8 * quarter).cast::<i64>();
            let high = _mm512_set1_epi64(high.read_unaligned());
            let is_set = _mm512_test_epi8_mask(high, bits);
            let sixteen = _mm512_set1_epi8(16);
            integers[quarter] =
                _mm512_mask_add_epi8(integers[quarter], is_set, integers[quarter], sixteen);
        }
        integers
    }
}

/// The indices of IQ4_XS: sixteen bytes for each group, with two indices each.
///
/// # Safety
/// The processor has AVX-512, and 128 bytes can be read.
#[inline(always)]
unsafe fn iq4_indices(bytes: *const u8) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let places = |half: i64| ACROSS.map(|group| 2 * group as i64 + half);
        nibbles([
            across_groups(bytes, places(0)),
            across_groups(bytes, places(1)),
        ])
    }
}

/// What a function says of each of sixteen groups.
macro_rules! of_groups {
    (|$group:ident| $value:expr) => {{
        let values = const {
            let mut values = [0i32; 16];
            let mut lane = 0;
            while lane < 16 {
                let $group = lane as i32;
                values[lane] = $value;
                lane += 1;
            }
            values
        };
        _mm512_loadu_si512(values.as_ptr().cast())
    }};
}

/// A quarter of the groups of Q2_K, and of the lower two bits of Q3_K's: 64 bytes have a pair of bits of four weights each,
/// the lowest those of two groups in 32 bytes, then the next in the same bytes.
///
/// # Safety
/// The processor has AVX-512, and 64 bytes can be read.
#[inline(always)]
unsafe fn bit_pairs<const QUARTER: i32>(bytes: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = _mm512_loadu_si512(bytes.cast());
        let places = of_groups!(|group| 8 * (group / 8) + 4 * (group % 2) + QUARTER);
        let words = _mm512_permutexvar_epi32(places, bytes);
        let pairs = _mm512_srlv_epi32(words, of_groups!(|group| 2 * (group % 8 / 2)));
        _mm512_and_si512(pairs, _mm512_set1_epi8(3))
    }
}

/// A quarter of the groups of Q3_K.
///
/// # Safety
/// The processor has AVX-512, and the block can be read.
#[inline(always)]
unsafe fn q3_quarter<const QUARTER: i32>(block: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let lower = bit_pairs::<QUARTER>(block.wrapping_add(32));
        let high = _mm512_castsi256_si512(_mm256_loadu_si256(block.cast()));
        let places = of_groups!(|group| 4 * (group % 2) + QUARTER);
        let high = _mm512_permutexvar_epi32(places, high);
        let bits = of_groups!(|group| 0x0101_0101i32 << (group / 2));
        let is_set = _mm512_test_epi8_mask(high, bits);
        _mm512_mask_add_epi8(lower, is_set, lower, _mm512_set1_epi8(4))
    }
}

/// A quarter of the groups of Q6_K: the lower four bits as those of Q4_K, but in 64 bytes of four groups and four more, the
/// upper two as those of Q2_K.
///
/// # Safety
/// The processor has AVX-512, and the block can be read.
#[inline(always)]
unsafe fn q6_quarter<const QUARTER: i32>(block: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let first = _mm512_loadu_si512(block.cast());
        let second = _mm512_loadu_si512(block.wrapping_add(64).cast());
        let places = of_groups!(|group| 16 * (group / 8) + 4 * (group % 4) + QUARTER);
        let lower = _mm512_permutex2var_epi32(first, places, second);
        let lower = _mm512_srlv_epi32(lower, of_groups!(|group| 4 * (group % 8 / 4)));
        let lower = _mm512_and_si512(lower, _mm512_set1_epi8(0xf));
        let upper = _mm512_loadu_si512(block.wrapping_add(128).cast());
        let places = of_groups!(|group| 8 * (group / 8) + 4 * (group % 2) + QUARTER);
        let upper = _mm512_permutexvar_epi32(places, upper);
        // To the two bits above the lower four.
        let turns = of_groups!(|group| (36 - 2 * (group % 8 / 2)) % 32);
        let upper = _mm512_rolv_epi32(upper, turns);
        // The lower bits, or the upper ones where their bits are.
        _mm512_ternarylogic_epi32::<0xf8>(lower, upper, _mm512_set1_epi8(0x30))
    }
}

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
