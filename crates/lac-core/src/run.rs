//! The loop over layers. Every policy, every phase and every model goes through this one.

mod gating;
mod readings;
mod step;

pub use readings::PassReadings;

use burn::tensor::Tensor;

use self::gating::PassGate;
use self::step::ungated_step;
use crate::decision::{Decision, SkippedKeys};
use crate::error::{Error, Result};
use crate::pass::Pass;
use crate::policy::{FusedAction, LayerPolicy};
use crate::stack::{LayerStack, Sublayer, Sublayers};

/// Returned by [`run_layers`], still on the device.
#[derive(Debug)]
#[non_exhaustive]
pub struct PassOutput {
    /// The state for the final norm, `[batch, seq, hidden]`.
    pub hidden: Tensor<3>,
    /// What the gate saw, and which layers were run.
    pub readings: PassReadings,
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
    let mut gate = match policy.gate_config() {
        Some(config) => Some(PassGate::start(config, gating, &embedding)?),
        None => None,
    };
    policy.begin(pass, &embedding).map_err(at_layer(0))?;

    let mut decisions = Vec::with_capacity(n_layers);
    let mut hidden = embedding;
    for layer_idx in 0..n_layers {
        let decision = policy
            .before(layer_idx, &hidden)
            .map_err(at_layer(layer_idx))?;
        decisions.push(decision);
        if matches!(decision, Decision::Skip | Decision::SkipAttention) {
            skip_keys(stack, layer_idx, &hidden, context, policy.skipped_keys())?;
        }
        let sublayer = match decision {
            Decision::Run => None,
            Decision::SkipAttention => Some(Sublayer::Mlp),
            Decision::SkipMlp => Some(Sublayer::Attention),
            Decision::Skip => {
                if let Some(gate) = &mut gate {
                    gate.skipped()?;
                }
                continue;
            }
        };

        let input = hidden.clone();
        let received = input.dims();
        let output = match sublayer {
            None => stack.forward_layer(layer_idx, hidden, context),
            Some(sublayer) => {
                sublayers(stack, layer_idx)?.forward_sublayer(layer_idx, sublayer, hidden, context)
            }
        };
        let returned = output.dims();
        if returned != received {
            return Err(Error::LayerShape {
                layer_idx,
                received,
                returned,
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

    let (hidden, records) = match gate {
        Some(gate) => {
            let (hidden, records) = gate.finish(hidden);
            (hidden, Some(records))
        }
        None => (hidden, None),
    };
    Ok(PassOutput {
        hidden: policy.finish(hidden),
        readings: PassReadings::new(found, decisions, records, stack.take_routing(context)),
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

fn sublayers<S: LayerStack + ?Sized>(
    stack: &S,
    layer_idx: usize,
) -> Result<&dyn Sublayers<Context = S::Context>> {
    stack
        .sublayers()
        .ok_or(Error::SublayersNotOffered { layer_idx })
}
