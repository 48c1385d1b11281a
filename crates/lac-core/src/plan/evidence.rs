//! What traces say about layers.

use serde::{Deserialize, Serialize};

/// What was seen of one phase's tokens.
///
/// One entry per layer; two, attention and MLP in turn, where the trace took them apart
/// ([`SplitLayers`](super::SplitLayers)).
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
