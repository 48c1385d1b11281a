//! Which experts of a sparse MLP the tokens go through (Shazeer et al. 2017, arXiv 1701.06538).

use std::cmp::Ordering;

/// How the weights of a token's experts follow from the softmax over all experts' logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouterWeights {
    /// The probabilities of the chosen experts, as they are.
    #[default]
    Probabilities,
    /// The probabilities of the chosen experts, divided by their sum.
    Renormalised,
}

/// The experts that each of some tokens goes through, and their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    n_chosen: usize,
    /// `[tokens, n_chosen]`, a token's likeliest expert first.
    experts: Vec<u32>,
    /// `[tokens, n_chosen]`.
    weights: Vec<f32>,
}

/// The tokens that go through one expert.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExpertTokens {
    /// The expert.
    pub expert: usize,
    /// The tokens, in their order, and the expert's weight for each.
    pub tokens: Vec<(usize, f32)>,
}

impl Routing {
    /// Chooses the likeliest `n_chosen` experts of each token from the router's logits `[tokens, n_experts]`. Of equally
    /// likely ones the first is chosen.
    ///
    /// ```
    /// use lac_kernels::{RouterWeights, Routing};
    ///
    /// // One token, four experts with the probabilities 0.2, 0.4, 0.1 and 0.3.
    /// let logits = [0.2f32, 0.4, 0.1, 0.3].map(f32::ln);
    /// let routing = Routing::choose(&logits, 4, 2, RouterWeights::Renormalised);
    /// assert_eq!(routing.experts(), [1, 3]);
    /// assert!((routing.weights()[0] - 4.0 / 7.0).abs() < 1e-6);
    /// ```
    ///
    /// # Panics
    /// If there are not as many logits as whole tokens have, or `n_chosen` is not from 1 to `n_experts`.
    pub fn choose(
        logits: &[f32],
        n_experts: usize,
        n_chosen: usize,
        weights_are: RouterWeights,
    ) -> Self {
        assert!((1..=n_experts).contains(&n_chosen), "a number of experts");
        assert!(logits.len().is_multiple_of(n_experts), "whole tokens");
        let n_tokens = logits.len() / n_experts;
        let (mut experts, mut weights) = (Vec::new(), Vec::new());
        experts.reserve(n_tokens * n_chosen);
        weights.reserve(n_tokens * n_chosen);
        for logits in logits.chunks_exact(n_experts) {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
            let total: f32 = powers.iter().sum();
            let mut order: Vec<usize> = (0..n_experts).collect();
            let likelier = |&a: &usize, &b: &usize| match powers[b].total_cmp(&powers[a]) {
                Ordering::Equal => a.cmp(&b),
                order => order,
            };
            if n_chosen < n_experts {
                order.select_nth_unstable_by(n_chosen, likelier);
                order.truncate(n_chosen);
            }
            order.sort_unstable_by(likelier);
            let chosen: Vec<f32> = order.iter().map(|&expert| powers[expert] / total).collect();
            let divisor = match weights_are {
                RouterWeights::Probabilities => 1.0,
                RouterWeights::Renormalised => chosen.iter().sum(),
            };
            weights.extend(chosen.iter().map(|probability| probability / divisor));
            experts.extend(order.iter().map(|&expert| expert as u32));
        }
        Self {
            n_chosen,
            experts,
            weights,
        }
    }

    /// Returns how many experts each token goes through.
    pub fn n_chosen(&self) -> usize {
        self.n_chosen
    }

    /// Returns the experts, `[tokens, n_chosen]`, a token's likeliest one first.
    pub fn experts(&self) -> &[u32] {
        &self.experts
    }

    /// Returns the weights of the experts, `[tokens, n_chosen]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Returns the experts that were chosen by any token, in the order of their indices, and their tokens.
    pub fn by_expert(&self) -> Vec<ExpertTokens> {
        let mut pairs: Vec<(u32, usize, f32)> = self
            .experts
            .iter()
            .zip(&self.weights)
            .enumerate()
            .map(|(idx, (&expert, &weight))| (expert, idx / self.n_chosen, weight))
            .collect();
        pairs.sort_unstable_by_key(|&(expert, token, _)| (expert, token));
        pairs
            .chunk_by(|a, b| a.0 == b.0)
            .map(|pairs| ExpertTokens {
                expert: pairs[0].0 as usize,
                tokens: pairs
                    .iter()
                    .map(|&(_, token, weight)| (token, weight))
                    .collect(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equally_likely_experts_are_chosen_in_their_order() {
        let routing = Routing::choose(&[1.0, 2.0, 2.0, 1.0, 2.0], 5, 4, RouterWeights::default());
        assert_eq!(routing.experts(), [1, 2, 4, 0]);
        let all = Routing::choose(&[0.5, 0.5], 2, 2, RouterWeights::Probabilities);
        assert_eq!(
            (all.experts(), all.weights()),
            (&[0, 1][..], &[0.5, 0.5][..])
        );
    }

    #[test]
    fn logits_that_are_no_numbers_give_weights_that_are_none() {
        let routing = Routing::choose(&[f32::NAN, 1.0, 0.0], 3, 2, RouterWeights::Renormalised);
        assert!(routing.weights().iter().all(|weight| weight.is_nan()));
    }

    #[test]
    fn tokens_are_grouped_by_expert() {
        let logits = [0.0, 3.0, 1.0, 5.0, 0.0, 1.0, 1.0, 2.0, 0.0];
        let routing = Routing::choose(&logits, 3, 2, RouterWeights::Renormalised);
        assert_eq!(routing.experts(), [1, 2, 0, 2, 1, 0]);
        let groups: Vec<(usize, Vec<usize>)> = routing
            .by_expert()
            .into_iter()
            .map(|group| {
                let tokens = group.tokens.iter().map(|&(token, _)| token);
                (group.expert, tokens.collect())
            })
            .collect();
        assert_eq!(groups, [(0, vec![1, 2]), (1, vec![0, 2]), (2, vec![0, 1])]);
    }
}
