//! What a product does with activations.

/// What a product of activations with a quantised weight does with the activations. Weights are multiplied from their
/// blocks either way, and a matrix of plain numbers (F32, F16, BF16) takes activations as they are either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activations {
    /// Takes the activations as they are, in f32: the products are those of [`linear`](crate::linear) in f32 with the
    /// dequantised weight, to the bit.
    Exact,
    /// Rounds the activations to integers of 8 bits, so that products are sums of integers.
    ///
    /// Each row is cut into spans of 32 activations. With `m` the largest magnitude of a span, its scale is `m / 127`,
    /// and an activation `x` becomes the integer nearest to `x * (127 / m)`, ties to even. A span in which `m` is below
    /// 2⁻¹⁰⁰ counts as zero; one with an activation that is infinite or NaN has the scale NaN.
    ///
    /// The dot product of the integers of each group of weights is exact. In f32, it is multiplied with the product of
    /// both scales, the group's offset times the scaled sum of the input's integers is added where the format has
    /// offsets, and group `g`'s part is added to lane `g mod 8`. The lanes are added up in halves, quarters and pairs.
    /// Nothing is fused, so every processor gives the same bits.
    Int8,
}
