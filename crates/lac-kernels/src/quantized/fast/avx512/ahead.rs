//! What is read next is asked for in advance.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

/// Bytes that a row of weights is asked for in advance: with two threads, the processor's own prefetching leaves a part
/// of the memory's bandwidth unused.
pub(super) const AHEAD: usize = 4096;

/// Asks memory for the line of a place, to be in the second cache when it is read: the first one is full of inputs, and
/// waits for less.
#[inline(always)]
pub(super) fn ask_for(place: *const u8) {
    // SAFETY: every x86-64 processor has the instruction, and it reads nothing: an address beyond the weight is passed
    // over.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(place.cast()) };
}
