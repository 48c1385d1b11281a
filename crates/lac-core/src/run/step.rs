//! Which state the next layer receives.

use burn::tensor::Tensor;

use crate::error::BoxError;
use crate::gate::select_tokens;
use crate::policy::{LayerPolicy, LayerStep, NextState};

/// Asks a policy without a gate which state the next layer receives, and returns that state.
pub(super) fn ungated_step(
    layer_idx: usize,
    output: Tensor<3>,
    input: Tensor<3>,
    policy: &mut dyn LayerPolicy,
) -> Result<Tensor<3>, BoxError> {
    let carry = policy.after(LayerStep {
        layer_idx,
        input: &input,
        output: &output,
        input_norm: None,
        reading: None,
    })?;
    carried(carry, output, input)
}

/// Returns the state that a policy has chosen.
pub(super) fn carried(
    carry: NextState,
    output: Tensor<3>,
    input: Tensor<3>,
) -> Result<Tensor<3>, BoxError> {
    match carry {
        NextState::Output => Ok(output),
        NextState::OutputWhere(mask) => Ok(select_tokens(mask, output, input)),
        NextState::State(state) => same_shape(state, output.dims()),
    }
}

/// Returns a state that a policy has put in another one's place, if it has its shape.
pub(super) fn same_shape(state: Tensor<3>, replaced: [usize; 3]) -> Result<Tensor<3>, BoxError> {
    let dims = state.dims();
    if dims == replaced {
        return Ok(state);
    }
    Err(
        format!("it replaced a state of the shape {replaced:?} by one of the shape {dims:?}")
            .into(),
    )
}
