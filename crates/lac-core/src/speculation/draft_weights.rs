//! With which weights a model drafts for itself.

/// The weights of a drafting pass on the model's own KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftWeights {
    /// The model's own.
    Own,
    /// Those of [`CausalLm::second_weights`](crate::CausalLm::second_weights).
    Second,
}
