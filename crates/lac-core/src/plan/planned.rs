//! Layers that are not run, because a plan says so.

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

/// Runs what a [`VoidPlan`] keeps, and nothing else: the skipped layers cost nothing but their
/// keys and values, and not even those where they are left out.
///
/// The decision is a look into a list: nothing is allocated, nothing is asked of the device. A
/// plan that keeps every layer gives what the full model gives, bit by bit.
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
    /// [`PlanError::OtherModel`] naming what differs.
    pub fn new(plan: &VoidPlan, model: &ModelFingerprint) -> Result<Self, PlanError> {
        plan.check(model)?;
        let phases = (plan.prompt.clone(), plan.response.clone());
        Ok(Self::from_phases(phases.0, phases.1, plan.skipped_keys))
    }

    /// Runs what two lists keep, whatever model they come from. A list that is too short for the
    /// model is reported when its first missing layer is reached.
    pub fn from_phases(prompt: PhasePlan, response: PhasePlan, skipped_keys: SkippedKeys) -> Self {
        Self {
            plans: PerPhase { prompt, response },
            skipped_keys,
            gate: None,
            phase: Phase::Prompt,
        }
    }

    /// The same, with a gate that observes the layers that are run.
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
