//! Keeps one row's numbers in memory.

use lac_core::{BoxError, Observer, PassRecord, PerPhase};
use serde::Serialize;

use crate::lens::{LensColumns, PhaseLens};
use crate::measures::{MeasureColumns, MeasuresJson, push_json};

/// Keeps what the gate saw of one row of a batch, in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorder {
    row: usize,
    /// The tokens of each phase; each column belongs to the pass that consumed the token.
    pub phases: PerPhase<PhaseTrace>,
}

/// One phase of one row. The matrices are `[layers][tokens]`, and empty when the policy does not
/// gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PhaseTrace {
    /// The tokens that were fed.
    pub token_ids: Vec<u32>,
    /// Norms of the embedding output, one per token.
    pub embedding_norms: Vec<f32>,
    /// Norms after each layer.
    pub norms: Vec<Vec<f32>>,
    /// What each layer changed of the norm.
    pub deltas: Vec<Vec<f32>>,
    /// The threshold each delta was held against.
    pub thresholds: Vec<Vec<f32>>,
    /// 1 where the layer was active, 0 where it was void.
    pub active: Vec<Vec<u8>>,
    /// `[layers][tokens][chosen]`: the experts that each token went through, the one with the largest weight first; an empty
    /// list in a layer without experts. Empty for a model without experts.
    pub experts: Vec<Vec<Vec<u32>>>,
    /// The weights of these experts.
    pub expert_weights: Vec<Vec<Vec<f32>>>,
    /// What was measured beside the norm, by name; empty if nothing was.
    pub measures: MeasuresJson,
    /// What a lens saw; empty without one.
    pub lens: PhaseLens,
}

impl Recorder {
    /// Keeps the numbers of the given row of the batch.
    pub fn new(row: usize) -> Self {
        Self {
            row,
            ..Self::default()
        }
    }
}

impl PhaseTrace {
    /// Returns the number of tokens.
    pub fn n_tokens(&self) -> usize {
        self.token_ids.len()
    }

    fn push(&mut self, record: &PassRecord, row: usize) {
        let pass = &record.pass;
        let slots: Vec<usize> = (0..pass.seq())
            .filter(|&slot| pass.counts(row, slot))
            .collect();
        let token = |slot: &usize| row * pass.seq() + slot;
        if !pass.token_ids().is_empty() {
            self.token_ids
                .extend(slots.iter().map(|slot| pass.token_ids()[token(slot)]));
        }
        for (layer_idx, routing) in record.routing.iter().enumerate() {
            let choices = |slot: &usize| {
                let routing = routing.as_ref();
                let (experts, weights) = routing
                    .map(|routing| routing.of_token(token(slot)))
                    .unwrap_or_default();
                (experts.to_vec(), weights.to_vec())
            };
            let (experts, weights): (Vec<_>, Vec<_>) = slots.iter().map(choices).unzip();
            append(&mut self.experts, layer_idx, experts.into_iter());
            append(&mut self.expert_weights, layer_idx, weights.into_iter());
        }
        self.push_measures(record, row, &slots);
        self.push_lens(record, row, &slots);
        let Some(gate) = &record.gate else { return };
        self.embedding_norms
            .extend(slots.iter().map(|slot| gate.embedding_norms[token(slot)]));
        for layer_idx in 0..record.n_layers() {
            let at = |slot: &usize| record.at(layer_idx, row, *slot);
            append(
                &mut self.norms,
                layer_idx,
                slots.iter().map(|slot| gate.norms[at(slot)]),
            );
            append(
                &mut self.deltas,
                layer_idx,
                slots.iter().map(|slot| gate.deltas[at(slot)]),
            );
            append(
                &mut self.thresholds,
                layer_idx,
                slots.iter().map(|slot| gate.thresholds[at(slot)]),
            );
            append(
                &mut self.active,
                layer_idx,
                slots.iter().map(|slot| u8::from(gate.active[at(slot)])),
            );
        }
    }
}

impl PhaseTrace {
    fn push_measures(&mut self, record: &PassRecord, row: usize, slots: &[usize]) {
        let Some(measures) = &record.measures else {
            return;
        };
        let n_layers = record.n_layers();
        for &slot in slots {
            let mut columns = MeasureColumns::new(measures.measures());
            columns.push(measures, n_layers, |layer_idx| {
                record.at(layer_idx, row, slot)
            });
            push_json(&mut self.measures, &columns.of_token(0, n_layers));
        }
    }

    fn push_lens(&mut self, record: &PassRecord, row: usize, slots: &[usize]) {
        let Some(lens) = &record.lens else {
            return;
        };
        for &slot in slots {
            let mut columns = LensColumns::new(lens.n_top);
            columns.push(lens, row * record.pass.seq() + slot);
            self.lens.push(&columns.of_token(0, record.n_layers()));
        }
    }
}

/// Appends to a layer's row, which the first pass creates.
fn append<T>(matrix: &mut Vec<Vec<T>>, layer_idx: usize, values: impl Iterator<Item = T>) {
    if matrix.len() == layer_idx {
        matrix.push(Vec::new());
    }
    matrix[layer_idx].extend(values);
}

impl Observer for Recorder {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        let trace = self.phases.get_mut(record.pass.phase());
        trace.push(record, self.row);
        Ok(())
    }
}
