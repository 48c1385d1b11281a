//! The one loop over layers: every policy, every phase and every model goes through it.

use burn::tensor::{Tensor, Transaction};

use crate::error::{Error, Result, StateAt};
use crate::gate::{Gate, GateReading};
use crate::pass::{GateRecord, Pass, PassRecord};
use crate::policy::{Carry, Decision, LayerPolicy, LayerStep, select_tokens};
use crate::stack::LayerStack;

/// What a pass through the layers leaves behind, on the device.
#[derive(Debug)]
pub struct PassOutput {
    /// The state to hand to the final norm, `[batch, seq, hidden]`.
    pub hidden: Tensor<3>,
    /// What the gate saw.
    pub readings: PassReadings,
}

/// What the gate saw of a pass, still on the device.
#[derive(Debug)]
pub struct PassReadings {
    executed: Vec<bool>,
    gated: Option<GatedPass>,
}

/// The gate's numbers of a pass: the embedding's norm and a reading per layer.
#[derive(Debug)]
struct GatedPass {
    embedding_norm: Tensor<2>,
    layers: Vec<LayerReading>,
}

/// What is known of one layer, `[batch, seq]` each.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one per layer, and nearly all are of the larger kind"
)]
enum LayerReading {
    Run(GateReading),
    /// The state passed by: its norm, and the threshold the layer would have been held against.
    NotRun {
        norm: Tensor<2>,
        threshold: Tensor<2>,
    },
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

    let mut gate = match policy.gate() {
        Some(config) => Some(Gate::start(config, &embedding)?),
        None => None,
    };
    policy.begin(pass, &embedding).map_err(at_layer(0))?;

    let mut executed = Vec::with_capacity(n_layers);
    let mut layers = Vec::with_capacity(if gate.is_some() { n_layers } else { 0 });
    let mut hidden = embedding;
    for layer_idx in 0..n_layers {
        let decision = policy
            .before(layer_idx, &hidden)
            .map_err(at_layer(layer_idx))?;
        executed.push(decision == Decision::Run);
        if decision == Decision::Skip {
            stack.skip_layer(layer_idx, &hidden, context);
            if let Some(gate) = &gate {
                layers.push(LayerReading::NotRun {
                    norm: gate.previous_norm().clone(),
                    threshold: gate.next_threshold(),
                });
            }
            continue;
        }

        let input = hidden.clone();
        let input_norm = gate.as_ref().map(|gate| gate.previous_norm().clone());
        let output = stack.forward_layer(layer_idx, hidden, context);
        let mut reading = gate.as_mut().map(|gate| gate.measure(&output));
        let carry = policy
            .after(LayerStep {
                layer_idx,
                input: &input,
                output: &output,
                input_norm: input_norm.as_ref(),
                reading: reading.as_mut(),
            })
            .map_err(at_layer(layer_idx))?;
        hidden = match carry {
            Carry::Output => output,
            Carry::OutputWhere(mask) => {
                if let (Some(gate), Some(input_norm)) = (gate.as_mut(), input_norm) {
                    gate.kept(mask.clone(), input_norm);
                }
                select_tokens(mask, output, input)
            }
            Carry::State(state) => {
                if let Some(gate) = gate.as_mut() {
                    gate.replaced(&state);
                }
                state
            }
        };
        layers.extend(reading.map(LayerReading::Run));
    }

    Ok(PassOutput {
        hidden: policy.finish(hidden),
        readings: PassReadings {
            executed,
            gated: gate.map(|gate| GatedPass {
                embedding_norm: gate.embedding_norm().clone(),
                layers,
            }),
        },
    })
}

impl PassReadings {
    /// For each layer, whether it was run.
    pub fn executed(&self) -> &[bool] {
        &self.executed
    }

    /// Whether the policy gated this pass.
    pub fn is_gated(&self) -> bool {
        self.gated.is_some()
    }

    /// Brings the gate's numbers to the host in one read and checks them.
    ///
    /// # Errors
    /// [`Error::NonFiniteNorm`] naming the first layer and position whose norm is not finite
    /// (padding is not looked at); [`Error::Device`] when the device failed.
    pub fn read(self, pass: &Pass) -> Result<PassRecord> {
        let gate = match self.gated {
            Some(gated) => Some(gated.read(pass)?),
            None => None,
        };
        Ok(PassRecord {
            pass: pass.clone(),
            executed: self.executed,
            gate,
        })
    }
}

impl GatedPass {
    fn read(self, pass: &Pass) -> Result<GateRecord> {
        let n_layers = self.layers.len();
        let n_tokens = pass.batch() * pass.seq();
        let mut norms = vec![self.embedding_norm];
        let mut deltas = Vec::with_capacity(n_layers);
        let mut thresholds = Vec::with_capacity(n_layers);
        let mut active = Vec::with_capacity(n_layers);
        for layer in self.layers {
            let (norm, delta, threshold, flag) = match layer {
                LayerReading::Run(reading) => (
                    reading.norm,
                    reading.delta,
                    reading.threshold,
                    reading.active.float(),
                ),
                LayerReading::NotRun { norm, threshold } => {
                    let zeros = norm.zeros_like();
                    (norm, zeros.clone(), threshold, zeros)
                }
            };
            norms.push(norm);
            deltas.push(delta);
            thresholds.push(threshold);
            active.push(flag);
        }

        // One transaction: the device is waited for once, however many layers there are.
        let mut columns = Transaction::default();
        for column in [norms, deltas, thresholds, active] {
            if !column.is_empty() {
                columns = columns.register(Tensor::cat(column, 0));
            }
        }
        let doing = "reading what the gate saw";
        let mut columns = columns
            .try_execute()
            .map_err(|error| Error::device(doing, error))?
            .into_iter()
            .map(|data| {
                data.try_into_vec::<f32>()
                    .map_err(|error| Error::device(doing, error))
            });
        let mut next_column = || columns.next().unwrap_or_else(|| Ok(Vec::new()));

        let mut embedding_norms = next_column()?;
        let norms = embedding_norms.split_off(n_tokens);
        let record = GateRecord {
            embedding_norms,
            norms,
            deltas: next_column()?,
            thresholds: next_column()?,
            active: next_column()?.into_iter().map(|flag| flag != 0.0).collect(),
        };
        check_finite(&record.embedding_norms, |_| StateAt::Embedding, pass)?;
        check_finite(&record.norms, StateAt::Layer, pass)?;
        Ok(record)
    }
}

/// Finds the first norm that is not finite among the tokens that are not padding.
fn check_finite(norms: &[f32], state: impl Fn(usize) -> StateAt, pass: &Pass) -> Result<()> {
    let n_tokens = pass.batch() * pass.seq();
    for (idx, &norm) in norms.iter().enumerate() {
        if norm.is_finite() {
            continue;
        }
        let (layer_idx, token) = (idx / n_tokens, idx % n_tokens);
        let (row, slot) = (token / pass.seq(), token % pass.seq());
        if let Some(position) = pass.position(row, slot) {
            return Err(Error::NonFiniteNorm {
                state: state(layer_idx),
                row,
                position,
                norm,
            });
        }
    }
    Ok(())
}
