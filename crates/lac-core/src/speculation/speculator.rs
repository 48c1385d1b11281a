//! Drafters with what has been learned of them.

use std::fmt;

use super::config::{DraftCost, PlanUpdates, SpeculationConfig};
use super::control::Control;
use super::drafter::Drafter;
use super::drafters::PlanDrafter;
use super::near_ties::Ties;
use crate::error::{Error, Result};
use crate::plan::{ModelFingerprint, PhasePlan, VoidPlan};

/// Drafters with what has been learned of them, which is kept from one generation to the next.
pub struct Speculator {
    pub(super) config: SpeculationConfig,
    pub(super) drafters: Vec<Box<dyn Drafter>>,
    pub(super) control: Control,
    pub(super) ties: Ties,
}

impl fmt::Debug for Speculator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.drafters.iter().map(|drafter| drafter.name()).collect();
        f.debug_struct("Speculator")
            .field("config", &self.config)
            .field("drafters", &names)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

impl Speculator {
    /// Creates a speculator that drafts with the layers that a plan keeps.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for impossible settings.
    pub fn new(plan: PhasePlan, config: SpeculationConfig) -> Result<Self> {
        let drafter = PlanDrafter::new(plan);
        let drafter = match config.plan_updates {
            PlanUpdates::Fixed => drafter,
            PlanUpdates::Follow(follow) => drafter.following(follow)?,
        };
        Self::with_drafters(vec![Box::new(drafter)], config)
    }

    /// Creates a speculator that asks these drafters, in each round the one that pays most at this moment; of two that pay
    /// as much, the first. Behind its tokens come those of the first of the others that cost no pass.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for impossible settings.
    pub fn with_drafters(
        drafters: Vec<Box<dyn Drafter>>,
        config: SpeculationConfig,
    ) -> Result<Self> {
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
        for drafter in &drafters {
            let cost = drafter.expected_cost();
            if !(cost.is_finite() && cost >= 0.0) {
                let expected = "a finite number of at least 0";
                return Err(invalid("expected_cost", cost.to_string(), expected));
            }
        }
        config.ties.validate()?;
        match &config.gate {
            Some(gate) => gate.validate()?,
            None if drafters.iter().any(|drafter| drafter.needs_readings()) => {
                let expected = "a gate, whose traces the plan is to follow";
                return Err(invalid("gate", "absent".to_owned(), expected));
            }
            None => {}
        }
        Ok(Self {
            control: control(&config, &drafters),
            ties: config.ties,
            drafters,
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

    /// Returns the drafters.
    pub fn drafters(&self) -> &[Box<dyn Drafter>] {
        &self.drafters
    }

    /// Returns the plan of the first drafter that has one, as it is now.
    pub fn plan(&self) -> Option<&PhasePlan> {
        self.drafters.iter().find_map(|drafter| drafter.plan())
    }

    /// Forgets what was learned of earlier texts: for drawn texts, which must not depend on them.
    pub fn forget(&mut self) {
        self.drafters
            .iter_mut()
            .for_each(|drafter| drafter.forget());
        self.control = control(&self.config, &self.drafters);
        self.ties = self.config.ties;
    }
}

fn control(config: &SpeculationConfig, drafters: &[Box<dyn Drafter>]) -> Control {
    let costs: Vec<f64> = drafters
        .iter()
        .map(|drafter| drafter.expected_cost())
        .collect();
    Control::new(config, &costs)
}
