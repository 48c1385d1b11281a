//! The settings of speculation.

use super::adaptive_plan::FollowConfig;
use super::near_ties::Ties;
use crate::gate::GateConfig;

/// How speculation goes about it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpeculationConfig {
    /// How many tokens are drafted before the full model is asked.
    pub draft_length: DraftLength,
    /// What a drafted token is taken to cost.
    pub draft_cost: DraftCost,
    /// What happens where the two most probable tokens are too close to tell apart.
    pub ties: Ties,
    /// The gate of the full model's passes, for observers and for plans that follow the text.
    pub gate: Option<GateConfig>,
    /// Whether the plan changes while the text grows.
    pub plan_updates: PlanUpdates,
}

impl Default for SpeculationConfig {
    /// At most eight drafted tokens, as many as pay by measured times; exact ties; no gate; the
    /// plan as it is.
    fn default() -> Self {
        Self {
            draft_length: DraftLength::Adaptive { at_most: 8 },
            draft_cost: DraftCost::Measured,
            ties: Ties::default(),
            gate: None,
            plan_updates: PlanUpdates::Fixed,
        }
    }
}

impl SpeculationConfig {
    /// The same with other lengths of drafts.
    pub fn with_draft_length(self, draft_length: DraftLength) -> Self {
        Self {
            draft_length,
            ..self
        }
    }

    /// The same with another cost of a drafted token.
    pub fn with_draft_cost(self, draft_cost: DraftCost) -> Self {
        Self { draft_cost, ..self }
    }

    /// The same with near ties treated in another way.
    pub fn with_ties(self, ties: Ties) -> Self {
        Self { ties, ..self }
    }

    /// The same with a gate, or without one.
    pub fn with_gate(self, gate: impl Into<Option<GateConfig>>) -> Self {
        let gate = gate.into();
        Self { gate, ..self }
    }

    /// The same with a plan that changes while the text grows, or does not.
    pub fn with_plan_updates(self, plan_updates: PlanUpdates) -> Self {
        Self {
            plan_updates,
            ..self
        }
    }
}

/// How many tokens are drafted at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftLength {
    /// As many as pay, by how often drafts of like confidence were accepted and what passes cost;
    /// none where none pays.
    Adaptive {
        /// Never more than this.
        at_most: usize,
    },
    /// Always this many.
    Fixed(usize),
}

impl DraftLength {
    pub(super) fn at_most(self) -> usize {
        match self {
            DraftLength::Adaptive { at_most } => at_most,
            DraftLength::Fixed(n_tokens) => n_tokens,
        }
    }
}

/// What a drafting pass is taken to cost, when the draft's length adapts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum DraftCost {
    /// The time it takes, as measured while generating. How much is drafted then differs from run
    /// to run: greedy text does not depend on it, and neither does the distribution of sampled
    /// text, but sampled text does.
    Measured,
    /// This share of a pass of the full model, above 0: the same seed gives the same text.
    Ratio(f64),
}

/// Whether the drafting plan changes while the text grows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PlanUpdates {
    /// It stays as it was given.
    Fixed,
    /// The verifying passes' traces and the drafts' acceptance move it; needs a gate.
    Follow(FollowConfig),
}
