//! The policy that follows a plan.

use burn::tensor::Tensor;

use super::fingerprint::ModelFingerprint;
use super::phase_plan::PhasePlan;
use super::void_plan::VoidPlan;
use crate::decision::{Decision, SkippedKeys};
use crate::error::{BoxError, PlanError};
use crate::gate::GateConfig;
use crate::pass::Pass;
use crate::phase::{PerPhase, Phase};
use crate::policy::{FusedAction, LayerPolicy};

/// Runs the layers that a [`VoidPlan`] keeps. A skipped layer costs its keys and values, or nothing where these are left
/// out.
///
/// Each decision is a table lookup: no allocation, no device synchronisation. A plan that keeps every layer gives the
/// full model's results, bit by bit.
#[derive(Clone, Debug)]
pub struct Planned {
    plans: PerPhase<PhasePlan>,
    skipped_keys: SkippedKeys,
    gate: Option<GateConfig>,
    phase: Phase,
}

impl Planned {
    /// Follows a plan on the model that it was made on.
    ///
    /// # Errors
    /// [`PlanError::OtherModel`] with what differs; [`PlanError::SampledWeights`] for a plan of an earlier version.
    pub fn new(plan: &VoidPlan, model: &ModelFingerprint) -> Result<Self, PlanError> {
        plan.check(model)?;
        let phases = (plan.prompt.clone(), plan.response.clone());
        Ok(Self::from_phases(phases.0, phases.1, plan.skipped_keys))
    }

    /// Follows the plans of both phases, whatever model they come from. A plan with fewer layers than the model ends the
    /// pass at the first layer that it lacks, as [`Error::Policy`](crate::Error::Policy).
    pub fn from_phases(prompt: PhasePlan, response: PhasePlan, skipped_keys: SkippedKeys) -> Self {
        Self {
            plans: PerPhase { prompt, response },
            skipped_keys,
            gate: None,
            phase: Phase::Prompt,
        }
    }

    /// Sets a gate that observes the layers that are run.
    pub fn with_gate(self, gate: GateConfig) -> Self {
        Self {
            gate: Some(gate),
            ..self
        }
    }
}

impl LayerPolicy for Planned {
    fn name(&self) -> &str {
        "planned"
    }

    fn gate_config(&self) -> Option<GateConfig> {
        self.gate
    }

    fn fused_action(&self) -> FusedAction {
        FusedAction::Observe
    }

    fn is_per_token(&self) -> bool {
        self.gate.is_none_or(|gate| gate.is_per_token())
    }

    fn begin(&mut self, pass: &Pass, _embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.phase = pass.phase();
        Ok(())
    }

    fn before(&mut self, layer_idx: usize, _hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        let plan = self.plans.get(self.phase);
        match plan.decisions().get(layer_idx) {
            Some(&decision) => Ok(decision),
            None => Err(format!("the plan is for {} layers only", plan.n_layers()).into()),
        }
    }

    fn skipped_keys(&self) -> SkippedKeys {
        self.skipped_keys
    }
}
