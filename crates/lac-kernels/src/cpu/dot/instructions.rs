//! What dot products need of a processor's instructions, for one data type.

use crate::value::Value;

/// Instructions for one data type: vectors of values, and of partial sums in f32.
pub(super) trait Instructions {
    /// The values' data type.
    type Value: Value;
    /// Some values, in whatever form they are multiplied.
    type Vector: Copy;
    /// Partial sums.
    type Sum: Copy;

    /// Number of values in a vector.
    const STEP: usize;

    /// Left and right rows of the tile that fits the registers.
    const LEFT: usize;

    fn zero() -> Self::Sum;

    /// Loads `STEP` values.
    ///
    /// # Safety
    /// The processor has the instructions, and the values can be read.
    unsafe fn load(values: *const Self::Value) -> Self::Vector;

    /// Loads fewer than `STEP` values and zeros after them, which add nothing.
    ///
    /// # Safety
    /// The processor has the instructions, and `n` values can be read.
    unsafe fn load_first(values: *const Self::Value, n: usize) -> Self::Vector;

    /// Adds the products of two vectors to partial sums.
    fn multiply_add(sum: Self::Sum, left: Self::Vector, right: Self::Vector) -> Self::Sum;

    fn total(sum: Self::Sum) -> f32;

    /// The totals of a tile's sums, each as [`total`](Self::total) gives it to the bit.
    ///
    /// Loops, because a closure for `map` is not always inlined here, and a call for each sum costs more than the
    /// products. No slice of the sums: they would be kept in memory from the beginning.
    #[inline(always)]
    fn totals<const LEFT: usize, const RIGHT: usize>(
        sums: [[Self::Sum; RIGHT]; LEFT],
    ) -> [[f32; LEFT]; RIGHT] {
        let mut totals = [[0.0; LEFT]; RIGHT];
        for (left, sums) in sums.into_iter().enumerate() {
            for (totals, sum) in totals.iter_mut().zip(sums) {
                totals[left] = Self::total(sum);
            }
        }
        totals
    }
}

/// The first values of a vector, with zeros after them.
///
/// # Safety
/// `n` values can be read, and `n` is at most `STEP`.
#[inline(always)]
pub(super) unsafe fn padded<E: Value, const STEP: usize>(values: *const E, n: usize) -> [E; STEP] {
    let mut padded = [E::default(); STEP];
    for (idx, value) in padded.iter_mut().enumerate().take(n) {
        // SAFETY: the caller's promise.
        *value = unsafe { values.add(idx).read() };
    }
    padded
}
