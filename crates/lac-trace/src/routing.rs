//! Experts in traces: how many a model has, and which of them tokens went through.

use serde::{Deserialize, Serialize};

/// In the place of an expert, in layers that a token went through no expert of. In files it is −1.
pub(crate) const NO_EXPERT: u32 = u32::MAX;

/// How many experts the layers of a model have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExpertCounts {
    /// Number of experts of a layer.
    pub n_experts: usize,
    /// Number of experts that a token goes through in a layer.
    pub n_chosen: usize,
}

impl ExpertCounts {
    /// Describes a model.
    pub fn new(n_experts: usize, n_chosen: usize) -> Self {
        Self {
            n_experts,
            n_chosen,
        }
    }

    /// Returns whether these numbers are possible.
    pub(crate) fn are_possible(self) -> bool {
        (1..=self.n_experts).contains(&self.n_chosen) && self.n_experts < 1 << 24
    }
}

/// The experts that one token went through, in all layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenRouting<'a> {
    pub(crate) n_chosen: usize,
    /// `[layers][chosen]`.
    pub(crate) experts: &'a [u32],
    /// `[layers][chosen]`.
    pub(crate) weights: &'a [f32],
}

impl<'a> TokenRouting<'a> {
    /// Returns the experts of a layer and their weights, the largest first; `None` where the layer has no experts, or its MLP
    /// was not run.
    pub fn of_layer(&self, layer_idx: usize) -> Option<(&'a [u32], &'a [f32])> {
        let choices = layer_idx * self.n_chosen..(layer_idx + 1) * self.n_chosen;
        let experts = &self.experts[choices.clone()];
        (experts[0] != NO_EXPERT).then(|| (experts, &self.weights[choices]))
    }
}

/// The experts that many tokens went through, `[tokens][layers][chosen]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoutingColumns {
    pub(crate) n_chosen: usize,
    pub(crate) experts: Vec<u32>,
    pub(crate) weights: Vec<f32>,
}

impl RoutingColumns {
    pub(crate) fn new(n_chosen: usize) -> Self {
        Self {
            n_chosen,
            ..Self::default()
        }
    }

    /// Adds what a token went through in the next layer.
    pub(crate) fn push_layer(&mut self, choices: Option<(&[u32], &[f32])>) {
        match choices {
            Some((experts, weights)) => {
                self.experts.extend_from_slice(experts);
                self.weights.extend_from_slice(weights);
            }
            None => {
                let experts = std::iter::repeat_n(NO_EXPERT, self.n_chosen);
                self.experts.extend(experts);
                self.weights.extend(std::iter::repeat_n(0.0, self.n_chosen));
            }
        }
    }

    /// Returns a token's part, of a model of so many layers.
    pub(crate) fn of_token(&self, token_idx: usize, n_layers: usize) -> TokenRouting<'_> {
        let width = n_layers * self.n_chosen;
        let choices = token_idx * width..(token_idx + 1) * width;
        TokenRouting {
            n_chosen: self.n_chosen,
            experts: &self.experts[choices.clone()],
            weights: &self.weights[choices],
        }
    }

    pub(crate) fn append(&mut self, other: &Self, tokens: std::ops::Range<usize>, n_layers: usize) {
        let width = n_layers * self.n_chosen;
        let choices = tokens.start * width..tokens.end * width;
        self.experts
            .extend_from_slice(&other.experts[choices.clone()]);
        self.weights.extend_from_slice(&other.weights[choices]);
    }

    /// Returns what is wrong with the choices, in words: a layer's are those of experts, each another one, or none.
    pub(crate) fn fault(&self, n_experts: usize) -> Option<String> {
        let is_whole = |experts: &[u32]| {
            let n_none = experts.iter().filter(|&&idx| idx == NO_EXPERT).count();
            let are_experts = || experts.iter().all(|&idx| (idx as usize) < n_experts);
            n_none == experts.len() || are_experts()
        };
        let mut layers = self.experts.chunks(self.n_chosen.max(1));
        let experts = layers.find(|experts| !is_whole(experts))?;
        let experts: Vec<i32> = experts.iter().map(|&idx| idx as i32).collect();
        Some(format!(
            "holds the experts {experts:?}, expected numbers below {n_experts}, or -1 for all of a layer"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_that_are_none_of_the_experts_are_found() {
        let columns = |experts: &[u32]| RoutingColumns {
            n_chosen: 2,
            experts: experts.to_vec(),
            weights: vec![0.5; experts.len()],
        };
        assert_eq!(columns(&[3, 0, NO_EXPERT, NO_EXPERT]).fault(4), None);
        for experts in [[3, 4], [NO_EXPERT, 1], [u32::MAX - 1, 0]] {
            let fault = columns(&experts).fault(4).unwrap_or_default();
            assert!(fault.contains("below 4"), "{experts:?}: {fault}");
        }
    }
}
