//! Usage: how often each layer was active, per phase.

use serde::{Deserialize, Serialize};

use crate::error::BoxError;
use crate::observer::Observer;
use crate::phase::PerPhase;
use crate::record::PassRecord;

/// Counts, for each phase and layer, the tokens for which the layer was active and the passes in which it was run: an
/// [`Observer`]. Padding and finished rows never count.
pub type Usage = PerPhase<PhaseUsage>;

/// The counts of one phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseUsage {
    n_tokens: u64,
    n_passes: u64,
    active: Vec<u64>,
    /// Halves of layers that were run: attention and MLP count one each.
    executed_parts: Vec<u64>,
}

impl Usage {
    /// Adds the counts of another run of the same model.
    pub fn merge(&mut self, other: &Usage) {
        self.prompt.merge(&other.prompt);
        self.response.merge(&other.response);
    }
}

impl PhaseUsage {
    /// Returns the number of tokens that the gate judged.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// Returns the number of passes.
    pub fn n_passes(&self) -> u64 {
        self.n_passes
    }

    /// Returns, for each layer, the share of tokens for which it was active, in `[0, 1]`; `None` if the gate judged no
    /// token.
    pub fn per_layer(&self) -> Option<Vec<f64>> {
        (self.n_tokens > 0).then(|| {
            self.active
                .iter()
                .map(|&count| count as f64 / self.n_tokens as f64)
                .collect()
        })
    }

    /// Returns the mean of [`per_layer`](Self::per_layer), the paper's "percentage of layers used".
    pub fn mean(&self) -> Option<f64> {
        let per_layer = self.per_layer()?;
        (!per_layer.is_empty()).then(|| per_layer.iter().sum::<f64>() / per_layer.len() as f64)
    }

    /// Returns the mean number of layers that were run per pass, whatever the gate flagged; `None` before the first pass. A
    /// layer whose attention or MLP alone was run counts as a half.
    pub fn executed_per_pass(&self) -> Option<f64> {
        let total: u64 = self.executed_parts.iter().sum();
        (self.n_passes > 0).then(|| total as f64 / 2.0 / self.n_passes as f64)
    }

    /// Adds the counts of another run of the same model.
    pub fn merge(&mut self, other: &PhaseUsage) {
        self.n_tokens += other.n_tokens;
        self.n_passes += other.n_passes;
        add(&mut self.active, &other.active);
        add(&mut self.executed_parts, &other.executed_parts);
    }

    fn count(&mut self, record: &PassRecord) {
        self.n_passes += 1;
        let executed_parts: Vec<u64> = record
            .decisions
            .iter()
            .map(|decision| u64::from(decision.executed_parts()))
            .collect();
        add(&mut self.executed_parts, &executed_parts);

        if record.gate.is_none() {
            return;
        }
        self.n_tokens += record.counted().count() as u64;
        let mut active = vec![0; record.n_layers()];
        for reading in record.readings() {
            active[reading.layer_idx] += u64::from(reading.active);
        }
        add(&mut self.active, &active);
    }
}

fn add(totals: &mut Vec<u64>, counts: &[u64]) {
    if totals.len() < counts.len() {
        totals.resize(counts.len(), 0);
    }
    for (total, count) in totals.iter_mut().zip(counts) {
        *total += count;
    }
}

impl Observer for Usage {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        self.get_mut(record.pass.phase()).count(record);
        Ok(())
    }
}
