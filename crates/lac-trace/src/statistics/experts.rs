//! Experts and the gate: whether the norm sees what the router sees.

use serde::{Deserialize, Serialize};

use super::add::add;
use super::moments::{Comoments, Interval, Moments, Share};
use crate::token::Token;

/// What is counted of one layer with experts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExpertStatistics {
    /// Tokens that went through experts of the layer.
    pub n_tokens: u64,
    /// Tokens among them for which the layer was active.
    pub n_active: u64,
    /// `[experts]`: tokens that went through each.
    pub chosen: Vec<u64>,
    /// The largest weight of a token's experts, of tokens for which the layer was active.
    pub top_weight_active: Moments,
    /// The same, of tokens for which it was a void.
    pub top_weight_void: Moments,
    /// The largest weight and the delta of each token.
    pub weight_and_delta: Comoments,
}

/// What follows for one layer with experts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExpertSummary {
    /// Tokens that went through experts of the layer.
    pub n_tokens: u64,
    /// Share of these tokens for which the layer was active.
    pub active: Share,
    /// Number of experts that any token went through.
    pub experts_used: usize,
    /// Entropy of how often each expert was chosen, in units of that of even use: 1 where all are chosen equally often, 0
    /// where only one is.
    pub entropy: f64,
    /// Share of the choices that fell on the most chosen expert.
    pub top_expert_share: f64,
    /// Mean of the largest weight of a token's experts where the layer was active; `None` where it never was.
    pub top_weight_active: Option<f64>,
    /// The same where the layer was a void.
    pub top_weight_void: Option<f64>,
    /// Pearson's correlation of that weight and the layer's delta; `None` for fewer than two tokens, or where one of
    /// them is the same for all.
    pub correlation: Option<f64>,
    /// Its 95 % interval by Fisher's transformation; `None` for fewer than four tokens.
    pub correlation_interval: Option<Interval>,
}

/// Counts a token in each layer with experts that it went through; `layers` grows to the model's.
pub(super) fn push(
    layers: &mut Vec<Option<ExpertStatistics>>,
    n_experts: usize,
    token: &Token<'_>,
) {
    let Some(routing) = &token.routing else {
        return;
    };
    layers.resize(token.n_layers(), None);
    for (layer_idx, layer) in layers.iter_mut().enumerate() {
        let Some((experts, weights)) = routing.of_layer(layer_idx) else {
            continue;
        };
        let layer = layer.get_or_insert_default();
        layer.n_tokens += 1;
        layer.chosen.resize(n_experts, 0);
        for &expert in experts {
            if let Some(chosen) = layer.chosen.get_mut(expert as usize) {
                *chosen += 1;
            }
        }
        let top = f64::from(weights.iter().copied().fold(0.0, f32::max));
        if token.active[layer_idx] {
            layer.n_active += 1;
            layer.top_weight_active.push(top);
        } else {
            layer.top_weight_void.push(top);
        }
        let delta = f64::from(token.deltas[layer_idx]);
        layer.weight_and_delta.push(top, delta);
    }
}

pub(super) fn merge(mine: &mut Vec<Option<ExpertStatistics>>, others: &[Option<ExpertStatistics>]) {
    mine.resize(mine.len().max(others.len()), None);
    for (mine, others) in mine.iter_mut().zip(others) {
        if let Some(others) = others {
            let mine = mine.get_or_insert_default();
            mine.n_tokens += others.n_tokens;
            mine.n_active += others.n_active;
            let n_experts = mine.chosen.len().max(others.chosen.len());
            mine.chosen.resize(n_experts, 0);
            add(&mut mine.chosen, &others.chosen);
            mine.top_weight_active.merge(&others.top_weight_active);
            mine.top_weight_void.merge(&others.top_weight_void);
            mine.weight_and_delta.merge(&others.weight_and_delta);
        }
    }
}

impl ExpertSummary {
    pub(super) fn new(layer: &ExpertStatistics) -> Self {
        let total: u64 = layer.chosen.iter().sum();
        let shares = layer.chosen.iter().map(|&n| n as f64 / total.max(1) as f64);
        let entropy: f64 = shares
            .clone()
            .filter(|&share| share > 0.0)
            .map(|share| -share * share.ln())
            .sum();
        let even = (layer.chosen.len() as f64).ln();
        let mean = |moments: &Moments| (moments.n > 0).then_some(moments.mean);
        Self {
            n_tokens: layer.n_tokens,
            active: Share::of(layer.n_active, layer.n_tokens),
            experts_used: layer.chosen.iter().filter(|&&n| n > 0).count(),
            // One expert is chosen evenly.
            entropy: if even > 0.0 { entropy / even } else { 1.0 },
            top_expert_share: shares.fold(0.0, f64::max),
            top_weight_active: mean(&layer.top_weight_active),
            top_weight_void: mean(&layer.top_weight_void),
            correlation: layer.weight_and_delta.correlation(),
            correlation_interval: layer.weight_and_delta.correlation_interval(),
        }
    }
}
