//! The built-in policies.

use burn::tensor::{Bool, Tensor, TensorData};

use super::layer_policy::{FusedAction, LayerPolicy, LayerStep, NextState, PolicyEffect};
use crate::decision::Decision;
use crate::error::BoxError;
use crate::gate::{GateConfig, GateReading, select_tokens};
use crate::pass::Pass;

/// Runs the full model without a gate: nothing is measured, nothing changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Off;

impl LayerPolicy for Off {
    fn name(&self) -> &str {
        "off"
    }

    fn effect(&self) -> PolicyEffect {
        PolicyEffect::FullModel
    }

    fn is_per_token(&self) -> bool {
        true
    }
}

/// Runs the full model with a gate that only observes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {
    gate: GateConfig,
}

impl Trace {
    /// Creates a policy that observes through a gate.
    pub fn new(gate: GateConfig) -> Self {
        Self { gate }
    }
}

impl LayerPolicy for Trace {
    fn name(&self) -> &str {
        "trace"
    }

    fn gate_config(&self) -> Option<GateConfig> {
        Some(self.gate)
    }

    fn fused_action(&self) -> FusedAction {
        FusedAction::Observe
    }

    fn effect(&self) -> PolicyEffect {
        PolicyEffect::FullModel
    }

    fn is_per_token(&self) -> bool {
        self.gate.is_per_token()
    }
}

/// Does what the paper's released code does: every layer runs on the unmodified states, the cache is the full model's,
/// and the final norm receives, for each token, the output of its last active layer (the embedding where no layer is
/// active).
///
/// It saves no computation: whether a layer is active is known only after it has run.
#[derive(Clone, Debug, Default)]
pub struct LastActive {
    gate: GateConfig,
    selected: Option<Tensor<3>>,
}

impl LastActive {
    /// Creates a policy that selects by a gate.
    pub fn new(gate: GateConfig) -> Self {
        Self {
            gate,
            selected: None,
        }
    }
}

impl LayerPolicy for LastActive {
    fn name(&self) -> &str {
        "last-active"
    }

    fn gate_config(&self) -> Option<GateConfig> {
        Some(self.gate)
    }

    fn fused_action(&self) -> FusedAction {
        FusedAction::LastActive
    }

    fn effect(&self) -> PolicyEffect {
        PolicyEffect::FullStates
    }

    fn is_per_token(&self) -> bool {
        self.gate.is_per_token()
    }

    fn begin(&mut self, _pass: &Pass, _embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.selected = None;
        Ok(())
    }

    // Called only by a policy that wraps this one: otherwise the gate's kernel selects.
    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        if let Some(reading) = step.reading {
            // What the first layer receives is the embedding.
            let selected = self.selected.take().unwrap_or_else(|| step.input.clone());
            self.selected = Some(select_tokens(
                reading.active.clone(),
                step.output.clone(),
                selected,
            ));
        }
        Ok(NextState::Output)
    }

    fn finish(&mut self, hidden: Tensor<3>) -> Tensor<3> {
        self.selected.take().unwrap_or(hidden)
    }
}

/// Does what the paper's text says: for a token whose layer is void, the layer's input is passed on in place of its
/// output, and later norms are measured on the changed states.
///
/// It saves no computation by itself: whether a layer is active is known only after it has run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bypass {
    gate: GateConfig,
}

impl Bypass {
    /// Creates a policy that bypasses by a gate.
    pub fn new(gate: GateConfig) -> Self {
        Self { gate }
    }
}

impl LayerPolicy for Bypass {
    fn name(&self) -> &str {
        "bypass"
    }

    fn gate_config(&self) -> Option<GateConfig> {
        Some(self.gate)
    }

    fn fused_action(&self) -> FusedAction {
        FusedAction::Bypass
    }

    fn is_per_token(&self) -> bool {
        self.gate.is_per_token()
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        Ok(match step.reading {
            Some(reading) => NextState::OutputWhere(reading.active.clone()),
            None => NextState::Output,
        })
    }
}

