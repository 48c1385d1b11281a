//! Traces as columns of numbers, `[token]` and `[token][layer]` flat, and as numpy arrays.

use lac_core::measures::Measure;
use lac_core::{PassRecord, Phase};
use lac_trace::Token;
use numpy::{PyArray, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// In the place of an expert, in layers that a token went through no expert of.
const NO_EXPERT: i32 = -1;

/// What a lens saw of many tokens.
#[derive(Default)]
pub(crate) struct LensColumns {
    pub(crate) ids: Vec<u32>,
    pub(crate) logprobs: Vec<f32>,
    pub(crate) entropy: Vec<f32>,
    pub(crate) kl: Vec<f32>,
}

/// What was seen of many tokens.
#[derive(Default)]
pub(crate) struct Columns {
    pub(crate) n_layers: usize,
    pub(crate) sequences: Vec<u32>,
    /// Whether a token is of the response.
    pub(crate) responses: Vec<bool>,
    pub(crate) positions: Vec<u32>,
    pub(crate) token_ids: Vec<u32>,
    pub(crate) embedding_norms: Vec<f32>,
    pub(crate) norms: Vec<f32>,
    pub(crate) deltas: Vec<f32>,
    pub(crate) thresholds: Vec<f32>,
    pub(crate) active: Vec<bool>,
    pub(crate) executed: Vec<bool>,
    /// What was measured beside the norm, by name.
    pub(crate) measures: Vec<(Measure, Vec<f32>)>,
    /// What a lens saw: ids and log-probabilities `[token][layer][top]`, entropies and divergences `[token][layer]`.
    pub(crate) lens: Option<LensColumns>,
    /// `[token][layer][choice]`.
    pub(crate) experts: Vec<i32>,
    pub(crate) expert_weights: Vec<f32>,
    pub(crate) pieces: Vec<Option<String>>,
}

impl Columns {
    /// Adds the tokens of a pass that count. The rows of the pass are the sequences from `first_sequence` on.
    pub(crate) fn push_pass(&mut self, record: &PassRecord, first_sequence: u32) {
        let Some(gate) = &record.gate else { return };
        let pass = &record.pass;
        self.n_layers = record.n_layers();
        let executed = record.executed();
        let n_chosen = record.routing.iter().flatten().map(|layer| layer.n_chosen);
        let n_chosen = n_chosen.max().unwrap_or(0);
        for (row, slot) in record.counted() {
            let token = row * pass.seq() + slot;
            let at = |layer_idx| record.at(layer_idx, row, slot);
            let layers = 0..record.n_layers();
            self.sequences.push(first_sequence + row as u32);
            self.responses.push(pass.phase() == Phase::Response);
            // What counts has a position.
            self.positions
                .push(pass.position(row, slot).unwrap_or_default() as u32);
            self.token_ids
                .push(pass.token_ids().get(token).copied().unwrap_or_default());
            self.embedding_norms.push(gate.embedding_norms[token]);
            self.norms
                .extend(layers.clone().map(|layer| gate.norms[at(layer)]));
            self.deltas
                .extend(layers.clone().map(|layer| gate.deltas[at(layer)]));
            self.thresholds
                .extend(layers.clone().map(|layer| gate.thresholds[at(layer)]));
            self.active
                .extend(layers.clone().map(|layer| gate.active[at(layer)]));
            self.executed.extend_from_slice(&executed);
            if let Some(measures) = &record.measures {
                for (idx, (measure, values)) in measures.iter().enumerate() {
                    let values = layers.clone().map(|layer| values[at(layer)]);
                    self.push_measure(idx, measure, values);
                }
            }
            if let Some(lens) = &record.lens {
                let columns = self.lens.get_or_insert_default();
                // State 0 is the embedding.
                for state_idx in 1..lens.n_states() {
                    let seen = lens.at(state_idx, token);
                    columns.ids.extend_from_slice(seen.ids);
                    columns.logprobs.extend_from_slice(seen.logprobs);
                    columns.entropy.push(seen.entropy);
                    columns.kl.push(seen.kl);
                }
            }
            for layer_idx in layers.filter(|_| n_chosen > 0) {
                let layer = record.routing.get(layer_idx).and_then(Option::as_ref);
                self.push_routing(layer.map(|layer| layer.of_token(token)), n_chosen);
            }
        }
    }

    /// Adds a token of a file.
    pub(crate) fn push_token(&mut self, token: &Token<'_>, n_chosen: usize) {
        self.n_layers = token.n_layers();
        self.sequences.push(token.sequence);
        self.responses.push(token.phase == Phase::Response);
        self.positions.push(token.position);
        self.token_ids.push(token.token_id.unwrap_or_default());
        self.pieces.push(token.piece.map(str::to_owned));
        self.embedding_norms.push(token.embedding_norm);
        self.norms.extend_from_slice(token.norms);
        self.deltas.extend_from_slice(token.deltas);
        self.thresholds.extend_from_slice(token.thresholds);
        self.active.extend_from_slice(token.active);
        self.executed.extend_from_slice(token.executed);
        if let Some(measures) = &token.measures {
            for (idx, (measure, values)) in measures.iter().enumerate() {
                self.push_measure(idx, measure, values.iter().copied());
            }
        }
        if let Some(lens) = &token.lens {
            let columns = self.lens.get_or_insert_default();
            for layer_idx in 0..token.n_layers() {
                let (ids, logprobs) = lens.top(layer_idx);
                columns.ids.extend_from_slice(ids);
                columns.logprobs.extend_from_slice(logprobs);
            }
            columns.entropy.extend_from_slice(lens.entropy());
            columns.kl.extend_from_slice(lens.kl());
        }
        if let Some(routing) = &token.routing {
            for layer_idx in 0..token.n_layers() {
                self.push_routing(routing.of_layer(layer_idx), n_chosen);
            }
        }
    }

    fn push_measure(&mut self, idx: usize, measure: Measure, values: impl Iterator<Item = f32>) {
        if self.measures.len() == idx {
            self.measures.push((measure, Vec::new()));
        }
        self.measures[idx].1.extend(values);
    }

    fn push_routing(&mut self, choices: Option<(&[u32], &[f32])>, n_chosen: usize) {
        let (experts, weights) = choices.unwrap_or_default();
        // An expert's number is far below 2³¹.
        self.experts
            .extend(experts.iter().map(|&expert| expert as i32));
        self.expert_weights.extend_from_slice(weights);
        let n_missing = n_chosen.saturating_sub(experts.len());
        self.experts
            .extend(std::iter::repeat_n(NO_EXPERT, n_missing));
        self.expert_weights
            .extend(std::iter::repeat_n(0.0, n_missing));
    }

    /// Returns the columns as numpy arrays, which own the numbers: nothing is copied.
    pub(crate) fn into_dict(self, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let (n_tokens, n_layers) = (self.sequences.len(), self.n_layers);
        let columns = PyDict::new(py);
        let vector = |name, array| columns.set_item(name, array);
        vector(
            "sequences",
            PyArray::from_vec(py, self.sequences).into_any(),
        )?;
        vector(
            "responses",
            PyArray::from_vec(py, self.responses).into_any(),
        )?;
        vector(
            "positions",
            PyArray::from_vec(py, self.positions).into_any(),
        )?;
        vector(
            "token_ids",
            PyArray::from_vec(py, self.token_ids).into_any(),
        )?;
        let embedding_norms = PyArray::from_vec(py, self.embedding_norms);
        vector("embedding_norms", embedding_norms.into_any())?;
        let shape = [n_tokens, n_layers];
        for (name, values) in [
            ("norms", self.norms),
            ("deltas", self.deltas),
            ("thresholds", self.thresholds),
        ] {
            columns.set_item(name, PyArray::from_vec(py, values).reshape(shape)?)?;
        }
        let measures = PyDict::new(py);
        for (measure, values) in self.measures {
            measures.set_item(
                measure.name(),
                PyArray::from_vec(py, values).reshape(shape)?,
            )?;
        }
        columns.set_item("measures", measures)?;
        if let Some(lens) = self.lens {
            let n_top = lens.ids.len() / lens.entropy.len().max(1);
            let top = [n_tokens, n_layers, n_top];
            let of_lens = PyDict::new(py);
            of_lens.set_item("ids", PyArray::from_vec(py, lens.ids).reshape(top)?)?;
            of_lens.set_item(
                "logprobs",
                PyArray::from_vec(py, lens.logprobs).reshape(top)?,
            )?;
            of_lens.set_item(
                "entropy",
                PyArray::from_vec(py, lens.entropy).reshape(shape)?,
            )?;
            of_lens.set_item("kl", PyArray::from_vec(py, lens.kl).reshape(shape)?)?;
            columns.set_item("lens", of_lens)?;
        }
        for (name, values) in [("active", self.active), ("executed", self.executed)] {
            columns.set_item(name, PyArray::from_vec(py, values).reshape(shape)?)?;
        }
        if !self.experts.is_empty() {
            let n_chosen = self.experts.len() / (n_tokens * n_layers).max(1);
            let shape = [n_tokens, n_layers, n_chosen];
            let experts = PyArray::from_vec(py, self.experts).reshape(shape)?;
            columns.set_item("experts", experts)?;
            let weights = PyArray::from_vec(py, self.expert_weights).reshape(shape)?;
            columns.set_item("expert_weights", weights)?;
        }
        if !self.pieces.is_empty() {
            columns.set_item("pieces", self.pieces)?;
        }
        Ok(columns)
    }
}
