//! A drafting plan with what has been learned of it.

use super::adaptive_plan::Follower;
use super::config::{DraftCost, PlanUpdates, SpeculationConfig};
use super::draft_length::DraftControl;
use super::near_ties::Ties;
use crate::error::{Error, Result};
use crate::plan::{ModelFingerprint, PhasePlan, VoidPlan};

/// A drafting plan with what has been learned of it, which is kept from one generation to the next.
#[derive(Clone, Debug)]
pub struct Speculator {
    pub(super) config: SpeculationConfig,
    pub(super) plan: PhasePlan,
    pub(super) control: DraftControl,
    pub(super) follower: Option<Follower>,
    pub(super) ties: Ties,
}

impl Speculator {
    /// Creates a speculator that drafts with the layers that a plan keeps.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for impossible settings.
    pub fn new(plan: PhasePlan, config: SpeculationConfig) -> Result<Self> {
        let invalid = |field, value: String, expected| Error::InvalidConfig {
            field,
            value,
            expected,
        };
        if let DraftCost::Ratio(ratio) = config.draft_cost
            && !(ratio.is_finite() && ratio > 0.0)
        {
            let expected = "a finite number above 0";
            return Err(invalid("draft_cost", ratio.to_string(), expected));
        }
        config.ties.validate()?;
        if let Some(gate) = &config.gate {
            gate.validate()?;
        }
        let follower = match config.plan_updates {
            PlanUpdates::Fixed => None,
            PlanUpdates::Follow(_) if config.gate.is_none() => {
                let expected = "a gate, whose traces the plan is to follow";
                return Err(invalid("gate", "absent".to_owned(), expected));
            }
            PlanUpdates::Follow(follow) => Some(Follower::new(follow, plan.n_layers())?),
        };
        Ok(Self {
            control: DraftControl::new(&config, plan.executed_share()),
            ties: config.ties,
            follower,
            plan,
            config,
        })
    }

    /// Creates a speculator that drafts with the response phase of a plan, on the model that the plan was made on.
    ///
    /// # Errors
    /// [`Error::Plan`] if the plan was made on another model; otherwise as [`Speculator::new`].
    pub fn from_plan(
        plan: &VoidPlan,
        model: &ModelFingerprint,
        config: SpeculationConfig,
    ) -> Result<Self> {
        plan.check(model)?;
        Self::new(plan.response.clone(), config)
    }

    /// Returns the settings.
    pub fn config(&self) -> &SpeculationConfig {
        &self.config
    }

    /// Returns the drafting plan as it is now.
    pub fn plan(&self) -> &PhasePlan {
        &self.plan
    }

    /// Replaces the plan. What was learned of drafting with the old one is kept as a first guess.
    pub(super) fn set_plan(&mut self, plan: PhasePlan) {
        self.control
            .plan_changed(self.plan.executed_share(), plan.executed_share());
        self.plan = plan;
    }
}