/// Ends a sequence early, as in the 2023 method ("L2 Norm Guided Adaptive Computation"): once `|Δ| < λ` holds for every
/// token of the sequence in a pass, its remaining layers are not run.
///
/// Each row of a batch halts on its own, and its results do not depend on the other rows; layers are skipped once every
/// row has halted. The decision needs the gate's numbers on the host after every layer, so this policy waits for the
/// device where the others do not.
#[derive(Clone, Debug, Default)]
pub struct Halt {
    gate: GateConfig,
    halted: Vec<bool>,
    seq: usize,
    padding: Option<Tensor<2, Bool>>,
    /// Tokens that had halted before the previous layer, and the thresholds reported there.
    frozen: Option<(Tensor<2, Bool>, Tensor<2>)>,
}

impl Halt {
    /// Creates a policy that halts by a gate.
    pub fn new(gate: GateConfig) -> Self {
        Self {
            gate,
            ..Self::default()
        }
    }

    /// Returns the tokens of the rows that had halted before this layer, `[batch, seq]`; `None` when no row had.
    fn halted_tokens(&self, like: &Tensor<3>) -> Option<Tensor<2, Bool>> {
        if !self.halted.contains(&true) {
            return None;
        }
        let rows = self.halted.len();
        let data = TensorData::new(self.halted.clone(), [rows, 1]);
        Some(Tensor::<2, Bool>::from_data(data, &like.device()).expand([rows, self.seq]))
    }

    /// Marks the rows in which no token moved its norm by the threshold or more.
    fn halt_rows(&mut self, reading: &GateReading) -> Result<(), BoxError> {
        let mut moved = reading
            .delta
            .clone()
            .abs()
            .greater_equal(reading.threshold.clone());
        if let Some(padding) = &self.padding {
            moved = moved.bool_and(padding.clone().bool_not());
        }
        let moved = moved.any_dim(1).int().try_to_vec_as::<i32>()?;
        for (halted, moved) in self.halted.iter_mut().zip(moved) {
            *halted |= moved == 0;
        }
        Ok(())
    }
}

impl LayerPolicy for Halt {
    fn name(&self) -> &str {
        "halt"
    }

    fn gate_config(&self) -> Option<GateConfig> {
        Some(self.gate)
    }

    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.seq = pass.seq();
        self.frozen = None;
        // A finished row has nothing left to compute and must not keep the others running.
        self.halted = (0..pass.batch()).map(|row| pass.is_finished(row)).collect();
        self.padding = pass
            .is_padded()
            .then(|| pass.padding_mask(&embedding.device()));
        Ok(())
    }

    fn before(&mut self, _layer_idx: usize, _hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        Ok(if self.halted.contains(&false) {
            Decision::Run
        } else {
            Decision::Skip
        })
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        let (Some(reading), Some(input_norm)) = (step.reading, step.input_norm) else {
            return Ok(NextState::Output);
        };
        let halted_before = self.halted_tokens(step.output);
        // λ_0 = λ_1 = 0 and no |Δ| lies below 0: the first two layers cannot halt a row.
        if step.layer_idx >= 2 {
            self.halt_rows(reading)?;
        }
        let Some(halted) = halted_before else {
            return Ok(NextState::Output);
        };
        // For these tokens the layer was run only because it was run for their neighbours; they
        // are reported as they would be if it had not been.
        let running = halted.clone().bool_not();
        reading.norm = reading
            .norm
            .clone()
            .mask_where(halted.clone(), input_norm.clone());
        reading.delta = reading.delta.clone().mask_fill(halted.clone(), 0.0);
        reading.active = reading.active.clone().bool_and(running.clone());
        if let Some((frozen, threshold)) = self.frozen.take() {
            reading.threshold = reading.threshold.clone().mask_where(frozen, threshold);
        }
        self.frozen = Some((halted, reading.threshold.clone()));
        Ok(NextState::OutputWhere(running))
    }
}
