//! The decoder's operations as kernels of our own, on the CPU: weights are streamed once in the data type
//! they have, and summed in f32.
//!
//! burn-flex converts a bf16 weight on every call and multiplies a single row on one thread. Other backends
//! and autodiff go through the tensor operations in [`decoder`](crate::decoder), which are the reference;
//! [`has_kernels`] decides.
//!
//! Every output is one sum whose order depends on its own row and weight alone. So a token gives the same
//! bits whether it goes through the model alone, in a batch or in the middle of a prompt.

use burn::tensor::Tensor;

#[cfg(not(feature = "flex"))]
mod absent;
#[cfg(feature = "flex")]
mod flex;

#[cfg(not(feature = "flex"))]
pub(crate) use absent::{
    add_linear, add_mlp, attend, has_kernels, heads, layer, linear, rms_norm, rotate, swiglu,
};
#[cfg(feature = "flex")]
pub(crate) use flex::{
    add_linear, add_mlp, attend, has_kernels, heads, layer, linear, rms_norm, rotate, sum, swiglu,
};

/// A root-mean-square norm.
#[cfg_attr(
    not(feature = "flex"),
    expect(dead_code, reason = "only kernels read it")
)]
pub(crate) struct Norm {
    /// `[hidden]`.
    pub weight: Tensor<1>,
    /// Added to the mean square.
    pub epsilon: f64,
}

/// Norm, projections to queries, keys and values, and rotation of queries and keys.
#[cfg_attr(
    not(feature = "flex"),
    expect(dead_code, reason = "only kernels read it")
)]
pub(crate) struct ToHeads {
    pub norm: Norm,
    /// `[heads * head_dim, hidden]`, of queries, keys and values.
    pub weights: [Tensor<2>; 3],
    pub biases: [Option<Tensor<1>>; 3],
    /// Cosines and sines `[1 or batch, 1, seq, head_dim / 2]`.
    pub rotation: [Tensor<4>; 2],
}

/// A linear map.
#[cfg_attr(
    not(feature = "flex"),
    expect(dead_code, reason = "only kernels read it")
)]
pub(crate) struct LinearMap {
    /// `[out, in]`.
    pub weight: Tensor<2>,
    /// `[out]`.
    pub bias: Option<Tensor<1>>,
}

/// Norm and gated MLP.
#[cfg_attr(
    not(feature = "flex"),
    expect(dead_code, reason = "only kernels read it")
)]
pub(crate) struct GatedMlp {
    pub norm: Norm,
    /// Gate, up `[intermediate, hidden]` and down `[hidden, intermediate]`.
    pub weights: [Tensor<2>; 3],
}

/// Which cached slots the queries of a pass see: query `s` of row `b` sees the slots from
/// `max(padding[b], past + s + 1 - window)` up to its own, `past + s`, but not beyond `ends[b]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visible {
    /// Slots that earlier passes have filled.
    pub past: usize,
    /// The sliding window; `None` for all earlier slots.
    pub window: Option<usize>,
    /// Number of padding slots at the left of each row.
    pub padding: Vec<usize>,
    /// The slot of each row from which on keys are hidden from all queries; empty where none are.
    pub ends: Vec<usize>,
}

#[cfg(feature = "flex")]
impl Visible {
    /// The slots that a query sees. A padding query sees its own slot, so that there is something to attend
    /// to; nobody looks at the result.
    fn slots(&self, row: usize, query: usize) -> std::ops::Range<usize> {
        let end = self.past + query + 1;
        let end = self.ends.get(row).map_or(end, |&hidden| end.min(hidden));
        let oldest = self.window.map_or(0, |window| end.saturating_sub(window));
        oldest.max(self.padding[row]).min(end - 1)..end
    }
}
