//! The integers of blocks as vectors, in [`Order::Across`](super::super::input_chunk::Order::Across).

// A closure around an instruction can stay a call, and an iterator takes one: loops count here.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::super::input_chunk::ACROSS;
use super::blocks::{Blocks, nibbles};
use crate::quantized::blocks::types::Q8_0;

/// A table's bytes for indices of four bits.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn looked_up(table: __m512i, indices: [__m512i; 4]) -> [__m512i; 4] {
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

pub(super) use quarters;

/// A table's sixteen bytes for each of four quarters of a vector, with a constant added.
#[inline(always)]
pub(super) fn table(values: &[i8; 16], added: u8) -> __m512i {
    let mut bytes = [0; 16];
    for (byte, &value) in bytes.iter_mut().zip(values) {
        *byte = (value as u8).wrapping_add(added);
    }
    // SAFETY: sixteen bytes are read; whoever unpacks has the instructions.
    unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(bytes.as_ptr().cast())) }
}

/// The integers of Q8_0's blocks, 128 more than they are.
///
/// # Safety
/// The processor has AVX-512, and the blocks can be read.
#[inline(always)]
pub(super) unsafe fn q8_integers(blocks: Blocks) -> [__m512i; 4] {
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
pub(super) unsafe fn nibble_pairs(bytes: *const u8) -> [__m512i; 4] {
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
pub(super) unsafe fn q5_integers(block: *const u8) -> [__m512i; 4] {
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
pub(super) unsafe fn iq4_indices(bytes: *const u8) -> [__m512i; 4] {
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
pub(super) unsafe fn bit_pairs<const QUARTER: i32>(bytes: *const u8) -> __m512i {
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
pub(super) unsafe fn q3_quarter<const QUARTER: i32>(block: *const u8) -> __m512i {
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
pub(super) unsafe fn q6_quarter<const QUARTER: i32>(block: *const u8) -> __m512i {
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
