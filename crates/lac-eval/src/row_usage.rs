//! What the gate and the loop over layers saw of one row of a batch.

use lac_core::{BoxError, Observer, PassRecord, Phase};
use serde::{Deserialize, Serialize};

use crate::lane::Lane;

/// Usage of one question, per phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ItemUsage {
    /// The prompt's tokens, and those of scored options.
    pub prompt: PhaseCount,
    /// The response's tokens.
    pub response: PhaseCount,
}

/// One phase's counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseCount {
    /// Number of tokens.
    pub tokens: u64,
    /// For each layer, the number of tokens it was active for; empty without a gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<u64>,
    /// Number of passes.
    pub passes: u64,
    /// Number of layers run, over all passes; a layer run in part counts as a half.
    pub executed: f64,
}

impl PhaseCount {
    /// Whether counts from a file are those of some tokens, and few enough to be added up.
    pub(crate) fn check(&self) -> Result<(), String> {
        /// More than any question has, and a thousandth of what a sum holds.
        const MOST: u64 = 1 << 44;
        for (name, count) in [("tokens", self.tokens), ("passes", self.passes)] {
            if count > MOST {
                return Err(format!("{name} is {count}, expected at most {MOST}"));
            }
        }
        if let Some(layer_idx) = self.active.iter().position(|&count| count > self.tokens) {
            return Err(format!(
                "active[{layer_idx}] is {}, expected at most the {} tokens",
                self.active[layer_idx], self.tokens
            ));
        }
        if !(0.0..1e18).contains(&self.executed) {
            return Err(format!("executed is {}, expected a count", self.executed));
        }
        Ok(())
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &PhaseCount) {
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.passes = self.passes.saturating_add(other.passes);
        self.executed += other.executed;
        if self.active.len() < other.active.len() {
            self.active.resize(other.active.len(), 0);
        }
        for (total, count) in self.active.iter_mut().zip(&other.active) {
            *total = total.saturating_add(*count);
        }
    }

    /// The share of layers flagged active, over tokens and layers; `None` where nothing was gated.
    pub fn share(&self) -> Option<f64> {
        let n_layers = self.active.len();
        let total: f64 = self.active.iter().map(|&count| count as f64).sum();
        (self.tokens > 0 && n_layers > 0).then(|| total / (self.tokens as f64 * n_layers as f64))
    }

    /// The mean number of layers run per pass.
    pub fn executed_per_pass(&self) -> Option<f64> {
        (self.passes > 0).then(|| self.executed / self.passes as f64)
    }
}

impl ItemUsage {
    /// Adds other counts.
    pub fn add(&mut self, other: &ItemUsage) {
        self.prompt.add(&other.prompt);
        self.response.add(&other.response);
    }

    fn phase(&mut self, phase: Phase) -> &mut PhaseCount {
        match phase {
            Phase::Prompt => &mut self.prompt,
            Phase::Response => &mut self.response,
        }
    }
}

/// Whether a row's pass counts as one of its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CountPass {
    /// It is the question's pass.
    Yes,
    /// Another row of the same question counts it.
    No,
}

/// Counts a row's tokens from slot `from` on, for one variant.
pub(crate) fn count_row(
    usage: &mut ItemUsage,
    record: &PassRecord,
    lane: &Lane,
    variant: usize,
    row: usize,
    from: usize,
    count_pass: CountPass,
) {
    let n_layers = record.n_layers();
    let phase = usage.phase(record.pass.phase());
    if count_pass == CountPass::Yes {
        phase.passes += 1;
        phase.executed += record.executed_layers();
    }
    let slots = (from..record.pass.seq()).filter(|&slot| record.pass.counts(row, slot));
    let Some(gate) = &record.gate else {
        phase.tokens += slots.count() as u64;
        return;
    };
    phase.active.resize(n_layers, 0);
    for slot in slots {
        phase.tokens += 1;
        for (layer_idx, count) in phase.active.iter_mut().enumerate() {
            let at = record.at(layer_idx, row, slot);
            *count += u64::from(lane.is_active(variant, gate, at));
        }
    }
}

/// Keeps the records of a generation: they are counted when the lane is free again.
#[derive(Default)]
pub(crate) struct Records(pub(crate) Vec<PassRecord>);

impl Observer for Records {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        self.0.push(record.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lac_core::{Decision, Off, Pass};

    use super::*;

    #[test]
    fn a_layer_run_in_part_counts_as_a_half() {
        let record = PassRecord {
            pass: Pass::prompt(&[[1, 2]], 0).unwrap(),
            decisions: vec![Decision::Run, Decision::SkipMlp, Decision::Skip],
            gate: None,
        };
        let lane = Lane::new(Box::new(Off));
        let mut usage = ItemUsage::default();
        count_row(&mut usage, &record, &lane, 0, 0, 0, CountPass::Yes);
        assert_eq!((usage.prompt.tokens, usage.prompt.passes), (2, 1));
        assert_eq!(usage.prompt.executed_per_pass(), Some(1.5));
    }
}
