//! Usage under other α, recomputed from deltas.

use lac_core::{GateConfig, PerPhase};
use serde::{Deserialize, Serialize};

use super::add::add;
use super::regate::regate;
use crate::info::TraceInfo;
use crate::token::Token;

/// Returns the α that are swept unless others are named: 0 to 2 in steps of 0.05.
pub fn default_alphas() -> Vec<f32> {
    (0..=40u8).map(|step| f32::from(step) / 20.0).collect()
}

/// Usage per layer and phase under many α.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlphaSweep {
    gate: GateConfig,
    n_layers: usize,
    /// The α.
    pub alphas: Vec<f32>,
    /// What was counted of the tokens of each phase, per α.
    #[serde(flatten)]
    pub phases: PerPhase<Vec<SweepCounts>>,
}

/// What is counted of a phase under one α.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepCounts {
    /// Number of tokens.
    pub n_tokens: u64,
    /// `[L]`: tokens for which the layer is active.
    pub active: Vec<u64>,
    /// Flags that are as they were recorded.
    pub equal_flags: u64,
    /// Tokens all of whose flags are.
    pub equal_masks: u64,
}

impl AlphaSweep {
    pub(super) fn new(info: &TraceInfo, alphas: Vec<f32>) -> Self {
        let counts = SweepCounts {
            n_tokens: 0,
            active: vec![0; info.n_layers],
            equal_flags: 0,
            equal_masks: 0,
        };
        Self {
            gate: info.gate,
            n_layers: info.n_layers,
            phases: PerPhase {
                prompt: vec![counts.clone(); alphas.len()],
                response: vec![counts; alphas.len()],
            },
            alphas,
        }
    }

    pub(super) fn push(&mut self, token: &Token<'_>) {
        let counts = self.phases.get_mut(token.phase);
        for (counts, &alpha) in counts.iter_mut().zip(&self.alphas) {
            let gate = self.gate.with_alpha(alpha);
            let mut n_equal = 0;
            let flags = regate(gate, token.deltas).zip(token.active);
            for (total, ((_, active), &recorded)) in counts.active.iter_mut().zip(flags) {
                *total += u64::from(active);
                n_equal += u64::from(active == recorded);
            }
            counts.n_tokens += 1;
            counts.equal_flags += n_equal;
            counts.equal_masks += u64::from(n_equal == token.active.len() as u64);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (phase, others) in other.phases.iter() {
            for (mine, others) in self.phases.get_mut(phase).iter_mut().zip(others) {
                mine.n_tokens += others.n_tokens;
                add(&mut mine.active, &others.active);
                mine.equal_flags += others.equal_flags;
                mine.equal_masks += others.equal_masks;
            }
        }
    }
}

impl SweepCounts {
    fn per_flag(&self, count: u64) -> Option<f64> {
        let n_flags = self.n_tokens * self.active.len() as u64;
        (n_flags > 0).then(|| count as f64 / n_flags as f64)
    }

    /// Returns the mean share of active layers; `None` when there is no token.
    pub fn mean_usage(&self) -> Option<f64> {
        self.per_flag(self.active.iter().sum())
    }

    /// Returns the share of flags that are as they were recorded.
    pub fn agreement(&self) -> Option<f64> {
        self.per_flag(self.equal_flags)
    }
}
