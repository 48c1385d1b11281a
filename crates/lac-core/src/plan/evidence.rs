//! What traces say about layers.

use serde::{Deserialize, Serialize};

/// What traces say about the layers, over the tokens of one phase.
///
/// The lists have one entry per layer, or two, attention and MLP in turn, for a trace of
/// [`SplitLayers`](super::SplitLayers).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Evidence {
    /// Number of tokens.
    pub n_tokens: u64,
    /// The share of tokens for which the gate found the layer active.
    pub usage: Vec<f64>,
    /// The mean of `Δ_l` over the tokens.
    pub mean_delta: Vec<f64>,
    /// The mean [block influence](crate::measures::block_influence) over the tokens; empty if it was not measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub influence: Vec<f64>,
    /// By how much a layer brings what a [`Lens`](crate::lens::Lens) sees nearer to what it sees after the last layer: the
    /// mean over the tokens of `KL(p_last ‖ p_{l−1}) − KL(p_last ‖ p_l)`, in nats; empty without a lens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lens: Vec<f64>,
}

impl Evidence {
    /// Rounds the numbers to four digits, so that a file of them can be read.
    #[must_use]
    pub fn rounded(mut self) -> Self {
        let lists = [
            &mut self.usage,
            &mut self.mean_delta,
            &mut self.influence,
            &mut self.lens,
        ];
        for value in lists.into_iter().flatten() {
            *value = (*value * 1e4).round() / 1e4;
        }
        self
    }
}
