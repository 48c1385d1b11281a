//! What the gate does not look at: directions, contributions, whole hidden states.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use burn::tensor::{FloatDType, Tensor, Transaction};
use lac_core::{
    BoxError, Decision, GateConfig, LayerPolicy, LayerStep, NextState, Pass, PolicyEffect,
    SkippedKeys,
};

use crate::error::{Error, Result};

/// What a probe reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Cosine between each layer's input and output, and `‖output − input‖ / ‖input‖`.
    pub similarity: bool,
    /// Layers whose output is kept whole, by index.
    pub hidden_layers: Vec<usize>,
}

impl ProbeConfig {
    /// Returns whether there is anything to read.
    pub fn is_empty(&self) -> bool {
        !self.similarity && self.hidden_layers.is_empty()
    }
}

/// A policy that does what another one does, and looks at the states that pass.
///
/// The numbers stay on the device until the recorder reads them, once per pass. A probed policy
/// is asked after every layer, so the gate is launched layer by layer where it would otherwise be
/// launched once per pass: probing costs more than tracing.
pub struct Probed<'a> {
    inner: &'a mut dyn LayerPolicy,
    probe: Probe,
}

impl fmt::Debug for Probed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probed")
            .field("policy", &self.inner.name())
            .field("probe", &self.probe)
            .finish()
    }
}

/// Hands what a [`Probed`] policy saw to the recorder.
#[derive(Clone, Debug)]
pub struct Probe(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    config: ProbeConfig,
    /// Slots of the pass, `batch * seq`.
    n_tokens: usize,
    /// What was seen of each layer of the pass.
    layers: Vec<LayerProbe>,
}

#[derive(Debug)]
struct LayerProbe {
    /// Cosine and contribution, `[batch, seq]` each; `None` when the layer was not run.
    similarity: Option<(Tensor<2>, Tensor<2>)>,
    hidden: Option<Tensor<3>>,
}

/// What a probe saw of a pass, on the host. A token's place counts slots, row after row.
#[derive(Debug)]
pub(crate) struct ProbeReadings {
    pub n_tokens: usize,
    /// Cosines and contributions, `[layers][tokens]`.
    pub similarity: Option<(Vec<f32>, Vec<f32>)>,
    /// The layer, and `[tokens][hidden]`.
    pub hidden: Vec<(usize, Vec<f32>)>,
}

impl<'a> Probed<'a> {
    /// Wraps a policy. The probe goes to
    /// [`TraceWriter::with_probe`](crate::TraceWriter::with_probe).
    pub fn new(inner: &'a mut dyn LayerPolicy, config: ProbeConfig) -> (Self, Probe) {
        let state = State {
            config,
            ..State::default()
        };
        let probe = Probe(Rc::new(RefCell::new(state)));
        let policy = Self {
            inner,
            probe: probe.clone(),
        };
        (policy, probe)
    }
}

// `gating` is left at its default, so that `after` is asked. The built-in policies decide there as
// they do inside the gate's launch.
impl LayerPolicy for Probed<'_> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn gate_config(&self) -> Option<GateConfig> {
        self.inner.gate_config()
    }

    fn skipped_keys(&self) -> SkippedKeys {
        self.inner.skipped_keys()
    }

    // A probe only looks: what the policy promises of its results holds with it as without.
    fn effect(&self) -> PolicyEffect {
        self.inner.effect()
    }

    fn is_per_token(&self) -> bool {
        self.inner.is_per_token()
    }

    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        let mut state = self.probe.0.borrow_mut();
        state.layers.clear();
        state.n_tokens = pass.batch() * pass.seq();
        drop(state);
        self.inner.begin(pass, embedding)
    }

    fn before(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        let decision = self.inner.before(layer_idx, hidden)?;
        if decision == Decision::Skip {
            self.probe.0.borrow_mut().skipped(layer_idx, hidden);
        }
        Ok(decision)
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        self.probe
            .0
            .borrow_mut()
            .ran(step.layer_idx, step.input, step.output);
        self.inner.after(step)
    }

    fn finish(&mut self, hidden: Tensor<3>) -> Tensor<3> {
        self.inner.finish(hidden)
    }
}

