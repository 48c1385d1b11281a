//! The decoder's operations as kernels of our own, on the CPU: weights are streamed once in the data type
//! they have, and summed in f32.
//!
//! burn-flex converts a bf16 weight on every call and multiplies a single row on one thread. Other backends
//! and autodiff go through the tensor operations in [`decoder`](crate::decoder), which are the reference;
//! [`has_kernels`] decides.
//!
//! Every output is one sum whose order depends on its own row and weight alone. So a token gives the same
//! bits whether it goes through the model alone, in a batch or in the middle of a prompt.

#[cfg(not(feature = "flex"))]
mod absent;
#[cfg(feature = "flex")]
mod flex;
#[cfg_attr(
    not(feature = "flex"),
    expect(dead_code, reason = "only kernels read them")
)]
mod part;

#[cfg(not(feature = "flex"))]
pub(crate) use absent::{
    add_linear, add_mlp, attend, has_kernels, heads, layer, linear, rms_norm, rotate, swiglu,
};
#[cfg(feature = "flex")]
pub(crate) use flex::{
    add_linear, add_mlp, attend, has_kernels, heads, layer, linear, rms_norm, rotate, sum, swiglu,
};

pub(crate) use part::{GatedMlp, LinearMap, Norm, ToHeads};

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
