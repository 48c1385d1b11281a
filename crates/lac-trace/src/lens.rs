//! What a lens saw, in traces.

use std::ops::Range;

use lac_core::lens::{LensRecord, decided_at};
use serde::Serialize;

/// What a lens saw of one token, after every layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLens<'a> {
    pub(crate) n_top: usize,
    /// `[layers][n_top]`.
    pub(crate) ids: &'a [u32],
    /// `[layers][n_top]`.
    pub(crate) logprobs: &'a [f32],
    pub(crate) entropy: &'a [f32],
    pub(crate) kl: &'a [f32],
}

/// What a lens saw of a token after one layer, as JSON has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LensJson {
    /// The most probable tokens, the most probable one first.
    pub ids: Vec<u32>,
    /// Their log-probabilities.
    pub logprobs: Vec<f32>,
    /// The entropy of the distribution, in nats.
    pub entropy: f32,
    /// Its divergence from the one after the last layer, `KL(p_last ‖ p_layer)`, in nats.
    pub kl: f32,
}

impl<'a> TokenLens<'a> {
    /// Returns the most probable tokens after a layer and their log-probabilities.
    pub fn top(&self, layer_idx: usize) -> (&'a [u32], &'a [f32]) {
        let top = layer_idx * self.n_top..(layer_idx + 1) * self.n_top;
        (&self.ids[top.clone()], &self.logprobs[top])
    }

    /// Returns the entropy after each layer, in nats.
    pub fn entropy(&self) -> &'a [f32] {
        self.entropy
    }

    /// Returns the divergence from the distribution after the last layer, for each layer, in nats.
    pub fn kl(&self) -> &'a [f32] {
        self.kl
    }

    /// Returns the layer from which on the most probable token stays the same
    /// ([`lac_core::lens::decided_at`]).
    pub fn decided_at(&self) -> usize {
        let answers: Vec<u32> = self.ids.iter().step_by(self.n_top).copied().collect();
        decided_at(&answers)
    }

    /// Returns what was seen after one layer.
    pub(crate) fn json(&self, layer_idx: usize) -> LensJson {
        let (ids, logprobs) = self.top(layer_idx);
        LensJson {
            ids: ids.to_vec(),
            logprobs: logprobs.to_vec(),
            entropy: self.entropy[layer_idx],
            kl: self.kl[layer_idx],
        }
    }
}

/// What a lens saw of many tokens, `[tokens][layers]`, with `n_top` values for each in the first two.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LensColumns {
    pub(crate) n_top: usize,
    pub(crate) ids: Vec<u32>,
    pub(crate) logprobs: Vec<f32>,
    pub(crate) entropy: Vec<f32>,
    pub(crate) kl: Vec<f32>,
}

impl LensColumns {
    pub(crate) fn new(n_top: usize) -> Self {
        Self {
            n_top,
            ..Self::default()
        }
    }

    /// Adds a token of a pass, `row * seq + slot`. What the embedding says is left out.
    pub(crate) fn push(&mut self, record: &LensRecord, slot: usize) {
        for state_idx in 1..record.n_states() {
            let seen = record.at(state_idx, slot);
            self.ids.extend_from_slice(seen.ids);
            self.logprobs.extend_from_slice(seen.logprobs);
            self.entropy.push(seen.entropy);
            self.kl.push(seen.kl);
        }
    }

    pub(crate) fn of_token(&self, token_idx: usize, n_layers: usize) -> TokenLens<'_> {
        let layers = token_idx * n_layers..(token_idx + 1) * n_layers;
        let top = layers.start * self.n_top..layers.end * self.n_top;
        TokenLens {
            n_top: self.n_top,
            ids: &self.ids[top.clone()],
            logprobs: &self.logprobs[top],
            entropy: &self.entropy[layers.clone()],
            kl: &self.kl[layers],
        }
    }

    /// Takes over values of a range of `[tokens][layers]`.
    pub(crate) fn append(&mut self, other: &Self, range: Range<usize>) {
        let top = range.start * self.n_top..range.end * self.n_top;
        self.ids.extend_from_slice(&other.ids[top.clone()]);
        self.logprobs.extend_from_slice(&other.logprobs[top]);
        self.entropy
            .extend_from_slice(&other.entropy[range.clone()]);
        self.kl.extend_from_slice(&other.kl[range]);
    }

    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.logprobs.clear();
        self.entropy.clear();
        self.kl.clear();
    }

    pub(crate) fn n_values(&self) -> usize {
        2 * (self.ids.len() + self.entropy.len())
    }
}

/// A phase through a lens, as JSON has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PhaseLens {
    /// `[layers][tokens]`.
    pub layers: Vec<Vec<LensJson>>,
    /// `[tokens]`: the layer from which on the most probable token stays the same.
    pub decided_at: Vec<usize>,
}

impl PhaseLens {
    /// Returns whether there was no lens.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    pub(crate) fn push(&mut self, token: &TokenLens<'_>) {
        let n_layers = token.kl.len();
        self.layers.resize(n_layers, Vec::new());
        for (layer_idx, layer) in self.layers.iter_mut().enumerate() {
            layer.push(token.json(layer_idx));
        }
        self.decided_at.push(token.decided_at());
    }
}