impl State {
    fn skipped(&mut self, layer_idx: usize, hidden: &Tensor<3>) {
        let hidden = self.keep(layer_idx, hidden);
        self.layers.push(LayerProbe {
            similarity: None,
            hidden,
        });
    }

    fn ran(&mut self, layer_idx: usize, input: &Tensor<3>, output: &Tensor<3>) {
        let similarity = self.config.similarity.then(|| similarity(input, output));
        let hidden = self.keep(layer_idx, output);
        self.layers.push(LayerProbe { similarity, hidden });
    }

    fn keep(&self, layer_idx: usize, state: &Tensor<3>) -> Option<Tensor<3>> {
        let is_chosen = self.config.hidden_layers.contains(&layer_idx);
        is_chosen.then(|| state.clone().cast(FloatDType::F32))
    }
}

/// Returns the cosine between a layer's input and output and the length of their difference in units of the input's,
/// `[batch, seq]` each, in f32.
fn similarity(input: &Tensor<3>, output: &Tensor<3>) -> (Tensor<2>, Tensor<2>) {
    let sum = |values: Tensor<3>| values.sum_dim(2).squeeze_dim::<2>(2);
    let (input, output) = (
        input.clone().cast(FloatDType::F32),
        output.clone().cast(FloatDType::F32),
    );
    let length = |state: Tensor<3>| sum(state.clone() * state).sqrt();
    // A state of zeros has no direction: its cosine is 0.
    let positive = |values: Tensor<2>| values.clamp_min(f32::MIN_POSITIVE);
    let (input_length, output_length) = (length(input.clone()), length(output.clone()));
    let difference = length(output.clone() - input.clone());
    let cosine = sum(input * output) / positive(input_length.clone()) / positive(output_length);
    (cosine, difference / positive(input_length))
}

impl Probe {
    /// Returns whether there is anything to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().config.is_empty()
    }

    /// Brings what was seen of the last pass to the host in one read.
    pub(crate) fn read(&self) -> Result<ProbeReadings> {
        let State {
            config,
            n_tokens,
            layers,
        } = &mut *self.0.borrow_mut();
        let (n_tokens, layers) = (*n_tokens, std::mem::take(layers));
        if let Some(&layer_idx) = config
            .hidden_layers
            .iter()
            .find(|&&idx| idx >= layers.len())
        {
            return Err(Error::UnknownLayer {
                layer_idx,
                n_layers: layers.len(),
            });
        }

        let mut transaction = Transaction::default();
        let mut n_registered = 0;
        for (cosine, contribution) in layers.iter().filter_map(|layer| layer.similarity.clone()) {
            transaction = transaction.register(cosine).register(contribution);
            n_registered += 2;
        }
        let mut hidden_layers = Vec::new();
        for (layer_idx, layer) in layers.iter().enumerate() {
            if let Some(hidden) = &layer.hidden {
                hidden_layers.push(layer_idx);
                transaction = transaction.register(hidden.clone());
                n_registered += 1;
            }
        }
        let mut read = Vec::with_capacity(n_registered);
        if n_registered > 0 {
            for data in transaction.try_execute().map_err(device_error)? {
                read.push(data.try_into_vec::<f32>().map_err(device_error)?);
            }
        }
        let mut read = read.into_iter();
        let similarity = config.similarity.then(|| {
            let (mut cosines, mut contributions) = (Vec::new(), Vec::new());
            for layer in &layers {
                match &layer.similarity {
                    Some(_) => {
                        cosines.extend(read.next().unwrap_or_default());
                        contributions.extend(read.next().unwrap_or_default());
                    }
                    // A layer that was not run leaves its input as it is.
                    None => {
                        cosines.extend(std::iter::repeat_n(1.0, n_tokens));
                        contributions.extend(std::iter::repeat_n(0.0, n_tokens));
                    }
                }
            }
            (cosines, contributions)
        });
        let hidden = hidden_layers.into_iter().zip(read).collect();
        Ok(ProbeReadings {
            n_tokens,
            similarity,
            hidden,
        })
    }
}

fn device_error(error: impl std::fmt::Display) -> Error {
    Error::Device {
        reason: error.to_string(),
    }
}
