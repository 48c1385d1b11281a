//! States that are kept, to be put into another run.

use burn::tensor::Tensor;

use crate::delegate;
use crate::error::{BoxError, StateAt};
use crate::pass::Pass;
use crate::policy::LayerPolicy;

/// Does what another policy does, and keeps states of the last pass: the embedding, or outputs of layers.
///
/// They stay on the device. Row `r` of a pass over one sequence is [`Intervention::Replace`](super::Intervention)'s
/// `states` once it is taken out of the batch.
#[derive(Debug)]
pub struct Captured<P> {
    inner: P,
    at: Vec<StateAt>,
    states: Vec<(StateAt, Tensor<3>)>,
}

impl<P: LayerPolicy> Captured<P> {
    /// Wraps a policy, and keeps the states at these places.
    pub fn new(inner: P, at: Vec<StateAt>) -> Self {
        Self {
            inner,
            at,
            states: Vec::new(),
        }
    }

    /// Takes the states of the last pass, `[batch, seq, hidden]` each, in the order in which the pass came to them.
    pub fn take(&mut self) -> Vec<(StateAt, Tensor<3>)> {
        std::mem::take(&mut self.states)
    }
}

impl<P: LayerPolicy> LayerPolicy for Captured<P> {
    delegate! {
        self, self.inner;
        name gate_config fused_action measures lens effect is_per_token before skipped_keys runs_sublayers_apart
        after_sublayer after finish
    }

    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.states.clear();
        self.inner.begin(pass, embedding)
    }

    fn change_state(
        &mut self,
        at: StateAt,
        state: &Tensor<3>,
    ) -> Result<Option<Tensor<3>>, BoxError> {
        let changed = self.inner.change_state(at, state)?;
        if self.at.contains(&at) {
            let state = changed.as_ref().unwrap_or(state);
            self.states.push((at, state.clone()));
        }
        Ok(changed)
    }
}
