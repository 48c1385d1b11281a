//! The rows that a trace has of a pass: one for each token that counts.

use lac_core::PassRecord;
use lac_core::measures::{MeasureRecord, Measures};

use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::lens::LensColumns;
use crate::measures::MeasureColumns;
use crate::probe::ProbeReadings;
use crate::routing::{ExpertCounts, RoutingColumns};
use crate::token::{HiddenStates, TokenBatch};

/// Tokens of passes, and how sequences are numbered.
pub(crate) struct PassRows<'a> {
    pub(crate) tokens: TokenBatch,
    pub(crate) pieces: Box<dyn Fn(u32) -> Option<String> + 'a>,
    /// Number of sequences of earlier generations, and of rows of the current one.
    pub(crate) n_earlier: u32,
    n_rows: u32,
}

impl PassRows<'_> {
    pub(crate) fn new(n_layers: usize) -> Self {
        Self {
            tokens: TokenBatch::new(n_layers),
            pieces: Box::new(|_| None),
            n_earlier: 0,
            n_rows: 0,
        }
    }

    /// Returns the number of sequences so far.
    pub(crate) fn n_sequences(&self) -> u32 {
        self.n_earlier + self.n_rows
    }

    /// Adds the tokens of a pass that count. `probed` is what a probe read of the same pass.
    pub(crate) fn push(
        &mut self,
        info: &TraceInfo,
        record: &PassRecord,
        probed: Option<&ProbeReadings>,
    ) -> Result<()> {
        let pass = &record.pass;
        let Some(gate) = &record.gate else {
            return Err(Error::NotGated {
                policy: info.policy.clone(),
            });
        };
        if record.n_layers() != info.n_layers {
            return Err(Error::UnexpectedPass {
                what: "layers",
                found: record.n_layers(),
                expected: info.n_layers,
            });
        }
        if pass.past() == 0 {
            self.n_earlier += self.n_rows;
            self.n_rows = pass.batch() as u32;
        } else if pass.batch() as u32 != self.n_rows {
            return Err(Error::UnexpectedPass {
                what: "rows",
                found: pass.batch(),
                expected: self.n_rows as usize,
            });
        }
        if let Some(probed) = probed
            && probed.n_tokens != pass.batch() * pass.seq()
        {
            return Err(Error::UnexpectedPass {
                what: "probed tokens",
                found: probed.n_tokens,
                expected: pass.batch() * pass.seq(),
            });
        }
        if let Some(experts) = info.experts {
            check_routing(record, experts)?;
        }
        self.check_columns(info, record)?;
        let executed = record.executed();
        let batch = &mut self.tokens;
        for (row, slot) in record.counted() {
            let token = row * pass.seq() + slot;
            let at = |layer_idx| record.at(layer_idx, row, slot);
            let layers = 0..record.n_layers();
            let id = pass.token_ids().get(token).copied();
            batch.sequences.push(self.n_earlier + row as u32);
            batch.phases.push(pass.phase());
            // What counts has a position.
            let position = pass.position(row, slot).unwrap_or_default();
            batch.positions.push(position as u32);
            batch.token_ids.push(id);
            batch
                .pieces
                .push(id.and_then(&self.pieces).map(String::into_boxed_str));
            batch.embedding_norms.push(gate.embedding_norms[token]);
            batch
                .norms
                .extend(layers.clone().map(|layer| gate.norms[at(layer)]));
            batch
                .deltas
                .extend(layers.clone().map(|layer| gate.deltas[at(layer)]));
            batch
                .thresholds
                .extend(layers.clone().map(|layer| gate.thresholds[at(layer)]));
            batch
                .active
                .extend(layers.map(|layer| gate.active[at(layer)]));
            batch.executed.extend_from_slice(&executed);
            if let Some(probed) = probed {
                push_probed(batch, probed, token);
            }
            if let Some(experts) = info.experts {
                push_routing(batch, record, experts, token);
            }
            if let Some(measures) = &record.measures {
                let columns = batch
                    .measures
                    .get_or_insert_with(|| MeasureColumns::new(measures.measures()));
                columns.push(measures, record.n_layers(), at);
            }
            if let (Some(lens), Some(n_top)) = (&record.lens, info.lens_top) {
                let columns = batch.lens.get_or_insert_with(|| LensColumns::new(n_top));
                columns.push(lens, token);
            }
        }
        Ok(())
    }

    /// Checks that a pass was measured as those before it, and seen through the lens that the trace speaks of.
    fn check_columns(&self, info: &TraceInfo, record: &PassRecord) -> Result<()> {
        let n_measures = |measures: Option<Measures>| measures.unwrap_or_default().list().len();
        let found = n_measures(record.measures.as_ref().map(MeasureRecord::measures));
        let before = self
            .tokens
            .measures
            .as_ref()
            .map(|columns| columns.measures);
        let expected = n_measures(before);
        if !self.tokens.is_empty() && found != expected {
            return Err(Error::UnexpectedPass {
                what: "measures",
                found,
                expected,
            });
        }
        let found = record.lens.as_ref().map_or(0, |lens| lens.n_top);
        match info.lens_top {
            Some(expected) if expected != found => Err(Error::UnexpectedPass {
                what: "tokens of a lens",
                found,
                expected,
            }),
            _ => Ok(()),
        }
    }
}

/// Checks that a pass's routers have as many experts as the trace says.
fn check_routing(record: &PassRecord, experts: ExpertCounts) -> Result<()> {
    for routing in record.routing.iter().flatten() {
        for (what, found, expected) in [
            ("experts", routing.n_experts, experts.n_experts),
            ("experts per token", routing.n_chosen, experts.n_chosen),
        ] {
            if found != expected {
                return Err(Error::UnexpectedPass {
                    what,
                    found,
                    expected,
                });
            }
        }
    }
    Ok(())
}

/// Adds what the routers chose for a token. `token` is its index in the pass, `row * seq + slot`.
fn push_routing(batch: &mut TokenBatch, record: &PassRecord, experts: ExpertCounts, token: usize) {
    let n_layers = batch.n_layers;
    let columns = batch
        .routing
        .get_or_insert_with(|| RoutingColumns::new(experts.n_chosen));
    for layer_idx in 0..n_layers {
        let layer = record.routing.get(layer_idx).and_then(Option::as_ref);
        columns.push_layer(layer.map(|layer| layer.of_token(token)));
    }
}

/// Adds what a probe read of a token. `token` is its index in the pass, `row * seq + slot`.
fn push_probed(batch: &mut TokenBatch, probed: &ProbeReadings, token: usize) {
    let n_tokens = probed.n_tokens;
    for (hidden_idx, (layer_idx, values)) in probed.hidden.iter().enumerate() {
        let width = values.len() / n_tokens;
        if batch.hidden.len() == hidden_idx {
            batch.hidden.push(HiddenStates {
                layer_idx: *layer_idx,
                width,
                values: Vec::new(),
            });
        }
        batch.hidden[hidden_idx]
            .values
            .extend_from_slice(&values[token * width..(token + 1) * width]);
    }
}
