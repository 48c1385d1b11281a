//! The bytes of a chunk's blocks, and four-bit integers from them.

use std::arch::x86_64::*;

use super::super::input_chunk::ACROSS;
use crate::quantized::blocks::Block;

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
    pub(super) fn at<B: Block>(self, block: usize, at: usize) -> *const u8 {
        let start = if block < self.n_blocks {
            self.start.wrapping_add(block * B::BYTES)
        } else {
            NO_BLOCK.as_ptr()
        };
        start.wrapping_add(at)
    }

    /// The word of 16 bits at a block's place.
    #[inline(always)]
    pub(super) unsafe fn half_at<B: Block>(self, block: usize, at: usize) -> i16 {
        // SAFETY: the caller says that the blocks can be read.
        unsafe { self.at::<B>(block, at).cast::<i16>().read_unaligned() }
    }

    /// The word of 32 bits at a block's place.
    #[inline(always)]
    pub(super) unsafe fn word_at<B: Block>(self, block: usize, at: usize) -> u32 {
        // SAFETY: the caller says that the blocks can be read.
        unsafe { self.at::<B>(block, at).cast::<u32>().read_unaligned() }
    }

    /// The words of 16 bits `at` bytes from each block's beginning.
    #[inline(always)]
    pub(super) unsafe fn halves<B: Block>(self, at: usize) -> __m128i {
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
    pub(super) unsafe fn words<B: Block>(self, at: usize) -> __m256i {
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
    pub(super) unsafe fn nibbles<B: Block>(self, at: usize) -> [__m512i; 4] {
        // SAFETY: the caller says that the blocks can be read.
        unsafe { nibbles(self.sixteen_bytes::<B>(at)) }
    }

    /// As [`nibbles`](Self::nibbles), with a fifth bit of each from the 32 bits at another place.
    #[inline(always)]
    pub(super) unsafe fn five_bits<B: Block>(self, at: usize, high_at: usize) -> [__m512i; 4] {
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
    pub(super) unsafe fn of_eighteen_bytes(self) -> (__m128i, [__m512i; 4]) {
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
pub(super) unsafe fn nibbles([first, second]: [__m512i; 2]) -> [__m512i; 4] {
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
