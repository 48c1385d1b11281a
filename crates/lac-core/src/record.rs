//! What was seen of a pass, read back to the host.

use crate::decision::Decision;
use crate::lens::LensRecord;
use crate::measures::MeasureRecord;
use crate::pass::{Pass, first_of_each};
use crate::routing::RoutingRecord;

/// What the gate saw of one pass, read back to the host.
///
/// The arrays are laid out `[layer][row][slot]`; [`PassRecord::at`] returns the index.
#[derive(Clone, Debug, PartialEq)]
pub struct GateRecord {
    /// Norms of the embedding: `batch * seq` values.
    pub embedding_norms: Vec<f32>,
    /// `n_l`: norms after each layer, `n_layers * batch * seq` values like the arrays below.
    pub norms: Vec<f32>,
    /// `Δ_l`: by how much each layer changed the norm.
    pub deltas: Vec<f32>,
    /// `λ_l`: the threshold that each layer's delta was compared with.
    pub thresholds: Vec<f32>,
    /// Whether the layer was active for the token.
    pub active: Vec<bool>,
}

/// One pass as an [`Observer`](crate::Observer) receives it.
#[derive(Clone, Debug, PartialEq)]
pub struct PassRecord {
    /// The pass: phase, token ids, positions, padding.
    pub pass: Pass,
    /// What the policy decided for each layer.
    pub decisions: Vec<Decision>,
    /// What the gate saw; `None` when the policy does not gate.
    pub gate: Option<GateRecord>,
    /// What the routers chose, for each layer: `None` for a layer without experts, and for one whose MLP was not run. Empty
    /// when no layer of the pass went through experts.
    pub routing: Vec<Option<RoutingRecord>>,
    /// What was measured beside the norm; `None` when the policy measures nothing.
    pub measures: Option<MeasureRecord>,
    /// What a lens saw; `None` without one.
    pub lens: Option<LensRecord>,
}

/// What the gate saw of one token at one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenReading {
    /// Index of the layer, from 0.
    pub layer_idx: usize,
    /// Row of the batch.
    pub row: usize,
    /// Slot of the token in this pass, padding included.
    pub slot: usize,
    /// `n_l`: the norm after the layer.
    pub norm: f32,
    /// `Δ_l`: by how much the layer changed the norm.
    pub delta: f32,
    /// `λ_l`: the threshold that the delta was compared with.
    pub threshold: f32,
    /// Whether the layer was active for the token.
    pub active: bool,
}

impl PassRecord {
    /// Iterates over what the gate saw of every token that counts (see [`counted`](Self::counted)) at every
    /// layer: token after token, for each token the layers in their order. Empty without a gate.
    pub fn readings(&self) -> impl Iterator<Item = TokenReading> + '_ {
        self.gate.iter().flat_map(move |gate| {
            self.counted().flat_map(move |(row, slot)| {
                (0..self.n_layers()).map(move |layer_idx| {
                    let at = self.at(layer_idx, row, slot);
                    TokenReading {
                        layer_idx,
                        row,
                        slot,
                        norm: gate.norms[at],
                        delta: gate.deltas[at],
                        threshold: gate.thresholds[at],
                        active: gate.active[at],
                    }
                })
            })
        })
    }

    /// Returns the number of layers of the model.
    pub fn n_layers(&self) -> usize {
        self.decisions.len()
    }

    /// Returns, for each layer, whether it was run, whole or in part.
    pub fn executed(&self) -> Vec<bool> {
        let is_run = |decision: &Decision| *decision != Decision::Skip;
        self.decisions.iter().map(is_run).collect()
    }

    /// Returns the number of layers that were run, whole or in part.
    pub fn n_executed(&self) -> usize {
        self.executed().iter().filter(|&&is_run| is_run).count()
    }

    /// Returns the number of layers that were run, sublayers counted as halves, as in [`Usage`](crate::Usage).
    pub fn executed_layers(&self) -> f64 {
        self.decisions.iter().map(|layer| layer.executed()).sum()
    }

    /// Returns the record of the first slots alone, for a pass whose later tokens were rejected.
    pub(crate) fn first_slots(mut self, n_slots: usize) -> Self {
        let (batch, seq) = (self.pass.batch(), self.pass.seq());
        if n_slots >= seq {
            return self;
        }
        self.pass = self.pass.first_slots(n_slots);
        if let Some(gate) = &mut self.gate {
            debug_assert_eq!(gate.embedding_norms.len(), batch * seq);
            for values in [
                &mut gate.embedding_norms,
                &mut gate.norms,
                &mut gate.deltas,
                &mut gate.thresholds,
            ] {
                *values = first_of_each(values, seq, n_slots);
            }
            gate.active = first_of_each(&gate.active, seq, n_slots);
        }
        for routing in self.routing.iter_mut().flatten() {
            routing.keep_first_slots(seq, n_slots);
        }
        if let Some(measures) = &mut self.measures {
            measures.keep_first_slots(seq, n_slots);
        }
        if let Some(lens) = &mut self.lens {
            lens.keep_first_slots(seq, n_slots);
        }
        self
    }

    /// Returns the index into the arrays of [`GateRecord`] of a layer, row and slot.
    pub fn at(&self, layer_idx: usize, row: usize, slot: usize) -> usize {
        (layer_idx * self.pass.batch() + row) * self.pass.seq() + slot
    }

    /// Iterates over the `(row, slot)` pairs that count: neither padding nor of a finished row.
    pub fn counted(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.pass.batch())
            .flat_map(move |row| (0..self.pass.seq()).map(move |slot| (row, slot)))
            .filter(|&(row, slot)| self.pass.counts(row, slot))
    }
}
