//! The order of a product's sum.

/// Partial sums of a product.
pub(super) const LANES: usize = 8;

/// Adds up lanes in a tree: halves, quarters, pairs.
#[inline(always)]
pub(super) fn total(mut lanes: [f32; LANES]) -> f32 {
    for width in [4, 2, 1] {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}
