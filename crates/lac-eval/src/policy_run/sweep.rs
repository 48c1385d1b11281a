//! `last-active` at several α in one pass.

use burn::tensor::{Bool, Tensor};
use lac_core::{BoxError, GateConfig, LayerPolicy, LayerStep, NextState, Pass, PolicyEffect};

/// An α at which the gate's threshold is the range of the earlier deltas itself, so that the
/// threshold at any α is a multiple of it.
pub(super) const WHOLE_RANGE: f32 = 1.0;

/// Keeps, for each α, the output of each token's last active layer.
pub(super) struct LastActiveSweep {
    alphas: Vec<f32>,
    selected: Vec<Tensor<3>>,
}

impl LastActiveSweep {
    pub(super) fn new(alphas: &[f32]) -> Self {
        Self {
            alphas: alphas.to_vec(),
            selected: Vec::new(),
        }
    }

    /// Takes the states of the pass that has just ended, one for each α.
    pub(super) fn take(&mut self, hidden: &Tensor<3>) -> Vec<Tensor<3>> {
        if self.selected.is_empty() {
            return vec![hidden.clone(); self.alphas.len()];
        }
        std::mem::take(&mut self.selected)
    }
}

impl LayerPolicy for LastActiveSweep {
    fn name(&self) -> &str {
        "last-active"
    }

    fn gate_config(&self) -> Option<GateConfig> {
        Some(GateConfig::new(WHOLE_RANGE))
    }

    fn effect(&self) -> PolicyEffect {
        PolicyEffect::FullStates
    }

    fn is_per_token(&self) -> bool {
        true
    }

    fn begin(&mut self, _pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.selected = vec![embedding.clone(); self.alphas.len()];
        Ok(())
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        if let Some(reading) = step.reading {
            for (selected, &alpha) in self.selected.iter_mut().zip(&self.alphas) {
                let threshold = reading.threshold.clone() * alpha;
                let active = reading.delta.clone().greater_equal(threshold);
                *selected = overwritten(selected.clone(), active, step.output.clone());
            }
        }
        Ok(NextState::Output)
    }
}

/// Writes `output` over a state where a mask `[batch, seq]` holds.
fn overwritten(state: Tensor<3>, mask: Tensor<2, Bool>, output: Tensor<3>) -> Tensor<3> {
    let dims = state.dims();
    state.mask_where(mask.unsqueeze_dim::<3>(2).expand(dims), output)
}
