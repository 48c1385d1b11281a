//! Blocks of 256 weights whose groups have scales in integers: the K formats and IQ4_XS.

#![expect(non_camel_case_types, reason = "the formats' own names")]

use super::small::{UNEVEN, nibbles};
use super::{Block, Unpacked, half};

const LEN: usize = 256;

macro_rules! block {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, groups of $group:literal, $has_offsets:literal, |$block:ident, $unpacked:ident| $body:block) => {
        $(#[$doc])*
        pub(in crate::quantized) struct $name;

        impl Block for $name {
            const LEN: usize = LEN;
            const BYTES: usize = $bytes;
            const GROUP: usize = $group;
            const HAS_OFFSETS: bool = $has_offsets;

            #[inline(always)]
            fn unpack($block: &[u8], $unpacked: &mut Unpacked<'_>) $body
        }
    };
}

block!(
    /// Scales and offsets of 4 bits; pairs of bits; their scales.
    Q2_K, 84, groups of 16, true, |block, unpacked| {
        let (scale, offset) = (half(block, 80), half(block, 82));
        for (group, &byte) in block[..16].iter().enumerate() {
            unpacked.scales[group] = scale * f32::from(byte & 0xf);
            unpacked.offsets[group] = -(offset * f32::from(byte >> 4));
        }
        bit_pairs(&block[16..80], unpacked.integers);
    }
);
block!(
    /// Third bits; pairs of bits; scales of 6 bits less 32; their scale.
    Q3_K, 110, groups of 16, false, |block, unpacked| {
        let (high, scales) = (&block[..32], &block[96..108]);
        let scale = half(block, 108);
        for group in 0..16 {
            let lower = (scales[group % 8] >> (4 * (group / 8))) & 0xf;
            let upper = (scales[8 + group % 4] >> (2 * (group / 4))) & 3;
            unpacked.scales[group] = scale * f32::from((lower | (upper << 4)) as i8 - 32);
        }
        bit_pairs(&block[32..96], unpacked.integers);
        for (bit, integers) in unpacked.integers.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (integer, &high) in integers.iter_mut().zip(high) {
                // Where the third bit is not set, 4 is taken away.
                *integer += 4 * ((high >> bit) & 1) as i8 - 4;
            }
        }
    }
);
block!(
    /// Scales; scales and offsets of 6 bits; integers.
    Q4_K, 144, groups of 32, true, |block, unpacked| {
        six_bit_scales(block, unpacked);
        nibble_pairs::<32>(&block[16..144], unpacked.integers);
    }
);
block!(
    /// Scales; scales and offsets of 6 bits; fifth bits; integers.
    Q5_K, 176, groups of 32, true, |block, unpacked| {
        six_bit_scales(block, unpacked);
        nibble_pairs::<32>(&block[48..176], unpacked.integers);
        for (bit, integers) in unpacked.integers.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (integer, &high) in integers.iter_mut().zip(&block[16..48]) {
                *integer |= 16 * ((high >> bit) & 1) as i8;
            }
        }
    }
);
block!(
    /// Lower four bits; upper two bits; scales of 8 bits; their scale. The integers less 32.
    Q6_K, 210, groups of 16, false, |block, unpacked| {
        let scale = half(block, 208);
        for (group, &byte) in block[192..208].iter().enumerate() {
            unpacked.scales[group] = scale * f32::from(byte as i8);
        }
        nibble_pairs::<64>(&block[..128], unpacked.integers);
        let mut upper = [0; LEN];
        bit_pairs(&block[128..192], &mut upper);
        for (integer, upper) in unpacked.integers.iter_mut().zip(upper) {
            *integer = (*integer | (upper << 4)) - 32;
        }
    }
);
block!(
    /// Scale; upper two and lower four bits of scales less 32; indices.
    IQ4_XS, 136, groups of 32, false, |block, unpacked| {
        let scale = half(block, 0);
        let upper = u16::from_le_bytes([block[2], block[3]]);
        for group in 0..8 {
            let lower = (block[4 + group / 2] >> (4 * (group % 2))) & 0xf;
            let upper = ((upper >> (2 * group)) & 3) as u8;
            unpacked.scales[group] = scale * f32::from((lower | (upper << 4)) as i8 - 32);
            let integers = &mut unpacked.integers[32 * group..];
            let indices = &block[8 + 16 * group..];
            nibbles(indices, integers, |nibble| UNEVEN[usize::from(nibble)]);
        }
    }
);

/// 64 bytes of four pairs of bits each: the lowest pairs of 32 bytes, then the next of the same bytes, and so on.
#[inline(always)]
fn bit_pairs(bytes: &[u8], integers: &mut [i8]) {
    for (bytes, integers) in bytes.chunks_exact(32).zip(integers.chunks_exact_mut(128)) {
        for (pair, integers) in integers.chunks_exact_mut(32).enumerate() {
            for (integer, &byte) in integers.iter_mut().zip(bytes) {
                *integer = ((byte >> (2 * pair)) & 3) as i8;
            }
        }
    }
}

/// 128 bytes of two integers each: the lower four bits of `SPAN` bytes, then their upper four.
#[inline(always)]
fn nibble_pairs<const SPAN: usize>(bytes: &[u8], integers: &mut [i8]) {
    let spans = integers.chunks_exact_mut(2 * SPAN);
    for (bytes, integers) in bytes.chunks_exact(SPAN).zip(spans) {
        let (lower, upper) = integers.split_at_mut(SPAN);
        for ((&byte, lower), upper) in bytes.iter().zip(lower).zip(upper) {
            *lower = (byte & 0xf) as i8;
            *upper = (byte >> 4) as i8;
        }
    }
}

/// The scales and offsets of Q4_K and Q5_K: of the first four groups in the lower six bits of eight bytes; of the
/// others in four bytes more, and in what is left of the eight.
#[inline(always)]
fn six_bit_scales(block: &[u8], unpacked: &mut Unpacked<'_>) {
    let (scale, offset) = (half(block, 0), half(block, 2));
    let bytes = &block[4..16];
    for group in 0..8 {
        let (integer, minimum) = if group < 4 {
            (bytes[group] & 63, bytes[group + 4] & 63)
        } else {
            (
                (bytes[group + 4] & 0xf) | ((bytes[group - 4] >> 2) & 0x30),
                (bytes[group + 4] >> 4) | ((bytes[group] >> 2) & 0x30),
            )
        };
        unpacked.scales[group] = scale * f32::from(integer);
        unpacked.offsets[group] = -(offset * f32::from(minimum));
    }
}
