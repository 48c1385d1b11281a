//! A text that drafts are tried on.

/// A prompt with the full model's greedy continuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationText {
    /// The tokens of the prompt, then those of the continuation.
    pub ids: Vec<u32>,
    /// Number of tokens of the prompt.
    pub n_prompt: usize,
}
