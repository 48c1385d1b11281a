//! Which experts the routers of a model chose for the tokens of a pass: on the device, and read back to the host.

use burn::tensor::{Int, Tensor};

use crate::pass::first_of_each;

/// What the router of one layer chose in a pass, on the device.
#[derive(Clone, Debug)]
pub struct LayerRouting {
    /// Index of the layer.
    pub layer_idx: usize,
    /// Number of experts that the layer has.
    pub n_experts: usize,
    /// Indices of the experts that each token went through, `[batch, seq, chosen]`, the one with the largest weight first.
    pub experts: Tensor<3, Int>,
    /// Weights of these experts, `[batch, seq, chosen]` in f32.
    pub weights: Tensor<3>,
}

/// What the router of one layer chose in a pass, read back to the host.
///
/// The arrays are laid out `[row][slot][choice]`; [`of_token`](Self::of_token) returns a token's part.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingRecord {
    /// Number of experts that the layer has.
    pub n_experts: usize,
    /// Number of experts that each token went through.
    pub n_chosen: usize,
    /// Indices of the experts, for each token the one with the largest weight first.
    pub experts: Vec<u32>,
    /// Weights of these experts.
    pub weights: Vec<f32>,
}

impl RoutingRecord {
    /// Returns the experts and the weights of one token; `token` is `row * seq + slot`.
    pub fn of_token(&self, token: usize) -> (&[u32], &[f32]) {
        let choices = token * self.n_chosen..(token + 1) * self.n_chosen;
        (&self.experts[choices.clone()], &self.weights[choices])
    }

    /// Keeps the first `n_slots` of every row's `seq` slots.
    pub(crate) fn keep_first_slots(&mut self, seq: usize, n_slots: usize) {
        let (len, kept) = (seq * self.n_chosen, n_slots * self.n_chosen);
        self.experts = first_of_each(&self.experts, len, kept);
        self.weights = first_of_each(&self.weights, len, kept);
    }
}
