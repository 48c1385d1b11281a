//! Blocks of 32 weights with one scale: ggml's first formats, IQ4_NL and MXFP4.

#![expect(non_camel_case_types, reason = "the formats' own names")]

use super::{Block, Unpacked, half};

const LEN: usize = 32;
const HALF: usize = LEN / 2;

/// What the indices of IQ4_NL and IQ4_XS stand for.
pub(in crate::quantized) const UNEVEN: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of the sixteen floating-point numbers E2M1.
pub(in crate::quantized) const E2M1: [i8; 16] =
    [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The lower four bits of sixteen bytes, and after them the upper four.
#[inline(always)]
pub(super) fn nibbles(bytes: &[u8], integers: &mut [i8], value: impl Fn(u8) -> i8) {
    let (lower, upper) = integers[..LEN].split_at_mut(HALF);
    for ((&byte, lower), upper) in bytes[..HALF].iter().zip(lower).zip(upper) {
        *lower = value(byte & 0xf);
        *upper = value(byte >> 4);
    }
}

/// As [`nibbles`], with a fifth bit of each from a word.
#[inline(always)]
fn five_bits(high: u32, bytes: &[u8], zero: i8, integers: &mut [i8]) {
    nibbles(bytes, integers, |nibble| nibble as i8);
    for (idx, integer) in integers[..LEN].iter_mut().enumerate() {
        *integer |= ((high >> idx) & 1) as i8 * 16;
        *integer -= zero;
    }
}

#[inline(always)]
fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

macro_rules! block {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $has_offsets:literal, |$block:ident, $unpacked:ident| $body:block) => {
        $(#[$doc])*
        pub(in crate::quantized) struct $name;

        impl Block for $name {
            const LEN: usize = LEN;
            const BYTES: usize = $bytes;
            const GROUP: usize = LEN;
            const HAS_OFFSETS: bool = $has_offsets;

            #[inline(always)]
            fn unpack($block: &[u8], $unpacked: &mut Unpacked<'_>) $body
        }
    };
}

block!(
    /// Scale; integers less 8.
    Q4_0, 18, false, |block, unpacked| {
        unpacked.scales[0] = half(block, 0);
        nibbles(&block[2..], unpacked.integers, |nibble| nibble as i8 - 8);
    }
);
block!(
    /// Scale, offset; integers.
    Q4_1, 20, true, |block, unpacked| {
        unpacked.scales[0] = half(block, 0);
        unpacked.offsets[0] = half(block, 2);
        nibbles(&block[4..], unpacked.integers, |nibble| nibble as i8);
    }
);
block!(
    /// Scale; fifth bits; integers less 16.
    Q5_0, 22, false, |block, unpacked| {
        unpacked.scales[0] = half(block, 0);
        five_bits(word(block, 2), &block[6..], 16, unpacked.integers);
    }
);
block!(
    /// Scale, offset; fifth bits; integers.
    Q5_1, 24, true, |block, unpacked| {
        unpacked.scales[0] = half(block, 0);
        unpacked.offsets[0] = half(block, 2);
        five_bits(word(block, 4), &block[8..], 0, unpacked.integers);
    }
);
block!(
    /// Scale; integers.
    Q8_0, 34, false, |block, unpacked| {
        unpacked.scales[0] = half(block, 0);
        for (integer, &byte) in unpacked.integers.iter_mut().zip(&block[2..34]) {
            *integer = byte as i8;
        }
    }
);
block!(
    /// Scale; indices.
    IQ4_NL, 18, false, |block, unpacked| {
        unpacked.scales[0] = half(block, 0);
        nibbles(&block[2..], unpacked.integers, |nibble| UNEVEN[usize::from(nibble)]);
    }
);
block!(
    /// Half the scale as a power of two, since the integers are twice the values; E2M1 numbers.
    MXFP4, 17, false, |block, unpacked| {
        let exponent = u32::from(block[0]);
        // The power is 2^(exponent − 128), of which the two smallest are subnormal.
        let bits = match exponent {
            0 | 1 => 0x0020_0000 << exponent,
            _ => (exponent - 1) << 23,
        };
        unpacked.scales[0] = f32::from_bits(bits);
        nibbles(&block[1..], unpacked.integers, |nibble| E2M1[usize::from(nibble)]);
    }
);
