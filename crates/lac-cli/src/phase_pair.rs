//! A number for each phase, as results print it.

use lac_core::{Usage, usage::PhaseUsage};
use serde::Serialize;

/// A number per phase; `None` where there was nothing to count.
#[derive(Serialize)]
pub struct PhasePair {
    pub prompt: Option<f64>,
    pub response: Option<f64>,
}

impl PhasePair {
    /// Returns the share of layers that the gate flagged active.
    pub fn active(usage: &Usage) -> Self {
        Self::of(usage, PhaseUsage::mean)
    }

    /// Returns the mean number of layers run per pass.
    pub fn executed(usage: &Usage) -> Self {
        Self::of(usage, PhaseUsage::executed_per_pass)
    }

    fn of(usage: &Usage, number: impl Fn(&PhaseUsage) -> Option<f64>) -> Self {
        Self {
            prompt: number(&usage.prompt),
            response: number(&usage.response),
        }
    }
}
