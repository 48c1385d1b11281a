//! One layer, or what the policy runs of it.

use burn::tensor::Tensor;

use super::step::same_shape;
use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::measures::Measures;
use crate::policy::{LayerPolicy, SublayerStep};
use crate::stack::{LayerStack, Sublayer, Sublayers};

/// What was run of a layer.
pub(super) struct RanLayer {
    /// The state that came out, `[batch, seq, hidden]`; `None` if nothing of the layer was run.
    pub(super) output: Option<Tensor<3>>,
    /// The state between attention and MLP, where they were run apart or one of them alone.
    pub(super) between: Option<Tensor<3>>,
}

/// Runs what a policy has decided to run of a layer, sublayer by sublayer if the policy or its measures ask for that.
pub(super) fn run_layer<S: LayerStack + ?Sized>(
    stack: &S,
    layer_idx: usize,
    decision: Decision,
    hidden: Tensor<3>,
    context: &mut S::Context,
    policy: &mut dyn LayerPolicy,
) -> Result<RanLayer> {
    let asks = policy.runs_sublayers_apart(layer_idx);
    let is_measured = policy.measures() == Measures::Sublayers;
    let parts: &[Sublayer] = match decision {
        Decision::Skip => &[],
        Decision::Run if asks || is_measured => &[Sublayer::Attention, Sublayer::Mlp],
        Decision::Run => {
            let received = hidden.dims();
            let output = stack.forward_layer(layer_idx, hidden, context);
            check_shape(layer_idx, received, &output)?;
            return Ok(RanLayer {
                output: Some(output),
                between: None,
            });
        }
        Decision::SkipAttention => &[Sublayer::Mlp],
        Decision::SkipMlp => &[Sublayer::Attention],
    };
    // Without an attention, its output is what the MLP receives.
    let mut between = (decision == Decision::SkipAttention).then(|| hidden.clone());
    let mut state = hidden;
    for &sublayer in parts {
        let input = state.clone();
        let received = input.dims();
        state = sublayers(stack, layer_idx)?.forward_sublayer(layer_idx, sublayer, state, context);
        check_shape(layer_idx, received, &state)?;
        if asks {
            let step = SublayerStep {
                layer_idx,
                sublayer,
                input: &input,
                output: &state,
            };
            let changed = policy
                .after_sublayer(step)
                .and_then(|state| state.map(|state| same_shape(state, received)).transpose())
                .map_err(|source| Error::Policy { layer_idx, source })?;
            state = changed.unwrap_or(state);
        }
        if sublayer == Sublayer::Attention {
            between = Some(state.clone());
        }
    }
    Ok(RanLayer {
        output: (decision != Decision::Skip).then_some(state),
        between,
    })
}

fn check_shape(layer_idx: usize, received: [usize; 3], output: &Tensor<3>) -> Result<()> {
    let returned = output.dims();
    if returned == received {
        return Ok(());
    }
    Err(Error::LayerShape {
        layer_idx,
        received,
        returned,
    })
}

pub(super) fn sublayers<S: LayerStack + ?Sized>(
    stack: &S,
    layer_idx: usize,
) -> Result<&dyn Sublayers<Context = S::Context>> {
    stack
        .sublayers()
        .ok_or(Error::SublayersNotOffered { layer_idx })
}
