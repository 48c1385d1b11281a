//! A chunk of rounded activations, and the order in which its integers stand.

use crate::quantized::blocks::{CHUNK, MAX_GROUPS};
use crate::quantized::instructions::Instructions;

/// Activations that are rounded with one scale.
pub(super) const SPAN: usize = 32;

/// The smallest of a span's largest magnitudes that does not count as zero: the reciprocal of one below would overflow.
pub(super) const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);

/// Adding 1.5 · 2^23 rounds to the nearest integer, ties to even, which then stands in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0;

/// In which order the integers of a chunk stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Group after group.
    Groups,
    /// The first quarter of every group, then the second one of every group, and so on, so that the products of four
    /// vectors can be added up before they are summed within groups. Groups of 16 are in their order; those of 32 in the
    /// order [`ACROSS`].
    #[cfg(target_arch = "x86_64")]
    Across,
}

/// Groups of 32 in [`Order::Across`]: sums of neighbours in both halves of a vector, beside each other, are in the groups'
/// order then.
#[cfg(target_arch = "x86_64")]
pub(super) const ACROSS: [usize; 8] = [0, 1, 4, 5, 2, 3, 6, 7];

/// What vectorised code takes for the rows of a tile beside each other is in one place: a chunk of one input row, and
/// what its groups need. Without integers, and with scales of zero, beyond the row's end.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct InputChunk {
    /// From −127 to 127.
    pub(super) integers: [i8; CHUNK],
    /// The scale of each group's span.
    pub(super) scales: [f32; MAX_GROUPS],
    /// −128 times the sum of each group's integers: what the products are too large by where weights are stored as
    /// unsigned integers, 128 more than they are.
    pub(super) corrections: [i32; MAX_GROUPS],
    /// The sum of each group's integers times their scale: what a weight's offset is multiplied with.
    pub(super) sums: [f32; MAX_GROUPS],
    /// The same of groups of 32, for two rows of weights: of two groups twice, then of the next two. In
    /// [`Order::Across`] alone.
    pub(super) twice: Twice,
}

/// What eight groups need, twice.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Twice {
    pub(super) scales: [f32; MAX_GROUPS],
    pub(super) corrections: [i32; MAX_GROUPS],
    pub(super) sums: [f32; MAX_GROUPS],
}

impl Order {
    /// The order that products with these instructions take.
    pub(super) fn of(instructions: Instructions) -> Self {
        match instructions.kind() {
            #[cfg(target_arch = "x86_64")]
            crate::quantized::instructions::Kind::Avx512 => Self::Across,
            _ => Self::Groups,
        }
    }
}
