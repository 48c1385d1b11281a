//! The loop over layers. Every policy, every phase and every model goes through this one.

mod gating;
mod layer;
mod readings;
mod step;

pub use readings::PassReadings;

use burn::tensor::Tensor;

use self::gating::PassGate;
use self::layer::{run_layer, sublayers};
use self::step::{same_shape, ungated_step};
use crate::decision::{Decision, SkippedKeys};
use crate::error::{Error, Result, StateAt};
use crate::measures::{MeasureReadings, MeasuredLayer};
use crate::pass::Pass;
use crate::policy::{FusedAction, LayerPolicy};
use crate::stack::LayerStack;

/// Returned by [`run_layers`], still on the device.
#[derive(Debug)]
#[non_exhaustive]
pub struct PassOutput {
    /// The state for the final norm, `[batch, seq, hidden]`.
    pub hidden: Tensor<3>,
    /// What the gate saw, and which layers were run.
    pub readings: PassReadings,
    /// The embedding and the state that was passed on after each layer, `[batch, seq, hidden]`, where the policy has a
    /// [`lens`](LayerPolicy::lens); empty otherwise.
    pub states: Vec<Tensor<3>>,
}

/// Passes a hidden state through all layers of a stack under a policy.
///
/// `embedding` is the state before the first layer, `[batch, seq, hidden]`. Nothing is read back
/// from the device here, unless the policy does so itself (of the built-in ones, only
/// [`Halt`](crate::Halt)).
///
/// # Errors
/// - [`Error::PassShape`] if `pass` is for another batch or sequence length than `embedding` has;
/// - [`Error::LayerShape`] if a layer returns a state of another shape than it received;
/// - [`Error::Policy`] with what the policy reports;
/// - [`Error::SkipNotOffered`] and [`Error::SublayersNotOffered`] if the policy skips a layer, or a sublayer, and the
///   model does not implement that;
/// - [`Error::InvalidConfig`] and [`Error::UnsupportedDtype`] for a gate that cannot be computed.
pub fn run_layers<S: LayerStack + ?Sized>(
    stack: &S,
    embedding: Tensor<3>,
    context: &mut S::Context,
    pass: &Pass,
    policy: &mut dyn LayerPolicy,
) -> Result<PassOutput> {
    let expected = [pass.batch(), pass.seq()];
    let found = embedding.dims();
    if found[..2] != expected {
        return Err(Error::PassShape { expected, found });
    }
    let n_layers = stack.n_layers();
    let at_layer = |layer_idx| move |source| Error::Policy { layer_idx, source };

    let gating = policy.fused_action();
    let gate_config = policy.gate_config();
    policy.begin(pass, &embedding).map_err(at_layer(0))?;
    let mut hidden = match policy.change_state(StateAt::Embedding, &embedding) {
        Ok(None) => embedding,
        Ok(Some(state)) => same_shape(state, found).map_err(at_layer(0))?,
        Err(error) => return Err(at_layer(0)(error)),
    };
    let mut gate = match gate_config {
        Some(config) => Some(PassGate::start(config, gating, &hidden)?),
        None => None,
    };
    let mut measures = MeasureReadings::start(policy.measures());
    let has_lens = policy.lens().is_some();
    let mut states = Vec::new();

    let mut decisions = Vec::with_capacity(n_layers);
    for layer_idx in 0..n_layers {
        if has_lens {
            states.push(hidden.clone());
        }
        let decision = policy
            .before(layer_idx, &hidden)
            .map_err(at_layer(layer_idx))?;
        decisions.push(decision);
        if matches!(decision, Decision::Skip | Decision::SkipAttention) {
            skip_keys(stack, layer_idx, &hidden, context, policy.skipped_keys())?;
        }
        let input = hidden.clone();
        let ran = run_layer(stack, layer_idx, decision, hidden, context, policy)?;
        let changed = policy
            .change_state(
                StateAt::Layer(layer_idx),
                ran.output.as_ref().unwrap_or(&input),
            )
            .and_then(|state| state.map(|state| same_shape(state, found)).transpose())
            .map_err(at_layer(layer_idx))?;
        let Some(output) = changed.or(ran.output) else {
            if let Some(gate) = &mut gate {
                gate.skipped()?;
            }
            if let Some(measures) = &mut measures {
                measures.at_rest(&input);
            }
            hidden = input;
            continue;
        };
        if let Some(measures) = &mut measures {
            measures.layer(MeasuredLayer {
                input: &input,
                between: ran.between.as_ref(),
                output: &output,
            });
        }
        hidden = match &mut gate {
            Some(gate) if gating != FusedAction::Stepwise => gate.layer(output, input)?,
            Some(gate) => gate
                .step(layer_idx, output, input, policy)
                .map_err(at_layer(layer_idx))?,
            None => ungated_step(layer_idx, output, input, policy).map_err(at_layer(layer_idx))?,
        };
    }
    if has_lens {
        states.push(hidden.clone());
    }

    let (hidden, records) = match gate {
        Some(gate) => {
            let (hidden, records) = gate.finish(hidden);
            (hidden, Some(records))
        }
        None => (hidden, None),
    };
    let routing = stack.take_routing(context);
    Ok(PassOutput {
        hidden: policy.finish(hidden),
        readings: PassReadings::new(found, decisions, records, routing).with_measures(measures),
        states,
    })
}

/// Fills or leaves out the keys and values of a layer whose attention is not run.
fn skip_keys<S: LayerStack + ?Sized>(
    stack: &S,
    layer_idx: usize,
    hidden: &Tensor<3>,
    context: &mut S::Context,
    skipped_keys: SkippedKeys,
) -> Result<()> {
    match skipped_keys {
        SkippedKeys::Fill => stack.skip_layer(layer_idx, hidden, context),
        SkippedKeys::Omit => {
            sublayers(stack, layer_idx)?.omit_kv(layer_idx, context);
            Ok(())
        }
    }
}
