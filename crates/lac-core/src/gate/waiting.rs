//! A pass whose layers are gated in one launch at its end.

use burn::tensor::Tensor;

use super::config::GateConfig;
use super::record::Record;
use crate::error::Result;
use crate::kernel::{Kernel, Select};

/// The states of a pass that wait to be gated in one launch at its end.
#[derive(Debug)]
pub(crate) struct WaitingGate {
    kernel: Kernel,
    alpha: f32,
    /// The embedding and the outputs so far.
    states: Vec<Tensor<3>>,
}

/// What a launch over a whole pass returns.
pub(crate) struct GatedAtOnce {
    /// The records of the embedding and of every layer, `[1 + layers, N_FIELDS, batch, seq]`.
    pub(crate) records: Tensor<4>,
    /// Per token the last active state, `[batch, seq, hidden]`, where it was asked for.
    pub(crate) selected: Option<Tensor<3>>,
}

impl WaitingGate {
    /// Starts a pass whose layers run on unchanged states; `None` if no kernel can gate it.
    ///
    /// # Errors
    /// As [`Gate::start`](crate::Gate::start).
    pub(crate) fn start(config: GateConfig, embedding: &Tensor<3>) -> Result<Option<Self>> {
        config.check(embedding)?;
        Ok(config.kernel_for(&[embedding]).map(|kernel| Self {
            kernel,
            alpha: config.alpha,
            states: vec![embedding.clone()],
        }))
    }

    /// Returns whether the state can wait with the others.
    pub(crate) fn takes(&self, output: &Tensor<3>) -> bool {
        Kernel::for_states(&[&self.states[0], output]).is_some()
    }

    /// Adds the output of a layer whose input was the state before it.
    pub(crate) fn push(&mut self, output: Tensor<3>) {
        self.states.push(output);
    }

    /// Returns the embedding and the outputs so far.
    pub(crate) fn states(&self) -> &[Tensor<3>] {
        &self.states
    }

    /// Gates all states in one launch. With `select` it also picks, for each token, the last active state, or the
    /// embedding where no layer was active.
    pub(crate) fn finish(self, select: Option<Select>) -> GatedAtOnce {
        let embedding = self.states[0].clone();
        let before = Record::before(&embedding).rows();
        let states = Tensor::stack::<4>(self.states, 0);
        match select {
            None => GatedAtOnce {
                records: self.kernel.gate(states, before, self.alpha),
                selected: None,
            },
            Some(select) => {
                let out = self
                    .kernel
                    .gate_select(states, before, embedding, self.alpha, select);
                GatedAtOnce {
                    records: out.records,
                    selected: Some(out.selected),
                }
            }
        }
    }
}
