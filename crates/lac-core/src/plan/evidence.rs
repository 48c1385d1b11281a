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
}
