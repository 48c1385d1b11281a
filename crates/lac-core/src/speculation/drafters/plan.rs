//! Layers of the model itself, on its own KV cache.

use crate::error::{BoxError, Result};
use crate::generation::Flow;
use crate::phase::Phase;
use crate::plan::{PhasePlan, Planned};
use crate::record::PassRecord;
use crate::speculation::adaptive_plan::{FollowConfig, Follower};
use crate::speculation::{DraftRound, DraftWeights, Drafter};

/// Drafts with the layers that a plan keeps, on the model's own KV cache, so that every draft sees the full model's keys
/// and values of all accepted tokens. The layers have the model's own weights or its
/// [second ones](crate::CausalLm::second_weights).
///
/// Sources: Zhang et al. 2023 (arXiv 2309.08168), SWIFT (arXiv 2410.06916).
#[derive(Clone, Debug)]
pub struct PlanDrafter {
    name: String,
    first_plan: PhasePlan,
    plan: PhasePlan,
    weights: DraftWeights,
    /// What a pass over all layers costs, as a share of a full pass.
    weights_cost: f64,
    follow: Option<(FollowConfig, Follower)>,
}

impl PlanDrafter {
    /// Drafts with a plan's layers and the model's own weights.
    pub fn new(plan: PhasePlan) -> Self {
        Self {
            name: "plan".to_owned(),
            first_plan: plan.clone(),
            plan,
            weights: DraftWeights::Own,
            weights_cost: 1.0,
            follow: None,
        }
    }

    /// Drafts with the model's second weights. `expected_cost` is what a pass over all layers is expected to cost, as a share
    /// of a pass of the full model.
    pub fn with_second_weights(self, name: &str, expected_cost: f64) -> Self {
        Self {
            name: name.to_owned(),
            weights: DraftWeights::Second,
            weights_cost: expected_cost,
            ..self
        }
    }

    /// Lets the plan follow the text.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) for impossible settings.
    pub fn following(self, config: FollowConfig) -> Result<Self> {
        let follower = Follower::new(config, self.plan.n_layers())?;
        Ok(Self {
            follow: Some((config, follower)),
            ..self
        })
    }
}

impl Drafter for PlanDrafter {
    fn name(&self) -> &str {
        &self.name
    }

    fn expected_cost(&self) -> f64 {
        // The head is run whatever layers are.
        (self.weights_cost * self.plan.executed_share()).max(0.01)
    }

    fn draft(&mut self, round: &mut DraftRound<'_>) -> Result<(), BoxError> {
        let plan = &self.plan;
        let mut policy =
            Planned::from_phases(plan.clone(), plan.clone(), round.skipped_keys(self.weights));
        while round.wants_more() {
            let logits = round.own_logits(self.weights, &mut policy)?;
            if round.propose_by_logits(&logits)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    fn judged(&mut self, n_judged: usize, n_accepted: usize) {
        if let Some((_, follower)) = &mut self.follow {
            (0..n_judged).for_each(|idx| follower.judged(idx < n_accepted));
        }
    }

    fn observed(&mut self, record: &PassRecord) {
        let Some((_, follower)) = &mut self.follow else {
            return;
        };
        follower.saw(record);
        let changed = match record.pass.phase() {
            Phase::Prompt => follower.first_plan(&self.plan),
            Phase::Response => follower.next_plan(&self.plan),
        };
        if let Some(plan) = changed {
            self.plan = plan;
        }
    }

    fn needs_readings(&self) -> bool {
        self.follow.is_some()
    }

    fn forget(&mut self) {
        self.plan = self.first_plan.clone();
        if let Some((config, follower)) = &mut self.follow
            && let Ok(as_new) = Follower::new(*config, self.first_plan.n_layers())
        {
            *follower = as_new;
        }
    }

    fn plan(&self) -> Option<&PhasePlan> {
        Some(&self.plan)
    }
}
