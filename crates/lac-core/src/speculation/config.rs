//! The settings of speculation.

use super::adaptive_plan::FollowConfig;
use super::near_ties::Ties;
use crate::gate::GateConfig;

/// The settings of speculation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpeculationConfig {
    /// How many tokens are drafted before a verifying pass.
    pub draft_length: DraftLength,
    /// What a drafted token is assumed to cost, for drafts of adaptive length.
    pub draft_cost: DraftCost,
    /// What happens where the two most probable tokens are too close for a verifying pass to decide.
    pub ties: Ties,
    /// The gate of the full model's passes, for observers and for [`PlanUpdates::Follow`].
    pub gate: Option<GateConfig>,
    /// Whether the plan of [`Speculator::new`](super::Speculator::new) changes while the text grows.
    pub plan_updates: PlanUpdates,
}

impl Default for SpeculationConfig {
    /// Drafts at most sixteen tokens, as many as pay by measured times; replays near ties; has no gate and a fixed plan.
    fn default() -> Self {
        Self {
            draft_length: DraftLength::Adaptive { at_most: 16 },
            draft_cost: DraftCost::Measured,
            ties: Ties::default(),
            gate: None,
            plan_updates: PlanUpdates::Fixed,
        }
    }
}

impl SpeculationConfig {
    /// Sets how many tokens are drafted at a time.
    pub fn with_draft_length(self, draft_length: DraftLength) -> Self {
        Self {
            draft_length,
            ..self
        }
    }

    /// Sets what a drafted token is assumed to cost.
    pub fn with_draft_cost(self, draft_cost: DraftCost) -> Self {
        Self { draft_cost, ..self }
    }

    /// Sets what happens at near ties.
    pub fn with_ties(self, ties: Ties) -> Self {
        Self { ties, ..self }
    }

    /// Sets the gate, or removes it.
    pub fn with_gate(self, gate: impl Into<Option<GateConfig>>) -> Self {
        let gate = gate.into();
        Self { gate, ..self }
    }

    /// Sets whether the plan changes while the text grows.
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
    /// As many as pay, of the drafter that pays most, given how often drafts of similar confidence were accepted and what
    /// passes cost. None if none pays.
    Adaptive {
        /// The largest number of tokens.
        at_most: usize,
    },
    /// Always this many, of the first drafter that proposes any; fewer if it has no more.
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

/// What a drafting pass is assumed to cost, for drafts of adaptive length.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum DraftCost {
    /// The time that it takes, as measured while generating. What is drafted then differs from run to run. Greedy text
    /// and the distribution of sampled text do not depend on it; the sampled text itself does.
    Measured,
    /// What each drafter expects ([`Drafter::expected_cost`](super::Drafter::expected_cost)). The same seed then gives the
    /// same text.
    Expected,
    /// This share of a pass of the full model, above 0, but for drafters that expect no cost. The same seed then gives the
    /// same text.
    Ratio(f64),
}

/// Whether the drafting plan changes while the text grows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PlanUpdates {
    /// The plan stays as it is.
    Fixed,
    /// The plan follows the readings of verifying passes and the acceptance of drafts. Needs a gate.
    Follow(FollowConfig),
}
