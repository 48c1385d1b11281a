//! The one loop over layers: every policy, every phase and every model goes through it.

mod gating;
mod readings;

pub use readings::PassReadings;

use burn::tensor::Tensor;

use self::gating::PassGate;
use crate::error::{BoxError, Error, Result};
use crate::pass::Pass;
use crate::policy::{Carry, Decision, Gating, LayerPolicy, LayerStep, select_tokens};
use crate::stack::LayerStack;

/// What a pass through the layers leaves behind, on the device.
#[derive(Debug)]
pub struct PassOutput {
    /// The state to hand to the final norm, `[batch, seq, hidden]`.
    pub hidden: Tensor<3>,
    /// What the gate saw.
    pub readings: PassReadings,
}

/// Passes a hidden state through all layers of a stack under a policy.
///
/// `embedding` is the state before the first layer, `[batch, seq, hidden]`. Nothing is read back
/// from the device here, unless the policy does so itself (of the built-in ones, only
/// [`Halt`](crate::Halt)).
///
/// # Errors
/// Whatever the policy reports, and an impossible gate configuration.
pub fn run<S: LayerStack + ?Sized>(
    stack: &S,
    embedding: Tensor<3>,
    context: &mut S::Context,
    pass: &Pass,
    policy: &mut dyn LayerPolicy,
) -> Result<PassOutput> {
    let n_layers = stack.n_layers();
    let at_layer = |layer_idx| move |source| Error::Policy { layer_idx, source };

    let gating = policy.gating();
    let mut gate = match policy.gate() {
        Some(config) => Some(PassGate::start(config, gating, &embedding)?),
        None => None,
    };
    policy.begin(pass, &embedding).map_err(at_layer(0))?;

    let mut executed = Vec::with_capacity(n_layers);
    let mut hidden = embedding;
    for layer_idx in 0..n_layers {
        let decision = policy
            .before(layer_idx, &hidden)
            .map_err(at_layer(layer_idx))?;
        executed.push(decision == Decision::Run);
        if decision == Decision::Skip {
            stack.skip_layer(layer_idx, &hidden, context);
            if let Some(gate) = &mut gate {
                gate.skipped()?;
            }
            continue;
        }

        let input = hidden.clone();
        let output = stack.forward_layer(layer_idx, hidden, context);
        hidden = match &mut gate {
            Some(gate) if gating != Gating::Stepwise => gate.layer(output, input)?,
            Some(gate) => gate
                .step(layer_idx, output, input, policy)
                .map_err(at_layer(layer_idx))?,
            None => ungated_step(layer_idx, output, input, policy).map_err(at_layer(layer_idx))?,
        };
    }

    let (hidden, gated) = match gate {
        Some(gate) => {
            let (hidden, gated) = gate.finish(hidden);
            (hidden, Some(gated))
        }
        None => (hidden, None),
    };
    Ok(PassOutput {
        hidden: policy.finish(hidden),
        readings: PassReadings::new(executed, gated),
    })
}

/// Asks a policy without a gate which state goes on after a layer.
fn ungated_step(
    layer_idx: usize,
    output: Tensor<3>,
    input: Tensor<3>,
    policy: &mut dyn LayerPolicy,
) -> Result<Tensor<3>, BoxError> {
    let step = LayerStep {
        layer_idx,
        input: &input,
        output: &output,
        input_norm: None,
        reading: None,
    };
    Ok(match policy.after(step)? {
        Carry::Output => output,
        Carry::OutputWhere(mask) => select_tokens(mask, output, input),
        Carry::State(state) => state,
    })
}
