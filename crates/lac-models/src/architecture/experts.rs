//! The experts of families that have them.

use super::fields::{Fields, Given};
use crate::decoder::{DecoderConfig, ExpertsConfig, RouterWeights};

/// What a class of transformers takes for fields about experts that the file does not have.
pub(super) struct ExpertDefaults {
    pub(super) n_experts: usize,
    pub(super) n_chosen: usize,
}

/// Reads how many experts there are, of this width, and how many a token goes through. Their weights are divided by their
/// sum; the caller may change that.
pub(super) fn experts(
    fields: &mut Fields<'_>,
    intermediate_size: usize,
    defaults: &ExpertDefaults,
) -> ExpertsConfig {
    // Each class of transformers knows both names.
    let mut count = |field: &str| fields.count(field).or(None, None);
    let (local, all) = (count("num_local_experts"), count("num_experts"));
    let n_experts = local.or(all).unwrap_or(defaults.n_experts);
    let n_chosen = fields.size("num_experts_per_tok", defaults.n_chosen);
    if !fields.has_problems() && n_chosen > n_experts {
        let expected = format!("at most the number of experts, {n_experts}");
        fields.invalid("num_experts_per_tok", &n_chosen, &expected);
    }
    ExpertsConfig::new(n_experts, n_chosen.min(n_experts), intermediate_size)
}

/// Reads the experts of Qwen's families: whether their weights are divided by their sum, and which layers have none, by
/// `mlp_only_layers` and `decoder_sparse_step`.
pub(super) fn qwen_experts(
    fields: &mut Fields<'_>,
    config: &DecoderConfig,
    intermediate_size: usize,
    defaults: &ExpertDefaults,
) -> ExpertsConfig {
    let intermediate_size = fields.size("moe_intermediate_size", intermediate_size);
    let experts = experts(fields, intermediate_size, defaults);
    let weights = if fields.flag("norm_topk_prob") {
        RouterWeights::Renormalised
    } else {
        RouterWeights::Probabilities
    };
    let step = fields.size("decoder_sparse_step", 1);
    let dense = match fields.indices("mlp_only_layers") {
        Given::Value(layers) => layers,
        _ => Vec::new(),
    };
    let is_dense = |layer_idx: &usize| {
        dense.binary_search(layer_idx).is_ok() || !(layer_idx + 1).is_multiple_of(step)
    };
    experts
        .with_weights(weights)
        .with_dense_layers((0..config.n_layers).filter(is_dense).collect())
}
