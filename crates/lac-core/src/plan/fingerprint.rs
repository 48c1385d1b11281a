//! Which model a plan belongs to.

use serde::{Deserialize, Serialize};

/// What tells one model from another. The caller supplies it: this crate opens no files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFingerprint {
    /// The family, for instance the checkpoint's `model_type`.
    pub architecture: String,
    /// Number of layers.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of tokens of the vocabulary.
    pub vocab_size: usize,
    /// A digest of the weights, or of what they were made from.
    pub weights: String,
}

impl ModelFingerprint {
    /// The first field in which two models differ, with both values.
    pub(crate) fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let fields = |model: &Self| {
            [
                ("architecture", model.architecture.clone()),
                ("number of layers", model.n_layers.to_string()),
                ("hidden size", model.hidden_size.to_string()),
                ("vocabulary size", model.vocab_size.to_string()),
                ("weights", model.weights.clone()),
            ]
        };
        fields(self)
            .into_iter()
            .zip(fields(other))
            .find(|((_, mine), (_, theirs))| mine != theirs)
            .map(|((field, mine), (_, theirs))| (field, mine, theirs))
    }
}
